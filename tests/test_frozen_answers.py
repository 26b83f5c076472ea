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
from frozen import FOLDER, check

ROOT = Path(__file__).parent.parent
NAME = "answers.txt"


def digest(question: str) -> str:
    """The hash of the answer's JSON, whatever the order of its keys; the exit code alone where there is no
    answer."""
    found = call(*shlex.split(question), "--json")
    if not found.out:
        return f"exit {found.code}"
    return sha256(json.dumps(json.loads(found.out), sort_keys=True).encode()).hexdigest()


def test_frozen_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    lines = (FOLDER / NAME).read_text(encoding="utf-8").splitlines()
    questions = [line.partition(" -> ")[0] for line in lines]
    assert len(questions) >= 2000
    assert all(questions)
    assert len(set(questions)) == len(questions), "a merge left a question twice"
    check(NAME, (f"{question} -> {digest(question)}" for question in questions))
