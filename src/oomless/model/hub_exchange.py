"""One exchange with a hub: within a time, whatever the other side does; and what of an answer is read."""

import re
from collections.abc import Callable, Iterator, Mapping
from threading import Thread
from typing import TypeVar

from ..errors import OomlessError
from .safetensors import LENGTH_BYTES, header_length

Found = TypeVar("Found")
Read = Callable[[int, Mapping[str, str], Iterator[bytes]], Found]
"""Status, headers, chunks of the body -> what is kept of them."""


def network_errors() -> tuple[type[Exception], ...]:
    """What a request may raise: huggingface_hub speaks through requests before 1.0, httpx in 1.x and httpx2
    in 2.x."""
    from sys import modules

    kinds: list[type[Exception]] = [
        OSError,
        UnicodeError,
    ]  # UnicodeError: a token or address that fits no request
    for library in (modules.get(name) for name in ("httpx2", "httpx", "requests", "urllib3.exceptions")):
        found = (getattr(library, kind, None) for kind in ("HTTPError", "InvalidURL", "RequestException"))
        kinds += [kind for kind in found if kind is not None]
    return tuple(kinds)


def within(timeout_s: float, work: Callable[[], Found]) -> Found:
    """Return what `work` returns, or raise what it raises; TimeoutError once the time is over, whatever it is
    doing.

    Work that is given up is told so at its next step, since nobody else could: a server that sends a byte a
    second would keep it for ever.
    """
    found: list[Found] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            found.append(work())
        except BaseException as error:
            failed.append(error)

    thread = Thread(target=run, daemon=True)
    thread.start()
    thread.join(timeout_s)
    if thread.is_alive():
        from ctypes import c_ulong, py_object, pythonapi

        pythonapi.PyThreadState_SetAsyncExc(c_ulong(thread.ident or 0), py_object(TimeoutError))
        raise TimeoutError
    if failed:
        raise failed[0]
    return found[0]


def take_header(
    status: int, headers: Mapping[str, str], chunks: Iterator[bytes], *, url: str, before: bytes, end: int
) -> tuple[bytes, int | None] | None:
    """What is there of a file's beginning with this answer, up to `end`, and the file's size; None: refused.

    A server that ignores ranges sends all of the file: what follows the header is not read.
    """
    if status not in (200, 206):
        return None
    size = _file_size(status, headers, len(before), url)
    content = b"" if status == 200 else before
    for chunk in chunks:
        content += chunk
        if status == 200 and len(content) >= LENGTH_BYTES:
            end = LENGTH_BYTES + header_length(content, size, url)
        if len(content) > end or (status == 200 and len(content) == end):
            break  # a part is read to its end, for that keeps the connection
    return content, size


def _file_size(status: int, headers: Mapping[str, str], start: int, url: str) -> int | None:
    """Bytes of the whole file, from Content-Range of a part or Content-Length of the whole; None if not
    told."""
    if status == 200:
        length = headers.get("content-length", "")
        return int(length) if length.isdecimal() and "content-encoding" not in headers else None
    told = re.fullmatch(r"bytes (\d{1,19})-\d{1,19}/(?:(\d{1,19})|\*)", headers.get("content-range", ""))
    if not told or int(told[1]) != start:
        raise OomlessError(
            f"{url}: the server sent another part than was asked for", "check HF_ENDPOINT and proxies"
        )
    return int(told[2]) if told[2] else None
