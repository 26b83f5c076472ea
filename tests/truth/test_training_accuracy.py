"""Training estimates against measured rows: the error table, and budgets that only shrink.

training.csv is what the rules were made on. training_fresh.csv was found later; scored before any rule
changed it had 9 % in the median (A) and 7 % (B). Its outliers led to rules of the frameworks: torch's
loss_parallel, torchtitan's losses by date, litgpt's own head, AdamW foreach. A second round of them (`round
2` in their notes) was found when those rules stood; scored before any other changed, its rows of the best
confidence had 11 % in the median, and 38 % of them lay above their interval: QLoRA that TRL had prepared,
LoRA under FSDP1, experts of transformers 4, its losses (facts/habits.csv). Its rows of ZeRO-3
were within 3 % while the step was taken to hold all gradients twice, and are 4 % low since it steps by
sub-groups as the source has it: the one budget that grew. Budgets are held for each round by
itself; those of the rounds from the third on stand in row_budgets.csv.

A third round (training_round3.csv) had 12 % in the median (A, reserved) as first predicted, 69 % inside, and
32 % (B, reserved): what torchtitan's experts and Mamba-2 keep was too much. Its rows of the second kind are
figures of texts, whose samples are shorter than the length that bounds them.

A fourth round (training_round4.csv) was 21 % off in the median (reserved) and 25 % (allocated) as first
predicted, 48 % and 24 % inside: matrices and adapters that Axolotl runs as one function, adapters of
Megatron-SWIFT, losses of Megatron and Automodel. What is left is LoRA of experts under Megatron-SWIFT, which
took 10 to 75 GiB more than is known of.

A fifth round (training_round5.csv) was 8 % off in the median (A, allocated; reserved 19 %), 15 % (B, both),
71 % inside as first predicted, and 22 of its 66 rows were refused, half of them for a word of BF16 on a T4:
keys and values that the context parallelism of torch gathers, a T4's own half precision, doubly quantized
weights of adapters, weights that FSDP keeps gathered, litgpt's own layers. What is left is FP8 all-gathers
of thunder and the experts under Megatron-SWIFT.

A sixth round (training_round6.csv) was 4 % off in the median (A, reserved) as first predicted, 91 % inside,
and 12 % (B, reserved), 67 % inside: logits that prime-rl keeps, and samples far shorter than the limit that
cuts them. What is left is prime-rl of June 2026, whose states of 0.6B fell by 8 GiB.

A seventh round (training_round7.csv) was 5 % off in the median (A, reserved) as first predicted, 77 % inside,
and 23 % (B), 52 % inside: tables of positions that Unsloth kept in each layer, Granite's loss there. What is
left is models with encoders under ms-swift, and experts of prime-rl over 65,536 tokens.

An eighth round (training_round8.csv) was 3 % off in the median (A, reserved) as first predicted, one of eight
outside, 26 % (A, allocated: a loop of one's own whose model was prepared in F32, which no row says) and 17 %
(B), 77 % inside. What is left is a notebook of Gemma 3 whose cells are of two runs, GLM-5.2 over 11 stages,
and a head that was written with another's figure.

A ninth round (training_round9.csv) was 2 % off in the median (A, reserved; allocated 1 %) as first predicted,
one of five outside, and 16 % (B, of no said quantity), 83 % inside. What is left is QLoRA of LLaMA-Factory in
2024, Unsloth's checkpoints there, and an offloaded full finetune of MiniCPM.
"""

from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import pytest

from oomless import facts
from oomless.errors import OomlessError
from oomless.estimate.training.reserved import words
from oomless.frameworks.defaults import resolved
from oomless.report.validate_text import validate_table_text
from oomless.truth.tables import Incomplete, read_table
from oomless.truth.training_predict import estimate, group_of
from oomless.truth.training_rows import question, unit_factor
from oomless.truth.validate import Scored, is_inside, score, summarize
from tables.score import TABLES, Budget, check, check_errors, errors, records

TABLE, FRESH = TABLES / "training.csv", TABLES / "training_fresh.csv"
FIFTH = TABLES / "training_round5.csv"
ROUNDS = [TABLES / f"training_round{number}.csv" for number in range(3, 8)]

