"""A group of equal ranks: its ledger at the peak, what torch's DDP takes when it is made among it, the phases
of its step, and the three numbers that are called memory."""

from typing import NamedTuple

from ...frameworks import framework
from ...ledger import CATEGORIES, Ledger, Line, sums
from ...units import MIB
from .job import Job
from .phases import StepPhase
from .reserved import (
    OUTSIDE,
    KeptBlocks,
    below_in_step,
    flattens,
    given_back_late,
    held_beyond,
    kept_beyond,
    pinned_by_engine,
    process_line,
    room_beside,
    streams_apart,
    within_room,
)
from .states import RankStates


class Peaks(NamedTuple):
    """The three numbers that are called memory, on one rank."""

    allocated_bytes: int
    """torch.cuda.max_memory_allocated."""
    reserved_bytes: int
    """torch.cuda.max_memory_reserved: with what the allocator holds and nobody uses."""
    device_bytes: int
    """What nvidia-smi shows: with context and communication buffers."""
    phase: str
    moment: str
    reserved_most: int = 0
    """The upper end of what is reserved: beside it context and buffers take their least."""


class RankGroup(NamedTuple):
    """Equal ranks: a pipeline stage."""

    ledger: Ledger
    phases: tuple[StepPhase, ...]
    states: RankStates
    steady_bytes: int
    """Allocated between steps."""
    peaks: Peaks
    apart_bytes: int = 0
    """What other streams than the computation's take at another moment than the peak."""
    kept: KeptBlocks = KeptBlocks(0, 0)
    """What the allocator cannot give back."""
    step: "RankGroup | None" = None
    """The same ranks in a step, where what they load is more: ledger and peaks are of that then."""

    @property
    def passing_bytes(self) -> int:
        """What comes and goes during a step, as the allocator has to make room for it."""
        return max(0, self.peaks.allocated_bytes - self.steady_bytes) + self.apart_bytes

    def at(self, phase: StepPhase) -> dict[str, int]:
        """What is allocated at the worst moment of a phase, by category, in the order of the ledger's."""
        sums: dict[str, int] = {}
        always = [line for line in self.states.lines if line.category != "gradients"]
        found = [(line.category, line.bytes) for line in always] + [
            (part.category, part.bytes) for part in phase.parts
        ]
        for category, num_bytes in found:
            sums[category] = sums.get(category, 0) + num_bytes
        return {category: sums[category] for category in CATEGORIES if category in sums}


def rank_group(
    job: Job,
    rank: int,
    states: RankStates,
    steady: int,
    phases: tuple[StepPhase, ...],
    allocated: list[Line],
    beside: tuple[Line, ...] = (),
) -> RankGroup:
    """Return the group of a pipeline stage at its peak.

    `states`: of which `steady` bytes are allocated between steps. `allocated`: its lines at the
    fullest moment of `phases`. To these come what the allocator holds beside them, the context and other
    libraries' buffers, and `beside`: where host and card have one memory, what was moved to the host.
    """
    worst = max(phases, key=lambda phase: phase.total_bytes)
    num_allocated = sum(line.bytes for line in allocated)
    apart = streams_apart(job.request, phases, worst)
    above = worst.total_bytes - max(phase.total_bytes for phase in phases if phase.name != "optimizer")
    passing = max(0, num_allocated - above - steady) + apart
    alone = job.mesh.num_ranks == 1
    outside = [process_line(key, job) for key in OUTSIDE if key != "communication.buffers" or not alone]
    room = room_beside(job.capacity_bytes, (*allocated, *outside, *beside))
    stepped = above if flattens(job.request) else 0
    pinned = pinned_by_engine(job, states, phases)
    kept = kept_beyond(job, passing + stepped, pinned, below_in_step(phases))
    held = held_beyond(job, allocated, passing, apart, above, kept, pinned)
    if copies := copied_at_start(job, states.weights):
        held = held_from_start(held, states.weights + copies - num_allocated)
    most = min(sums([*allocated, held])[2], job.capacity_bytes - sums(outside)[1])
    lines = [*allocated, given_back_late(within_room(held, kept, room), job, allocated, room)]
    reserved, _, high = sums(lines)
    lines += [*outside, *beside]
    device = sum(line.bytes for line in lines)
    mesh = job.mesh
    name = "every rank" if mesh.pp == 1 else f"pipeline stage {rank}"
    ledger = Ledger(name, mesh.num_ranks // mesh.pp, job.capacity_bytes, tuple(lines))
    peaks = Peaks(num_allocated, reserved, device, worst.name, worst.moment, max(high, most))
    return RankGroup(ledger, phases, states, steady, peaks, apart, kept)


BUCKET = 250 * MIB
"""broadcast_bucket_size (torch/nn/parallel/distributed.py)."""


def copied_at_start(job: Job, weights: int) -> int:
    """Return the bytes of flat copies in which DDP sends `weights` bytes.

    Weights go in buckets, each of which is one flat copy. Two are under way (torch/csrc/distributed/c10d,
    comm.cpp), but to torch 2.7 NCCL's group records its stream on what it sends, and the allocator gives no
    block again before the card is done with it: the host makes all copies first (torchtune pull request 843
    saw 78 GiB where 23 were needed). An embedding that fills a bucket is sent as it is. From 2.8 on a copy
    is free once the computing stream waits (ProcessGroupNCCL.hpp, TensorShelf). DeepSpeed and Megatron send
    each weight in place.

    7B with adapters on two cards, ms-swift of January 2025: 27.5 GiB reserved.

    >>> from .estimate import job_of
    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> from ...run.training import TrainingAsked
    >>> asked = TrainingAsked(framework="ms-swift", method="lora", precision="bf16", sharding="ddp")
    >>> model, cards = load("qwen2.5-7b"), parse_gpu("a100-80gb:2")
    >>> for version in ("torch 2.5", "torch 2.8"):
    ...     job = job_of(model, asked._replace(framework_version=version), cards)
    ...     print(round(copied_at_start(job, model.num_parameters * 2) / 2**30, 2))
    13.17
    0.0
    """
    request, of = job.request, framework(job.request.framework)
    if request.sharding != "ddp" or job.mesh.num_ranks == 1 or job.engine is not None or of.megatron_core:
        return 0
    if not of.habits(request.framework_version).records_streams:
        return 0
    embedding = job.model.vocab_size * job.model.hidden_size * job.recipe.weight
    return max(0, weights - (embedding if embedding >= BUCKET else 0))


def held_from_start(line: Line, more: int) -> Line:
    """Return what the allocator holds, which is no less than `more` that was free when training began, as far
    as nobody needs the room."""
    if more <= line.bytes:
        return line
    return line._replace(
        bytes=more,
        high_bytes=max(line.high_bytes, more),
        formula=f"{more:,} B of the copies that DDP sent at its start",
        source="torch/nn/parallel/distributed.py, _sync_module_states",
    )
