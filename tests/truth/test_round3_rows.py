"""Rows of the third blind round (tests/tables/inference_round3.csv): how many are read, and what they ask."""

import json
from functools import cache
from typing import Any

from command import call
from tables.score import TABLES

SCORED = 0.93
"""Share of all rows; the share only grows."""


P90 = {"kv_bytes_per_gpu": 0.021, "kv_tokens": 0.065}
"""Error of pools that nine of ten rows keep; it only shrinks, but for rows that had no answer before: those
of GLM-5.3-Flash, which nobody knew, brought tokens from 0.053."""


@cache
def document() -> dict[str, Any]:
    """Return what `validate --json` says of the table."""
    return dict(json.loads(call("validate", str(TABLES / "inference_round3.csv"), "--json").out))


def judged() -> tuple[dict[str, Any], ...]:
    """Return its rows."""
    return tuple(document()["rows"])


def test_pools_stay_within_their_budget() -> None:
    for quantity, error in P90.items():
        assert document()["summary"][quantity]["p90_abs_rel_error"] <= error, quantity


def test_nine_of_ten_rows_are_scored() -> None:
    rows = judged()
    assert len(rows) == 97
    assert sum(row["status"] == "scored" for row in rows) >= SCORED * len(rows)
    assert not [row for row in rows if row["status"] == "unreadable"]


def test_a_record_number_in_a_source_is_no_fault() -> None:
    own = {row["id"]: row for row in judged()}
    assert own["b3-200"]["status"] == "scored"


def test_a_sequence_beyond_the_model_ran_with_scaled_positions() -> None:
    """YaRN factor 3 makes 786,432 of 262,144: its activations and pool are those of that length."""
    rows = {row["id"]: row for row in judged()}
    for name in ("b3-231", "b3-232", "b3-233", "b3-093", "b3-096"):
        assert rows[name]["low"] <= rows[name]["measured"] <= rows[name]["high"], name
