"""The other end of the page's worker: Python in the browser answers what a server would."""

from typing import Any
from urllib.parse import parse_qsl

from .worker import answered


def answer(command: str, query: str, posted: str, content: Any) -> tuple[int, str]:
    """Return status and text of the reply to a question; `content` is the posted file: bytes, or an array of
    the browser's.

    >>> answer("engines", "", "", b"")[0]
    200
    """
    pairs = parse_qsl(query, keep_blank_values=True)
    found = answered(command, pairs, posted, bytes(content.to_py() if hasattr(content, "to_py") else content))
    return found.status, found.content.decode()
