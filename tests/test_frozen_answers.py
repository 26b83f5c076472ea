"""Frozen answers: over 2,000 questions, each with the hash of its JSON. A change of structure leaves every
line as it is.

tests/surface/answers.txt is the list of questions too: `QUESTION -> sha256`, or `-> exit N` for one that is
refused. Where a number changes on purpose, OOMLESS_UPDATE_SURFACE=1 renews the file in a commit that changes
nothing else and says which lines moved and why.
"""

import json
import shlex
from hashlib import sha256
from pathlib import Path

import pytest

from command import call
from frozen import check, lines_of

ROOT = Path(__file__).parent.parent
NAME = "answers.txt"
TOGETHER = 100
"""Questions of one test: enough that neighbours share a model, few enough that workers end together."""
QUESTIONS = [line.partition(" -> ")[0] for line in lines_of(NAME)]


def digest(question: str) -> str:
    """The hash of the answer's JSON, whatever the order of its keys; the exit code alone where there is no
    answer."""
    found = call(*shlex.split(question), "--json")
    if not found.out:
        return f"exit {found.code}"
    return sha256(json.dumps(json.loads(found.out), sort_keys=True).encode()).hexdigest()


def test_questions_are_many_and_each_is_there_once() -> None:
    assert len(QUESTIONS) >= 2000
    assert all(QUESTIONS)
    assert len(set(QUESTIONS)) == len(QUESTIONS), "a merge left a question twice"


@pytest.mark.parametrize("first", range(0, len(QUESTIONS), TOGETHER))
def test_frozen_answers(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    part = slice(first, first + TOGETHER)
    check(NAME, (f"{question} -> {digest(question)}" for question in QUESTIONS[part]), part)
