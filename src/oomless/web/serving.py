"""The server as a process: it listens on loopback, says where, and ends with a signal."""

import socket
import sys
from typing import TYPE_CHECKING, Any

from ..errors import OomlessError

if TYPE_CHECKING:
    from starlette.types import ASGIApp

MAX_CONNECTIONS = 500
KEEP_ALIVE_S = 5


def serve(host: str, port: int, application: "ASGIApp", path: str = "") -> int:
    """Serve until a signal ends it; return the exit code. `path` is what its address ends in."""
    import uvicorn

    listener = bound(host, port)
    where = f"http://{'[::1]' if host == '::1' else host}:{listener.getsockname()[1]}/{path}"

    class Announced(uvicorn.Server):
        """Says where the page is once it is there."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            print(f"oomless: {where} (Ctrl-C ends it)", file=sys.stderr, flush=True)

    options: dict[str, Any] = {
        "log_level": "warning",
        "access_log": False,
        "server_header": False,
        "limit_concurrency": MAX_CONNECTIONS,
        "timeout_keep_alive": KEEP_ALIVE_S,
        "timeout_graceful_shutdown": 2,
        "ws": "none",
    }
    Announced(uvicorn.Config(application, **options)).run(sockets=[listener])
    return 0


def bound(host: str, port: int) -> socket.socket:
    """Return a socket that listens. Its protocol is named, or asyncio leaves Nagle's algorithm on and each
    answer waits 40 ms for the acknowledgement of its own head."""
    family = socket.AF_INET6 if host == "::1" else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise OomlessError(
            f"port {port} cannot be taken ({error.strerror})", "another one: --port 8766, or 0 for any"
        ) from None
    listener.listen(128)
    return listener
