"""Cells that a measured row leaves empty: what an engine chooses itself is chosen, what the quantity hangs on
is incomplete."""

import pytest

from oomless.truth.serving_rows import question
from oomless.truth.tables import Incomplete, read_table
from oomless.truth.validate import unsaid
from tables.score import TABLES

ROWS = {row.id: row for row in read_table(TABLES / "inference.csv")}


@pytest.mark.parametrize(
    ("name", "version", "model"),
    [
        ("561", "0.5.14", "deepseek-v4-flash-base"),  # a series on a day, and FP8 of what is FP4
        ("572", "0.5.9", "glm-4.7-flash"),  # no number: the release of the day
        ("552", "0.5.3.post1", "deepseek-v3.2-exp"),  # built from what 0.5.3.post1 has
        ("558", "0.5", "deepseek-v4.1-flash"),  # an image before its release
        ("455", "0.7.2 (V0)", "deepseek-r1"),  # the length that the model has
    ],
)
def test_a_row_that_leaves_it_to_the_engine_is_predicted(name: str, version: str, model: str) -> None:
    found = question(ROWS[name].configuration, ROWS[name].quantity)
    assert (found.asked.engine_version, found.model.name) == (version, model)


def test_a_share_that_is_not_said_is_the_engines_and_the_interval_has_others() -> None:
    row = ROWS["562"]
    found = question(row.configuration, row.quantity)
    assert found.asked.mem_fraction_static is None
    shares = [other.asked.mem_fraction_static for other in unsaid(row.configuration, found, row.quantity)]
    assert {0.8, 0.95} <= {*shares}


@pytest.mark.parametrize(("name", "word"), [("551", "gpu"), ("461", "tp"), ("487", "release")])
def test_what_the_quantity_hangs_on_is_incomplete(name: str, word: str) -> None:
    with pytest.raises(Incomplete, match=word):
        question(ROWS[name].configuration, ROWS[name].quantity)
