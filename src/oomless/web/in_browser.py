"""The other end of the page's worker: Python in the browser answers what a server would."""

from typing import Any
from urllib.parse import parse_qsl

from ..errors import UsageError
from .question import refusal
from .sent import sent_of
from .worker import answered


def answer(command: str, query: str, content: Any) -> tuple[int, str]:
    """Return status and text of the reply to a question; `content` holds the files that the query names:
    bytes, or an array of the browser's.

    >>> answer("engines", "", b"")[0]
    200
    """
    pairs = parse_qsl(query, keep_blank_values=True)
    body = bytes(content.to_py() if hasattr(content, "to_py") else content)
    try:
        pairs, files = sent_of(pairs, len(body)) if any(name == "file" for name, _ in pairs) else (pairs, ())
    except UsageError as error:
        found = refusal(error)
    else:
        found = answered(command, pairs, files, body)
    return found.status, found.content.decode()
