"""Who is let in: names of this machine's loopback in Host, and no other page's requests (DNS rebinding,
CSRF). Every answer carries the same headers."""

from typing import TYPE_CHECKING

from ..errors import UsageError
from .question import refusal

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def is_loopback(host: str) -> bool:
    """Return whether a Host header names this machine's loopback, with or without a port.

    >>> is_loopback("127.0.0.1:8080"), is_loopback("[::1]"), is_loopback("evil.example:8080")
    (True, True, False)
    >>> is_loopback("localhost.evil.example"), is_loopback("localhost:80:80")
    (False, False)
    """
    for name in LOOPBACK:
        if host.startswith(name):
            rest = host[len(name) :]
            return not rest or (rest[0] == ":" and rest[1:].isascii() and rest[1:].isdigit())
    return False


def fault_of(headers: dict[bytes, bytes]) -> UsageError | None:
    """Return why a request is not answered; None where it is."""
    host = headers.get(b"host", b"").decode("latin-1").lower()
    if not is_loopback(host):
        return UsageError(
            f"Host is {host[:60]!a}: only this machine is answered", "open http://127.0.0.1 and the port"
        )
    origin = headers.get(b"origin", b"").decode("latin-1").lower()
    site = headers.get(b"sec-fetch-site", b"none")
    other = origin not in ("", f"http://{host}") or site not in (b"none", b"same-origin")
    navigates = headers.get(b"sec-fetch-mode") == b"navigate" and not origin
    if other and not navigates:
        return UsageError("a request of another page is not answered", "ask from the page itself, or by curl")
    return None


class Gate:
    """Around the application: refuses, and writes the headers."""

    def __init__(self, app: "ASGIApp") -> None:
        self.app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: "Message") -> None:
            if message["type"] == "http.response.start":
                own = [(name.lower().encode(), text.encode()) for name, text in HEADERS.items()]
                message["headers"] = [*message["headers"], *own]
            await send(message)

        names = [name for name, _ in scope["headers"]]
        fault = fault_of(dict(scope["headers"])) if names.count(b"host") == 1 else fault_of({})
        if fault is None:
            await self.app(scope, receive, send_with_headers)
            return
        content = refusal(fault, 403).content
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        await send_with_headers({"type": "http.response.start", "status": 403, "headers": headers})
        await send({"type": "http.response.body", "body": content})