BUDGETS = {
    "peak_allocated": Budget(median=0.01, p90=0.09, scored=1.0),
    "peak_reserved": Budget(median=0.03, p90=0.15, scored=1.0),
}
"""Rows of the best confidence."""
INFERRED = Budget(median=0.04, p90=0.18, scored=0.8)
"""Rows with one field inferred, all quantities together."""
INFERRED_INSIDE = 0.9
"""Least share of them inside of their intervals, of frameworks that run no Megatron-Core."""
INSIDE, ABOVE = 0.9, 0.03
"""Least share of rows inside of their intervals, and the most that may lie above the upper end."""
FRESH_BEST, FRESH_INFERRED = Budget(median=0.05, p90=0.12, scored=1.0, inside=INSIDE), 0.05
SECOND_BEST = Budget(median=0.036, p90=0.15, scored=1.0, inside=0.87, above=0.04)
SECOND_INFERRED = 0.1
SECOND_ALLOCATED = Budget(median=0.006, p90=0.04, scored=1.0)
LEFT_OUT = Budget(median=0.06, p90=0.25, scored=0.8)


@pytest.fixture(scope="module")
def scored() -> dict[str, tuple[Scored, ...]]:
    return scored_rows(TABLE)


@pytest.fixture(scope="module")
def fresh() -> dict[str, tuple[Scored, ...]]:
    return scored_rows(FRESH)


def scored_rows(table: Path) -> dict[str, tuple[Scored, ...]]:
    """Measured rows by confidence; rows that a formula made are no truth."""
    kinds = {row["id"]: row["kind"] for row in records(table)}
    found: dict[str, list[Scored]] = {"A": [], "B": []}
    for row in read_table(table):
        if row.confidence in found and kinds[row.id] != "theory":
            found[row.confidence].append(score(row))
    return {confidence: tuple(rows) for confidence, rows in found.items()}


