"""Megatron-LM's own golden values beside the prediction: errors, intervals, and budgets that only shrink.

megatron.jsonl is what the rules were made on; megatron_fresh.jsonl are the cases of August 2026 that it does
not have, scored before any rule was changed: 302 of 320 peaks, 0.35 % in the median, 8.2 % at p90, 9 % of
them above. One rule changed since: the first long-term-support image has a flash-attn without a deterministic
backward, and its runs keep whole attention weights.
"""

import pytest
from bench.megatron_named import measured

from oomless import facts
from oomless.truth.tables import read_table
from oomless.truth.validate import Scored, is_inside, score
from oomless.units import MIB
from tables.score import TABLES, Budget, check_errors, errors

TABLE = TABLES / "megatron.jsonl"
PRE_TRAINING = ("gpt", "moe", "mixtral", "bert", "t5", "hybrid")
SCORED = 0.85
STEADY = {"megatron": Budget(2 * MIB, 12 * MIB), "megatron_fresh": Budget(2 * MIB, 16 * MIB)}
"""In bytes."""
PEAK = Budget(0.003, 0.03)
INSIDE, ABOVE = 0.90, 0.03


@pytest.fixture(scope="module", params=["megatron", "megatron_fresh"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def rows(name: str) -> tuple[Scored, ...]:
    table = read_table(TABLES / f"{name}.jsonl")
    return tuple(score(row) for row in table if str(row.configuration["case"]).split("/")[0] in PRE_TRAINING)


def of(rows: tuple[Scored, ...], quantity: str) -> list[Scored]:
    return [row for row in rows if row.quantity == quantity and row.status == "scored"]


def test_most_rows_are_scored(rows: tuple[Scored, ...]) -> None:
    for quantity in ("peak_allocated", "model_states"):
        mine = [row for row in rows if row.quantity == quantity]
        assert len(of(rows, quantity)) >= SCORED * len(mine)


def test_between_steps_the_error_is_a_few_mib(rows: tuple[Scored, ...], name: str) -> None:
    check_errors([abs((row.predicted or 0) - row.measured) for row in of(rows, "model_states")], STEADY[name])


def test_at_the_peak_the_error_is_within_the_budget(rows: tuple[Scored, ...]) -> None:
    check_errors(errors(of(rows, "peak_allocated")), PEAK)


@pytest.mark.parametrize("quantity", ["peak_allocated", "model_states"])
def test_intervals_hold(rows: tuple[Scored, ...], quantity: str) -> None:
    mine = of(rows, quantity)
    assert sum(map(is_inside, mine)) >= INSIDE * len(mine)
    assert sum(row.measured > (row.high or 0) for row in mine) <= ABOVE * len(mine)


def test_a_prediction_does_not_see_what_was_measured() -> None:
    row = next(row for row in read_table(TABLE) if row.quantity == "peak_allocated")
    assert score(row).predicted == score(row._replace(value=1.0)).predicted


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("world_size", "eight"),
        ("world_size", -1),
        ("padded_vocab_size", [1]),
        ("env", "none"),
        ("stack", None),
        ("args", {"--num-layers": []}),
    ],
)
def test_a_damaged_record_is_a_status_and_no_crash(field: str, value: object) -> None:
    row = next(row for row in read_table(TABLE) if row.quantity == "peak_allocated")
    assert score(row._replace(configuration={**row.configuration, field: value})).status in (
        "scored",
        "unsupported",
        "incomplete",
    )


def test_runs_lie_in_what_their_names_leave_open() -> None:
    share, beside = (
        facts.constant("megatron", name, (0,), "named") for name in ("activation_share", "unexplained")
    )
    runs = measured()
    below = sum(run.measured < share.low * run.passing for run in runs)
    above = sum(run.measured > share.high * run.passing + beside.high for run in runs)
    assert share.num_runs == beside.num_runs == len(runs)
    assert below <= 0.05 * len(runs)
    assert above <= 0.02 * len(runs)
