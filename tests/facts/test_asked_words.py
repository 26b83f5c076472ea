"""What answers ask the tables with: words that can hold together by conditions.csv, else rows could tie."""

import shlex
from pathlib import Path

import pytest

from command import call
from facts.word_sets import consistent, words
from frozen import FOLDER
from oomless.facts import selection

EVERY = 25
ROOT = Path(__file__).parent.parent.parent


def test_answers_ask_with_words_that_can_hold_together(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: set[frozenset[str]] = set()
    shipped = selection._shipped

    def watched(
        name: str, where: tuple[str, ...], conditions: frozenset[str], version: tuple[int, ...]
    ) -> tuple[selection.ConditionalRow, ...]:
        asked.add(conditions.intersection(words()))
        return shipped(name, where, conditions, version)

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(selection, "_shipped", watched)
    selection.constant.cache_clear()
    for line in (FOLDER / "answers.txt").read_text(encoding="utf-8").splitlines()[::EVERY]:
        call(*shlex.split(line.partition(" -> ")[0]), "--json")
    assert len(asked) > 50
    assert [sorted(each) for each in asked if not consistent(each, each)] == []
