"""The training estimate against real steps of real ranks: allocator events of torch.profiler under gloo on
this machine's CPU.

Between steps every rank holds what the estimate says, to the byte, beside what `extras` names (rotary tables,
step counters) and, in a pipeline, the buffers that it receives into. At the peaks, what comes on top of
weights and moments agrees within 2 %.
"""

from pathlib import Path
from typing import Any

import pytest

from estimate.networks import LLAMA, read
from estimate.ranks import Job, run_ranks
from oomless.estimate.training.estimate import estimate_training
from oomless.estimate.training.rank_group import RankGroup
from oomless.model.model import Model
from oomless.run.hardware import parse_gpu
from oomless.run.training import Mesh, TrainingAsked

pytestmark = pytest.mark.torch
pytest.importorskip("torch")
pytest.importorskip("transformers")

PLAIN = TrainingAsked(
    framework="fsdp",
    precision="fp32",
    optimizer="adamw-loop",
    recompute="none",
    sharding="none",
    loss="plain",
    attention="flash",
    micro_batch=4,
    seq_len=512,
)
"""What memory.py runs: F32, AdamW one tensor after the other, torch's flash attention for the CPU,
transformers' own loss."""
WITHIN = 0.02
SCALARS = 64
"""Bytes of scalars that some ranks hold: the loss, a counter."""
BROADCAST = 4096
"""Bytes of DDP's own small tensors, which gloo's threads free."""

Case = tuple[Job, TrainingAsked]


def one_step(how: str, asked: TrainingAsked, **more: Any) -> Case:
    job = {"how": how, "config": LLAMA, "micro_batch": asked.micro_batch, "seq_len": asked.seq_len, **more}
    return ("memory.train", job), asked


def cases(world: int) -> list[Case]:
    """DDP, FSDP2 and tensor parallelism, with and without recomputation."""
    again = PLAIN._replace(recompute="full")
    found = [
        one_step("ddp", PLAIN._replace(sharding="ddp")),
        one_step("fsdp2", PLAIN._replace(sharding="fsdp2")),
        one_step("fsdp2", again._replace(sharding="fsdp2"), checkpoint=True),
    ]
    if world <= LLAMA["num_key_value_heads"]:
        mesh = Mesh(tp=world)
        found += [
            one_step("tp", PLAIN._replace(mesh=mesh)),
            one_step("tp", again._replace(mesh=mesh), checkpoint=True),
        ]
    return found


def pipelines(world: int) -> list[Case]:
    """Three schedules over eight micro-batches."""
    found: list[Case] = []
    for schedule, virtual in (("gpipe", 1), ("1f1b", 1), ("interleaved", 2)):
        asked = PLAIN._replace(
            mesh=Mesh(pp=world, virtual_stages=virtual, schedule=schedule),
            grad_accum=8,
            micro_batch=2,
            seq_len=256,
        )
        job: dict[str, Any] = {
            "schedule": schedule,
            "virtual": virtual,
            "micro_batches": 8,
            "micro_batch": 2,
            "seq_len": 256,
        }
        found.append((("memory.pipeline", {"config": LLAMA, **job}), asked))
    return found


def allocated(group: RankGroup, *names: str) -> int:
    """The most that is allocated in some phases; token ids are made before the recording starts, and cuBLAS
    has no work here."""
    beside = sum(line.bytes for line in group.states.lines if line.category == "temporaries")
    return (
        max(
            sum(group.at(phase).values()) - group.at(phase).get("inputs", 0)
            for phase in group.phases
            if phase.name in names
        )
        - beside
    )


def workspaces(group: RankGroup) -> int:
    return sum(line.bytes for line in group.states.lines if line.category == "temporaries")


def agrees(measured: int, expected: int, states: int) -> bool:
    """Whether what comes on top of the states is within 2 %."""
    return abs((expected - states) / (measured - states) - 1) <= WITHIN


def check_step(seen: dict[str, int], group: RankGroup, rank: int, asked: TrainingAsked) -> None:
    """One rank's second step against its group."""
    between = seen["before end"] - seen["extras"]
    slack = BROADCAST if asked.sharding == "ddp" else SCALARS
    steady = group.steady_bytes - workspaces(group)
    assert 0 <= between - steady <= slack, (rank, between, steady)
    states = group.states.weights + group.states.optimizer
    for name in ("forward", "backward"):
        measured, expected = seen[name] - seen["extras"], allocated(group, name)
        assert agrees(measured, expected, states), (
            asked.sharding,
            asked.mesh,
            asked.recompute,
            name,
            rank,
            measured,
            expected,
        )


def check_pipeline(
    seen: dict[str, int], group: RankGroup, rank: int, world: int, asked: TrainingAsked
) -> None:
    """One rank's second flush against its stage."""
    mesh = asked.mesh or Mesh()
    states = group.states.weights + group.states.optimizer
    boundary = asked.micro_batch * (asked.seq_len or 0) * LLAMA["hidden_size"] * 4
    received = 2 * mesh.virtual_stages - (rank == 0) - (rank == world - 1)
    between = seen["before end"] - seen["extras"] - asked.grad_accum * received * boundary
    assert abs(between - states) <= SCALARS * mesh.virtual_stages * 2, (mesh, rank, between, states)
    measured, expected = seen["flush"] - seen["extras"], allocated(group, "forward", "backward")
    assert agrees(measured, expected, states), (mesh, rank, measured, expected)


def check(model: Model, world: int, case: Case, seen: list[Any]) -> None:
    """All ranks of one run."""
    (name, _), asked = case
    groups = estimate_training(model, asked, parse_gpu(f"80GiB:{world}")).groups
    for rank, each in enumerate(seen):
        if name == "memory.pipeline":
            check_pipeline(each, groups[rank], rank, world, asked)
        else:
            check_step(each, groups[0], rank, asked)


def compare(model: Model, world: int, chosen: list[Case], folder: Path) -> None:
    for case, seen in zip(chosen, run_ranks([job for job, _ in chosen], world, folder), strict=True):
        check(model, world, case, seen)


def test_two_ranks(tmp_path: Path) -> None:
    """All ways in one start: importing torch takes longer than most of them."""
    compare(read(LLAMA, tmp_path), 2, cases(2), tmp_path)


@pytest.mark.slow
def test_two_stages(tmp_path: Path) -> None:
    compare(read(LLAMA, tmp_path), 2, pipelines(2), tmp_path)


@pytest.mark.slow
def test_four_ranks(tmp_path: Path) -> None:
    compare(read(LLAMA, tmp_path), 4, cases(4), tmp_path)


@pytest.mark.slow
def test_four_stages(tmp_path: Path) -> None:
    compare(read(LLAMA, tmp_path), 4, pipelines(4), tmp_path)


@pytest.mark.slow
def test_one_rank(tmp_path: Path) -> None:
    again = PLAIN._replace(recompute="full")
    compare(
        read(LLAMA, tmp_path),
        1,
        [one_step("plain", PLAIN), one_step("plain", again, checkpoint=True)],
        tmp_path,
    )
