"""The most particular row counts, and no two rows are that: over all sets of words that can hold together."""

import pytest

from facts.word_sets import competitors, questions, words
from oomless import facts
from oomless.errors import OomlessError
from oomless.facts import ConditionalRow, conditional_row, conditional_rows, most_particular, select
from oomless.facts.selection import KEYS

GROUPS = [group for table in KEYS for group in competitors(table)]


@pytest.mark.parametrize("rows", [rows for _, rows in GROUPS], ids=[name for name, _ in GROUPS])
def test_no_question_has_two_answers(rows: list[ConditionalRow]) -> None:
    asked = 0
    for applying in questions(rows):
        best = most_particular(applying)  # raises where two are equal
        assert best is most_particular(applying[::-1])
        asked += 1
    assert asked


@pytest.mark.parametrize("table", KEYS)
def test_every_row_counts_somewhere(table: str) -> None:
    """A row that never wins is a typo or is in the way of nothing."""
    for _, rows in competitors(table):
        assert set(rows) == {most_particular(applying) for applying in questions(rows)}


@pytest.mark.parametrize("table", KEYS)
def test_words_are_of_the_list(table: str) -> None:
    used = {word for row in conditional_rows(table) for word in row.when | row.unless}
    assert used <= words().keys()
    for row in conditional_rows(table):
        assert not row.when & row.unless, row.name


def test_the_list_has_no_word_that_no_row_has() -> None:
    used = {word for table in KEYS for row in conditional_rows(table) for word in row.when | row.unless}
    assert words().keys() == used


def test_the_list_is_its_own_closure() -> None:
    """What is implied or excluded is in the list; exclusion goes both ways and implied words agree."""
    for word, (implied, excluded) in words().items():
        assert implied | excluded <= words().keys(), word
        assert not implied & excluded, word
        for other in implied:
            assert words()[other][0] <= implied, (word, other)
        for other in excluded:
            assert word in words()[other][1], (word, other)


def test_two_equal_rows_are_a_fault_whatever_their_order() -> None:
    cells = {"value": "1", "low": "1", "high": "1", "unit": "GiB", "source": "a test"}
    first, second = (
        conditional_row("engines", {"engine": "vllm", "quantity": "x", "when": word, **cells})
        for word in ("tp", "pp")
    )
    for rows in ([first, second], [second, first]):
        with pytest.raises(OomlessError, match="two rows that hold alike, vllm/x/"):
            most_particular(rows)


def test_a_row_with_an_exclamation_mark_does_not_hold() -> None:
    both = facts.constant("vllm", "non_torch", (0, 19), "tp", "pp")
    assert both == facts.constant("vllm", "non_torch", (0, 19), "tp")
    assert both != facts.constant("vllm", "non_torch", (0, 19), "pp")


def test_a_quantity_that_no_row_has_is_named() -> None:
    with pytest.raises(LookupError, match=r"engines.csv has no row for vllm, nothing, \(0, 19\), \['tp'\]"):
        facts.constant("vllm", "nothing", (0, 19), "tp")


def overlay(**cells: str) -> tuple[ConditionalRow, ...]:
    row = {"engine": "vllm", "quantity": "non_torch", "first": "0.19", "last": "0.19", "when": "tp"}
    measured = {"value": "1.5", "low": "1.4", "high": "1.6", "unit": "GiB", "num_runs": "3"}
    return (conditional_row("engines", {**row, **measured, "source": "node7, 2026-03", **cells}, True),)


def test_a_users_own_row_counts_before_an_equally_particular_one_and_is_named() -> None:
    found = facts.constant("vllm", "non_torch", (0, 19, 1), "tp", overlay=overlay())
    assert (found.value, found.num_runs, found.source) == (1.5, 3, "node7, 2026-03")


@pytest.mark.parametrize(
    ("version", "conditions", "cells"),
    [
        ((0, 20), ("tp",), {}),
        ((0, 19), ("tp", "tp4"), {}),
        ((0, 19), (), {}),
        ((0, 19), ("tp",), {"engine": "sglang"}),
        ((0, 19), ("tp",), {"quantity": "context"}),
    ],
)
def test_a_users_own_row_holds_for_its_release_and_conditions_alone(
    version: tuple[int, ...], conditions: tuple[str, ...], cells: dict[str, str]
) -> None:
    plain = facts.constant("vllm", "non_torch", version, *conditions)
    assert facts.constant("vllm", "non_torch", version, *conditions, overlay=overlay(**cells)) == plain


def test_two_equal_rows_of_an_overlay_are_a_fault() -> None:
    twice = overlay() + overlay(value="2")
    with pytest.raises(OomlessError, match="two rows that hold alike"):
        select("engines", ("vllm", "non_torch"), ("tp",), (0, 19), twice)
