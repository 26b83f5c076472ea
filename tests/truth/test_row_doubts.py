"""Doubts of measured rows of training: how far what they leave open takes them off a prediction
(facts/engines.csv, unsaid_share and length_share)."""

import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from oomless import facts
from oomless.errors import OomlessError
from oomless.truth import training_predict
from oomless.truth.tables import Incomplete
from oomless.truth.training_predict import interval
from oomless.truth.training_rows import unit_factor
from oomless.truth.training_words import bound, unsaid
from tables.score import TABLES, records

TABLE, FRESH = TABLES / "training.csv", TABLES / "training_fresh.csv"
ROUNDS = tuple(TABLES / f"training_round{number}.csv" for number in range(3, 8))
"""Those whose causes were looked for."""


class Beyond(NamedTuple):
    """How far a measured value lies beyond the answer's own interval, as shares of the prediction."""

    kind: str
    source: str
    below: float
    above: float


@cache
def beyond(table: Path) -> tuple[Beyond, ...]:
    """Rows of a table that leave something open, beside their answers' intervals without that doubt."""
    found = []
    for row in records(table):
        if row["kind"] != "measured" or row["completeness"] not in "AB" or "Megatron" in row["framework"]:
            continue
        try:
            own = interval(row, row["quantity"])
            factor = unit_factor(row["unit"], row["model"])
        except (Incomplete, OomlessError):
            continue
        measured = float(row["value"]) * factor
        below, above = (max(0.0, gap) / own.value for gap in (own.low - measured, measured - own.high))
        kind = "".join(unsaid(row, row["quantity"]))
        found.append(Beyond(kind, row["source"], below, above))
    return tuple(found)


def at(values: list[float], share: float) -> float:
    """Return the value that a share of all does not pass."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


COVERED = {"run": 0.9, "column": 0.95, "length": 0.95, "inferred": 0.95}
"""Share of the rows of a kind that each end of the doubt of facts/engines.csv is to hold."""


def test_doubts_of_rows_are_those_of_other_sources() -> None:
    for kind in COVERED:
        hold_of_others(kind)


def hold_of_others(kind: str) -> None:
    """The doubt of what a row leaves open holds its share of rows where each source has the doubt that the
    rows of the others imply; the stated one is no wider than all rows imply, up to its last digit."""
    tables = (TABLE, FRESH, *(() if kind == "column" else ROUNDS))
    rows = [row for table in tables for row in beyond(table) if row.kind == kind]
    stated = facts.constant("training", "unsaid_share", (0,), kind)
    inside = 0
    for row in rows:
        others = [each for each in rows if each.source != row.source]
        above = at([each.above for each in others], COVERED[kind])
        below = at([each.below for each in others], COVERED[kind])
        inside += row.above <= max(above, 0.02) and row.below <= max(below, 0.02)
    assert inside >= (2 * COVERED[kind] - 1 - 0.05) * len(rows), kind
    least = (COVERED[kind] - 0.02) * len(rows)
    assert sum(row.above <= stated.high - 1 for row in rows) >= least
    assert sum(row.below <= 1 - stated.low for row in rows) >= least
    assert stated.high - 1 <= max(0.02, at([row.above for row in rows], COVERED[kind]) + 0.02)


FIRST_ROUNDS = ("training_6", "training_7", "training_8")


def first_inside(doubts: dict[str, tuple[float, float]]) -> list[bool]:
    """Whether the first intervals of rows of these kinds hold what was measured, once this doubt widens
    them."""
    inside = []
    for name in FIRST_ROUNDS:
        lines = (TABLES / "blind" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        head, *first = [json.loads(line) for line in lines]
        rows = {row["id"]: row for row in records(TABLES / head["table"])}
        for line in first:
            row, value = rows[line["id"]], line["predicted"]
            doubt = doubts.get("".join(unsaid(row, row["quantity"])))
            if doubt is None or value is None:
                continue
            low, high = line["low"] - (1 - doubt[0]) * value, line["high"] + (doubt[1] - 1) * value
            inside.append(low <= float(row["value"]) <= high)
    return inside


def test_doubts_of_undescribed_samples_are_those_of_first_predictions() -> None:
    """Nine of ten are held; fewer are with a tenth of the prediction less at either end."""
    stated = {kind: facts.constant("training", "unsaid_share", (0,), kind) for kind in ("cut", "towered")}
    inside = first_inside({kind: (each.low, each.high) for kind, each in stated.items()})
    assert len(inside) == sum(each.num_runs for each in stated.values())
    assert sum(inside) >= 0.9 * len(inside)
    for below, above in ((0.1, 0), (0, 0.1)):
        narrower = {kind: (each.low + below, each.high - above) for kind, each in stated.items()}
        assert sum(first_inside(narrower)) < 0.9 * len(inside)


def test_how_short_cut_samples_may_be_is_earned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nineteen of twenty rows whose samples a limit cuts lie above the end of the stated share; fewer do with
    half of the limit, which holds where the longest sample is known."""
    rows = [
        row
        for table in (TABLE, FRESH, *ROUNDS)
        for row in records(table)
        if bound(row["seq_len"]) and row["kind"] == "measured" and row["completeness"] in "AB"
    ]

    def shares() -> float:
        ends = [(row, interval(row, row["quantity"]).low / unit_factor(row["unit"], "")) for row in rows]
        return sum(float(row["value"]) >= low for row, low in ends) / len(rows)

    assert shares() >= 0.95
    monkeypatch.setattr(training_predict, "bound", lambda word: ())
    assert shares() < 0.95
