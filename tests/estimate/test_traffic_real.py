"""Formulas of traffic.py against bytes that real processes put on the wire (gloo over loopback, kernel's
count of each socket).

gloo has no reduce-scatter of its own: it carries one out as an all-reduce and sends twice as much; and its
reduce, which two dimensions use, is a reduce-scatter and a gather: (1 + 1 / q) times what is needed. Both are
added to the formula here; the rest must agree within 2 %.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from estimate.networks import LLAMA, read
from estimate.ranks import Job, run_ranks
from oomless.estimate.training.collectives import one_dimension, two_dimensions
from oomless.estimate.training.traffic import StageTraffic, traffic
from oomless.model.model import Model
from oomless.run.training import Mesh, TrainingAsked

pytestmark = pytest.mark.torch
pytest.importorskip("torch")
pytest.importorskip("transformers")

SHAPE = {"micro_batch": 2, "seq_len": 64}
PLAIN = TrainingAsked(
    framework="fsdp",
    precision="fp32",
    recompute="none",
    sharding="none",
    loss="plain",
    micro_batch=SHAPE["micro_batch"],
    seq_len=SHAPE["seq_len"],
)
RECOMPUTED = PLAIN._replace(recompute="full")
WITHIN = 0.02


def on_gloo(stage: StageTraffic) -> int:
    """Bytes that a rank of a stage sends over gloo: a reduce-scatter goes as an all-reduce."""
    return sum(
        each.sent_bytes * (2 if each.collective == "reduce-scatter" else 1) for each in stage.transfers
    )


def check(counted: Sequence[int], stages: Sequence[StageTraffic]) -> None:
    """Each rank's bytes against its stage's: ranks of one stage lie side by side here."""
    for rank, sent in enumerate(counted):
        expected = on_gloo(stages[rank * len(stages) // len(counted)])
        assert abs(sent / expected - 1) < WITHIN, (rank, sent, expected)


def cases(world: int) -> list[tuple[Job, TrainingAsked]]:
    """Jobs of steps.py and the same steps as questions."""
    job: dict[str, Any] = {"config": LLAMA, **SHAPE}
    found: list[tuple[Job, TrainingAsked]] = [
        (("ddp", job), PLAIN._replace(sharding="ddp")),
        (("fsdp2", job), PLAIN._replace(sharding="fsdp2")),
        (("fsdp2", {**job, "checkpoint": True}), RECOMPUTED._replace(sharding="fsdp2")),
    ]
    if world <= LLAMA["num_key_value_heads"]:
        mesh = Mesh(tp=world)
        found += [
            (("tp", job), PLAIN._replace(mesh=mesh)),
            (("tp", {**job, "apart": True}), PLAIN._replace(mesh=mesh, framework="transformers")),
            (("tp", {**job, "checkpoint": True}), RECOMPUTED._replace(mesh=mesh)),
        ]
    for schedule, virtual in (("gpipe", 1), ("1f1b", 1), ("interleaved", 2)):
        mesh = Mesh(pp=world, virtual_stages=virtual, schedule=schedule)
        pipeline = ("pp", {**job, "schedule": schedule, "virtual": virtual, "micro_batches": 8})
        found.append((pipeline, PLAIN._replace(mesh=mesh, grad_accum=8)))
    return found


def compare(model: Model, world: int, folder: Path) -> None:
    chosen = cases(world)
    counted = run_ranks([job for job, _ in chosen], world, folder)
    for (_, asked), bytes_of_ranks in zip(chosen, counted, strict=True):
        check(bytes_of_ranks, traffic(model, asked, world))


@pytest.mark.slow
def test_two_ranks(tmp_path: Path) -> None:
    """DDP, FSDP2, 1D TP with and without recomputation, and three pipelines."""
    compare(read(LLAMA, tmp_path), 2, tmp_path)


@pytest.mark.slow
def test_four_ranks(tmp_path: Path) -> None:
    compare(read(LLAMA, tmp_path), 4, tmp_path)


def check_dimensions(world: int, q: int, folder: Path) -> None:
    hidden, tokens, size = 128, 1024, 4
    counted = run_ranks([("dimensions", {"hidden": hidden, "tokens": tokens})], world, folder)[0]
    one = one_dimension(tokens, 2 * hidden, world) * world * size
    two = two_dimensions(tokens, 5 * hidden, 8 * hidden * hidden, world) * world * size
    assert abs(sum(rank["one"] for rank in counted) / one - 1) < WITHIN
    assert abs(sum(rank["two"] for rank in counted) / (two * (1 + 1 / (3 * q))) - 1) < WITHIN
    assert max(rank["apart"] for rank in counted) < 1e-3


@pytest.mark.slow
def test_two_dimensions_on_four_ranks(tmp_path: Path) -> None:
    """A third of what SUMMA sends are reductions, which gloo carries out with 1 / q too much."""
    check_dimensions(4, 2, tmp_path)


@pytest.mark.slow
def test_two_dimensions_on_sixteen_ranks(tmp_path: Path) -> None:
    check_dimensions(16, 4, tmp_path)
