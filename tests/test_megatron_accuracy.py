"""Megatron-LM's own golden values (tests/tables/megatron.jsonl) beside the prediction: errors, intervals, and budgets that only shrink."""

from pathlib import Path
from statistics import median

import pytest

from oomless.truth.tables import read_table
from oomless.truth.validate import Scored, score
from oomless.units import MIB

TABLE = Path(__file__).parent / "tables" / "megatron.jsonl"
PRE_TRAINING = ("gpt", "moe", "mixtral", "bert", "t5", "hybrid")
SCORED = 0.85
STEADY_MEDIAN, STEADY_P90 = 2 * MIB, 12 * MIB
PEAK_MEDIAN, PEAK_P90 = 0.003, 0.03
INSIDE, ABOVE = 0.90, 0.03


@pytest.fixture(scope="module")
def rows() -> tuple[Scored, ...]:
    return tuple(score(row) for row in read_table(TABLE) if str(row.configuration["case"]).split("/")[0] in PRE_TRAINING)


def of(rows: tuple[Scored, ...], quantity: str) -> list[Scored]:
    return [row for row in rows if row.quantity == quantity and row.status == "scored"]


def p90(sizes: list[float]) -> float:
    return sorted(sizes)[-(-9 * len(sizes) // 10) - 1]


def test_most_rows_are_scored(rows: tuple[Scored, ...]) -> None:
    for quantity in ("peak_allocated", "model_states"):
        mine = [row for row in rows if row.quantity == quantity]
        assert len(of(rows, quantity)) >= SCORED * len(mine)


def test_between_steps_the_error_is_a_few_mib(rows: tuple[Scored, ...]) -> None:
    errors = [abs((row.predicted or 0) - row.measured) for row in of(rows, "model_states")]
    assert median(errors) <= STEADY_MEDIAN
    assert p90(errors) <= STEADY_P90


def test_at_the_peak_the_error_is_within_the_budget(rows: tuple[Scored, ...]) -> None:
    errors = [abs(row.rel_error or 0) for row in of(rows, "peak_allocated")]
    assert median(errors) <= PEAK_MEDIAN
    assert p90(errors) <= PEAK_P90


@pytest.mark.parametrize("quantity", ["peak_allocated", "model_states"])
def test_intervals_hold(rows: tuple[Scored, ...], quantity: str) -> None:
    mine = of(rows, quantity)
    assert sum((row.low or 0) <= row.measured <= (row.high or 0) for row in mine) >= INSIDE * len(mine)
    assert sum(row.measured > (row.high or 0) for row in mine) <= ABOVE * len(mine)


def test_a_prediction_does_not_see_what_was_measured() -> None:
    row = next(row for row in read_table(TABLE) if row.quantity == "peak_allocated")
    assert score(row).predicted == score(row._replace(value=1.0)).predicted


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("world_size", "eight"),
        ("world_size", -1),
        ("padded_vocab_size", [1]),
        ("env", "none"),
        ("stack", None),
        ("args", {"--num-layers": []}),
    ],
)
def test_a_damaged_record_is_a_status_and_no_crash(name: str, value: object) -> None:
    row = next(row for row in read_table(TABLE) if row.quantity == "peak_allocated")
    assert score(row._replace(configuration={**row.configuration, name: value})).status in ("scored", "unsupported", "incomplete")
