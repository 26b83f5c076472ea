"""Rows of training speed say that a run fitted: what somebody timed does not "not fit"."""

from collections import Counter

import pytest

from oomless.estimate.training.estimate import estimate_training
from oomless.truth.speed_training_rows import modules_of, question_of
from oomless.truth.tables import read_table
from tables.score import TABLES

FITS = {"perf_training.csv": 16, "perf_training_2.csv": 22, "perf_training_offload.csv": 8}
"""The least rows whose answer is `fits`; of the second table it was 9, and 18 did not fit, when its recipes'
gradients in BF16, remainders, loss, layouts and modules were not read."""
REFUSED: dict[str, set[str]] = {
    "perf_training.csv": set(),
    "perf_training_offload.csv": set(),
    # 4 sequences a micro-batch, where the recipe of the same release has 1 (H100, gpt-oss-120b)
    "perf_training_2.csv": {"t2-30"},
}
"""Rows that do not fit by our answer."""


@pytest.mark.parametrize("table", FITS)
def test_what_was_timed_fitted(table: str) -> None:
    verdicts = {}
    for row in read_table(TABLES / table):
        model, asked, hardware = question_of(dict(row.configuration))
        verdicts[row.id] = estimate_training(model, asked, hardware).verdict
    assert {name for name, verdict in verdicts.items() if verdict == "does_not_fit"} <= REFUSED[table]
    assert Counter(verdicts.values())["fits"] >= FITS[table]


def test_what_a_row_says_of_memory_is_read() -> None:
    (row,) = [row for row in read_table(TABLES / "perf_training_2.csv") if row.id == "t2-14"]
    _, asked, _ = question_of(dict(row.configuration))
    assert (asked.recompute, asked.recompute_modules) == ("selective", ("mla_up_proj",))
    assert (asked.precision, asked.loss) == ("megatron-bf16-narrow", "vocab-parallel-te")
    (row,) = [row for row in read_table(TABLES / "perf_training_2.csv") if row.id == "t2-12"]
    _, asked, _ = question_of(dict(row.configuration))
    assert (asked.offload, asked.offload_layers) == (("activations",), 40)
    assert modules_of("selective recomputation of mlp and norm") == ("mlp", "norm")
