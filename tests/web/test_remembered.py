"""Answers of a moment ago: equal questions cost one answer, and none is kept too long or at too much."""

import asyncio

import pytest

pytest.importorskip("cachetools", reason="the extra `web` is not installed")

from oomless.web.question import Reply
from oomless.web.server import MAX_QUESTION_CHARS, Remembered

QUESTION = [("model", "deepseek-r1")]


class Counted:
    """Answers each question with its own text, slowly, and counts."""

    def __init__(self, status: int = 200, size: int = 10) -> None:
        self.asked = 0
        self.status, self.size = status, size

    async def __call__(self, command: str, pairs: list[tuple[str, str]]) -> Reply:
        self.asked += 1
        await asyncio.sleep(0.01)
        return Reply(self.status, f"{command} {pairs}".encode().ljust(self.size))


def test_equal_questions_at_once_and_after_are_worked_out_once() -> None:
    async def asked() -> set[Reply]:
        remembered = Remembered(source)
        found = set(await asyncio.gather(*(remembered.ask("infer", QUESTION) for _ in range(50))))
        return found | {await remembered.ask("infer", QUESTION)}

    source = Counted()
    assert len(asyncio.run(asked())) == 1
    assert source.asked == 1


def test_other_questions_are_other_answers() -> None:
    async def asked() -> set[bytes]:
        remembered = Remembered(source)
        found = [
            remembered.ask("infer", QUESTION),
            remembered.ask("speed", QUESTION),
            remembered.ask("infer", [*QUESTION, ("gpu", "h20")]),
        ]
        return {each.content for each in await asyncio.gather(*found)}

    source = Counted()
    assert len(asyncio.run(asked())) == source.asked == 3


@pytest.mark.parametrize(
    ("source", "seconds", "pairs"),
    [
        (Counted(status=503), 10.0, QUESTION),
        (Counted(), 0.0, QUESTION),
        (Counted(size=2000), 10.0, QUESTION),
        (Counted(), 10.0, [("model", "x" * MAX_QUESTION_CHARS)]),
    ],
    ids=["refused", "old", "large", "long"],
)
def test_what_is_not_remembered(source: Counted, seconds: float, pairs: list[tuple[str, str]]) -> None:
    async def asked() -> None:
        remembered = Remembered(source, seconds, 2 * MAX_QUESTION_CHARS + 1000)
        await remembered.ask("infer", pairs)
        await remembered.ask("infer", pairs)

    asyncio.run(asked())
    assert source.asked == 2


def test_one_who_leaves_takes_the_answer_from_nobody() -> None:
    async def asked() -> bytes:
        remembered = Remembered(source)
        first = asyncio.create_task(remembered.ask("infer", QUESTION))
        second = asyncio.create_task(remembered.ask("infer", QUESTION))
        await asyncio.sleep(0)
        first.cancel()
        return (await second).content

    source = Counted()
    assert asyncio.run(asked())
    assert source.asked == 1


def test_memory_is_bounded() -> None:
    async def asked() -> float:
        remembered = Remembered(source, 10.0, 100_000)
        for number in range(200):
            await remembered.ask("infer", [("model", str(number))])
        return remembered._replies.currsize

    source = Counted()
    assert asyncio.run(asked()) <= 100_000