def test_the_table_of_errors_is_printed(
    scored: dict[str, tuple[Scored, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    with capsys.disabled():
        for confidence, rows in scored.items():
            print(f"\n\ntraining, confidence {confidence}\n{validate_table_text(summarize(rows))}")


@pytest.mark.parametrize("quantity", sorted(BUDGETS))
def test_errors_stay_below_their_budget(scored: dict[str, tuple[Scored, ...]], quantity: str) -> None:
    check([row for row in scored["A"] if row.quantity == quantity], BUDGETS[quantity], quantity)


def test_rows_with_one_field_inferred(scored: dict[str, tuple[Scored, ...]]) -> None:
    found = errors(scored["B"])
    check_errors(found, INFERRED)
    assert len(found) >= INFERRED.scored * len(scored["B"])


@pytest.mark.parametrize("table", [TABLE, FRESH])
def test_intervals_of_rows_with_one_field_inferred(table: Path) -> None:
    others = {row["id"] for row in records(table) if "Megatron" not in row["framework"]}
    rows = [row for row in scored_rows(table)["B"] if row.predicted is not None and row.id in others]
    inside = sum((row.low or 0) <= row.measured <= (row.high or 0) for row in rows)
    assert inside >= INFERRED_INSIDE * len(rows)


def test_intervals_hold_what_was_measured(scored: dict[str, tuple[Scored, ...]]) -> None:
    rows = [row for row in scored["A"] if row.predicted is not None]
    shares = summarize(tuple(rows))
    inside = sum((shares[name].share_inside or 0) * shares[name].num_scored for name in shares) / len(rows)
    above = sum(row.measured > (row.high or 0) * 1.001 for row in rows) / len(rows)
    assert inside >= INSIDE
    assert above <= ABOVE


def of_round(fresh: dict[str, tuple[Scored, ...]], number: int) -> dict[str, tuple[Scored, ...]]:
    second = {row["id"] for row in records(FRESH) if row["notes"].startswith("round 2")}
    return {
        each: tuple(row for row in rows if (row.id in second) == (number == 2))
        for each, rows in fresh.items()
    }


def test_rows_that_no_rule_was_made_on(fresh: dict[str, tuple[Scored, ...]]) -> None:
    fresh = of_round(fresh, 1)
    inferred = errors(fresh["B"])
    assert len(errors(fresh["A"])) == len(fresh["A"]) == 24
    assert len(inferred) >= 0.95 * len(fresh["B"])
    check(fresh["A"], FRESH_BEST)
    assert median(inferred) <= FRESH_INFERRED


def test_rows_of_the_second_round(fresh: dict[str, tuple[Scored, ...]]) -> None:
    fresh = of_round(fresh, 2)
    best, inferred, allocated = errors(fresh["A"]), errors(fresh["B"]), errors(fresh["A"], "peak_allocated")
    assert (len(best), len(inferred), len(allocated)) == (32, 44, 15)
    check(fresh["A"], SECOND_BEST)
    check_errors(allocated, SECOND_ALLOCATED)
    assert median(inferred) <= SECOND_INFERRED


def test_allocated_peaks_of_later_rounds_lie_in_their_intervals() -> None:
    """Nine of ten of rounds 3 to 7, A and B."""
    tables = [scored_rows(table) for table in ROUNDS]
    rows = [row for table in tables for grade in table.values() for row in grade]
    rows = [row for row in rows if row.quantity == "peak_allocated" and row.predicted is not None]
    assert sum(map(is_inside, rows)) >= INSIDE * len(rows)


def test_weights_that_stay_gathered_and_litgpt_s_layers() -> None:
    """Llama-2-7B under both FSDPs, weights gathered until the backward, compiled and eager."""
    found = [score(row) for row in read_table(FIFTH) if row.id in ("t5-021", "t5-022", "t5-023")]
    assert max(abs((each.predicted or 0) / each.measured - 1) for each in found) < 0.002


def test_adapters_on_a_card_without_bf16_take_the_framework_s_own_type() -> None:
    """A page's BF16 is no word of a T4."""
    rows = {row["id"]: row for row in records(FIFTH) if "T4" in row["gpu"]}
    assert {question(row).asked.precision for row in rows.values()} == {None}
    assert all(score(row).predicted for row in read_table(FIFTH) if row.id in rows)


class Implied(NamedTuple):
    """A measured reserved peak, and what it implies of the allocator: reserved = steady + share x (allocated
    - steady + streams apart)."""

    source: str
    kind: str
    """The constant of facts/engines.csv that holds for it."""
    confidence: str
    measured: float
    steady: int
    passing: int

    @property
    def share(self) -> float:
        return (self.measured - self.steady) / self.passing


def implied() -> list[Implied]:
    found = []
    for row in (*records(TABLE), *records(FRESH)):
        if row["quantity"] != "peak_reserved" or row["kind"] != "measured" or row["completeness"] not in "AB":
            continue
        try:
            asked = question(row)
            answer = estimate(asked)
        except (Incomplete, OomlessError):
            continue
        group = group_of(answer, asked)
        request = resolved(asked.asked)
        kind = facts.constant("training", "reserved_share", (0,), *words(request)).source
        beside = 2 * asked.beside
        measured = float(row["value"]) * unit_factor(row["unit"], row["model"])
        passing = group.passing_bytes
        found.append(
            Implied(
                row["source"].split(" ")[0],
                kind,
                row["completeness"],
                measured,
                group.steady_bytes + beside,
                passing,
            )
        )
    return found


def test_reserved_holds_when_a_source_is_left_out() -> None:
    """Each source's rows by the share that the other sources of its kind imply (their median), or by the
    table where none is left."""
    rows = implied()
    table = {
        row["source"]: float(row["value"])
        for row in facts.table("engines")
        if row["quantity"] == "reserved_share"
    }
    found: list[float] = []
    for row in rows:
        if row.confidence != "A":
            continue
        others = [
            each.share
            for each in rows
            if each.kind == row.kind and each.source != row.source and each.passing > 0
        ]
        share = median(others) if len(others) >= 3 else table[row.kind]
        found.append(abs((row.steady + share * row.passing) / row.measured - 1))
    best = [
        row
        for row in (*records(TABLE), *records(FRESH))
        if row["quantity"] == "peak_reserved" and row["completeness"] == "A"
    ]
    assert len(found) >= LEFT_OUT.scored * len(best)
    check_errors(found, LEFT_OUT)


def test_a_prediction_sees_no_measured_value() -> None:
    """Other values, notes and sources give the same predictions."""
    rows: list[Any] = [row for row in read_table(TABLE) if row.confidence == "A"][::7]
    changed = [row._replace(value=row.value * 3 + 1) for row in rows]
    assert [score(row).predicted for row in rows] == [score(row).predicted for row in changed]
    assert all(not {"value", "value_gib", "notes", "source", "id"} & set(row.configuration) for row in rows)
