"""Exceptions that say that memory ran out: of a card, of the host's allocator, of Python."""

import re
from typing import NamedTuple

from ..recording.oom_text import read_oom

HOST = "DefaultCPUAllocator"
ASKED_OF_HOST = re.compile(r"tried to allocate ([0-9]{1,20}) bytes")
MAX_MESSAGE = 2_000


class Death(NamedTuple):
    """What an exception says of memory."""

    asked_bytes: int
    message: str


def death_of(error: BaseException) -> Death | None:
    """Return what an exception says, or one that it came from; None if it is about something else.

    >>> death_of(
    ...     RuntimeError(
    ...         "[enforce fail at alloc_cpu.cpp:130] DefaultCPUAllocator: can't allocate memory: "
    ...         "you tried to allocate 4194304 bytes."
    ...     )
    ... ).asked_bytes
    4194304
    >>> death_of(ValueError("no")) is None
    True
    """
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        text = str(current)[:MAX_MESSAGE]
        named = type(current).__name__ in ("OutOfMemoryError", "MemoryError")
        if named or "out of memory" in text or (HOST in text and "allocate" in text):
            return Death(asked_in(text), text)
        current = current.__cause__ or current.__context__
    return None


def asked_in(text: str) -> int:
    """Return the bytes that a message says were asked for; 0 if it does not.

    >>> asked_in("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 79.11 GiB")
    2684354560
    """
    host = ASKED_OF_HOST.search(text)
    if host is not None:
        return int(host[1])
    card = read_oom(text)
    return card.tried_bytes or 0 if card is not None else 0
