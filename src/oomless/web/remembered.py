"""What was answered a moment ago: equal questions are worked out once, and memory stays bounded."""

import asyncio
from collections.abc import Awaitable, Callable

from .question import Reply

Question = tuple[str, tuple[tuple[str, str], ...]]
"""Command, and what stands behind the question mark of its address."""
Ask = Callable[[str, list[tuple[str, str]]], Awaitable[Reply]]
MAX_BYTES = 32 << 20
SECONDS = 10.0
"""An answer may hang on this machine (its cards, its calibration), which changes."""
MAX_QUESTION_CHARS = 2048
"""A longer address is nobody's second question."""


class Remembered:
    """Answers of the last seconds; who asks the same while one is worked out gets that one."""

    def __init__(self, ask: Ask, seconds: float = SECONDS, max_bytes: int = MAX_BYTES) -> None:
        from cachetools import TTLCache

        self._ask = ask
        self._replies: TTLCache[Question, Reply] = TTLCache(max_bytes, seconds, getsizeof=_size)
        self._running: dict[Question, asyncio.Task[Reply]] = {}

    async def ask(self, command: str, pairs: list[tuple[str, str]]) -> Reply:
        """Return the reply to a question, worked out now or a moment ago."""
        question = command, tuple(pairs)
        if sum(len(name) + len(text) for name, text in pairs) > MAX_QUESTION_CHARS:
            return await self._ask(command, pairs)
        if (found := self._replies.get(question)) is not None:
            return found
        task = self._running.get(question)
        if task is None:
            task = self._running[question] = asyncio.create_task(self._worked_out(question))
        return await asyncio.shield(task)

    async def _worked_out(self, question: Question) -> Reply:
        command, pairs = question
        try:
            found = await self._ask(command, list(pairs))
        finally:
            del self._running[question]
        if found.status == 200 and _size(found) <= self._replies.maxsize:
            self._replies[question] = found
        return found


def _size(found: Reply) -> int:
    """Bytes that an answer takes with its question, at most."""
    return len(found.content) + 2 * MAX_QUESTION_CHARS
