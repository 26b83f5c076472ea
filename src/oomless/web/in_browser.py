"""The other end of the page's worker: Python in the browser answers what a server would."""

import os
from time import perf_counter
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from ..errors import UsageError
from ..kept import PutAside, Sliced
from .page import LATER, found_later, given_in, replied
from .question import asked, refusal
from .sent import sent_of
from .worker import answered

SLICE_SECONDS = 0.03
"""A search is put aside so often, for the page may have another question."""
PUT_ASIDE = 202
"""The status of a search that is not at its end: ask again, and it goes on."""


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
        return found.status, found.content.decode()
    part, _, name = command.rpartition("/")
    if part == "later" and not files:
        return followed(name, pairs)
    found = answered(command, pairs, files, body)
    return found.status, found.content.decode()


class ChangesSearch(NamedTuple):
    """A question whose answer takes a search, and how far that is."""

    answer: Any
    sliced: Sliced


searches: dict[tuple[object, ...], ChangesSearch] = {}
"""Those that were put aside, by their questions."""
MOST_SEARCHES = 8
"""The page shows one answer and three pinned ones; more were given up."""


def followed(command: str, pairs: list[tuple[str, str]]) -> tuple[int, str]:
    """Return what of an answer takes a search; PUT_ASIDE until it is at its end.

    >>> followed("infer", [("model", "deepseek-r1"), ("gpu", "h200:8")])
    (200, '{"html": ""}')
    """
    given, words = given_in(pairs)
    question = command, *given

    def found() -> dict[str, str]:
        if question not in searches:
            answer = asked(command, given, (), os.environ) if command in LATER else None
            searches[question] = ChangesSearch(answer, Sliced(SLICE_SECONDS, perf_counter))
        search = searches[question]
        return search.sliced.slice(lambda: found_later(command, search.answer, words))

    try:
        reply = replied(found, words)
    except PutAside:
        if len(searches) > MOST_SEARCHES:
            del searches[next(iter(searches))]
        return PUT_ASIDE, ""
    searches.pop(question, None)
    return reply.status, reply.content.decode()
