"""A Megatron-LM run on hardware: its own rules (frameworks/megatron) put into the ledgers, phases and verdict
of every training estimate."""

from functools import lru_cache
from typing import NamedTuple

from ... import facts
from ...errors import UnsupportedError, UsageError
from ...frameworks.megatron.activations import PassPeak, inputs, kept_sizes, moments, routed_sizes
from ...frameworks.megatron.buffers import buffers, pipeline_inputs
from ...frameworks.megatron.environment import Device
from ...frameworks.megatron.moe import imbalance, settled
from ...frameworks.megatron.network import mesh_of, network, num_parameters, question
from ...frameworks.megatron.placement import Chunk, chunks
from ...frameworks.megatron.run import Megatron
from ...frameworks.megatron.states import StateTensors, gathered, states, step_copies
from ...ledger import Kind, Line, exact, ranged
from ...model.model import Model
from ...run.cards import Hardware
from ..allocator import Segments, place
from .checks import check_types
from .job import Job, capacity_of
from .phases import PhasePart, StepPhase
from .rank_group import rank_group
from .states import RankStates
from .training_estimate import TrainingEstimate, worst_of


def device_of(hardware: Hardware) -> Device:
    """What a card alone says of kernels and workspaces."""
    return Device(hardware.card.major or 9)


def estimate_megatron(
    run: Megatron,
    hardware: Hardware,
    device: Device | None = None,
    reserve: str | None = None,
    named: Model | None = None,
) -> TrainingEstimate:
    """Return the estimate of every pipeline stage; the verdict is the worst one's. `named`: the model from
    whose name alone the run follows."""
    device = device or device_of(hardware)
    if run.world_size > hardware.num_gpus:
        raise UsageError(
            f"--world-size {run.world_size} is more than the {hardware.num_gpus} cards of --gpu",
            "change one of the two",
        )
    capacity = capacity_of(hardware, reserve)
    job = Job(named or network(run), question(run, device, reserve), mesh_of(run), hardware, capacity)
    check_types(job.request, hardware.card)
    check_fp8(run, hardware)
    seen = sum(each.num_parameters for each in named.tensors if each.part == "vision") if named else 0
    groups = tuple(
        rank_group(job, rank, *of_stage(run, mine, rank, device, named is not None, 0 if rank else seen))
        for rank, mine in enumerate(chunks(run))
    )
    return TrainingEstimate(
        model=job.model,
        request=job.request,
        hardware=hardware,
        mesh=job.mesh,
        groups=groups,
        ram_bytes=0,
        disk_bytes=num_parameters(run) * (2 * run.num_bytes + 8 if run.dtype != "fp32" else 12),
        worst_rank=worst_of(groups),
        warnings=notes_of(run, hardware),
        asked=job.request,
        megatron=run,
    )


def check_fp8(run: Megatron, hardware: Hardware) -> None:
    """Refuse FP8 on a card that has no such arithmetic."""
    card = hardware.card
    if run.fp8 and card.lacks_fp8:
        raise UnsupportedError(
            f"{card.name} (compute capability {card.compute_capability}) has no FP8 and --fp8-format is "
            f"{run.fp8}",
            "leave it out, or take a card from compute capability 8.9 on",
        )


def notes_of(run: Megatron, hardware: Hardware) -> tuple[str, ...]:
    """Return what a reader must know: arguments that were not read, defaults that were taken, idle cards."""
    notes = list(run.warnings)
    if run.defaults:
        notes.append("taken from Megatron-LM's defaults: " + ", ".join(run.defaults))
    if hardware.num_gpus > run.world_size:
        notes.append(f"{hardware.num_gpus - run.world_size} of {hardware.num_gpus} cards have no rank")
    return tuple(notes)


class StageLedger(NamedTuple):
    """What a stage holds, whatever card it is on."""

    held: RankStates
    steady_bytes: int
    phases: tuple[StepPhase, ...]
    lines: list[Line]


@lru_cache(maxsize=16384)
def of_stage(
    run: Megatron, mine: tuple[Chunk, ...], rank: int, device: Device, named: bool, tower: int
) -> StageLedger:
    """Return one pipeline stage: what stays, and what each phase adds to it. A plan asks the same of each
    card of a generation. `tower`: values of a vision tower, frozen and whole on each rank."""
    kept = states(run, mine)
    lines = standing(run, mine, kept, device, named)
    if tower:
        size = tower * run.num_bytes
        formula = f"{tower:,} values x {run.num_bytes} B"
        frozen = exact("weights.frozen", "policy", "frozen weights", size, formula, "model/families")
        lines = (frozen, *lines)
    overlap = pipeline_inputs(run, mine).value // 2 if len(mine) > 1 else 0
    beside = remainders(kept, kept_sizes(run, mine, device), device)
    whole = gathered(run, mine)
    found = [_phase(run, moment, kept, overlap, beside, whole) for moment in moments(run, mine, rank, device)]
    found.append(StepPhase("optimizer", "in the step", _in_step(run, mine, kept)))
    worst = max(found, key=lambda phase: phase.total_bytes)
    share = facts.constant("megatron", "activation_share", (0,), *(["named"] if named else []))
    routed = routed_sizes(run, mine, device)
    always = [line for line in lines if line.category != "gradients"]
    allocated = always + [_line(part, share, rows_of(run, part, routed), worst.name) for part in worst.parts]
    steady = sum(line.bytes for line in lines)
    return StageLedger(_held(lines), steady, tuple(found), none_below_zero(allocated))


def none_below_zero(lines: list[Line]) -> list[Line]:
    """Return the lines with the same sum of low ends, none of them below zero: a doubt about the whole that
    one line bears is taken from the widest others."""
    missing = -sum(min(line.low_bytes, 0) for line in lines)
    found = [line._replace(low_bytes=max(line.low_bytes, 0)) for line in lines]
    for index in sorted(range(len(found)), key=lambda each: -found[each].bytes):
        line = found[index]
        if line.kind == "fitted" and missing:
            taken = min(missing, line.low_bytes)
            found[index], missing = line._replace(low_bytes=line.low_bytes - taken), missing - taken
    return found


def rows_of(run: Megatron, part: PhasePart, layers: tuple[int, ...]) -> tuple[int, float, float]:
    """Of a part, the bytes that grow with the rows that experts are given, and the ends of these over what is
    counted: how uneven routing is. It has settled where weights are loaded, as a list of arguments says and a
    model's name means. `layers`: such bytes of each layer. What runs is of one layer."""
    kind = run.experts
    if kind is None or run.ep == 1:
        return 0, 1, 1
    whole = part.category == "temporaries"
    rows = imbalance(kind)
    if not kind.loaded or "forced" in kind.routing:
        return part.bytes if whole else part.routed, rows.low / rows.value, rows.high / rows.value
    alive = 0 if whole else part.routed * len(layers) // max(1, sum(layers))
    sequences = max(1, run.micro_batch * run.ep * run.etp // (run.tp * run.cp))
    over = settled(kind, run.ep, sequences, max(1, len(layers) if alive else 1), max(1, alive))
    return part.bytes if whole else part.routed, 1 - over, 1 + over


def _line(part: PhasePart, share: facts.Constant, rows: tuple[int, float, float], phase: str) -> Line:
    """Exact for what shapes give; activations have the spread of the runs that they were compared with, and
    what grows with `rows_of` experts that of routing."""
    line = exact(
        part.key,
        "policy",
        part.what,
        part.bytes,
        part.formula,
        f"frameworks/megatron/activations.py: {phase}",
    )
    if part.category in ("gradients", "inputs") or part.key == "temporaries.optimizer_step":
        return line
    routed, least, most = rows
    rest = part.bytes - routed
    low, high = round((rest + routed * least) * share.low), round((rest + routed * most) * share.high)
    return line._replace(
        low_bytes=low, high_bytes=high, kind="fitted", source=f"{line.source}; {share.source}"
    )


def standing(
    run: Megatron, mine: tuple[Chunk, ...], kept: tuple[StateTensors, ...], device: Device, named: bool
) -> tuple[Line, ...]:
    """What a stage holds between steps, line by line."""
    lines = [
        exact(
            each.key,
            "policy",
            each.what,
            sum(each.sizes),
            tensors_formula(run, each),
            "frameworks/megatron/states.py",
        )
        for each in kept
        if each.sizes
    ]
    sizes = [size for each in kept for size in each.sizes if size > 0]
    plain = sum(sizes)
    unsplit = 0 if device.expandable else _placed(tuple(sizes)).allocated_bytes - plain
    row = facts.constant("megatron", "unexplained_share", (0,))
    words = ["sharded"] if run.fsdp else ["named"] if named else []
    room = facts.constant("megatron", "unexplained", (0,), *words)
    lines.append(
        ranged(
            "fragmentation.remainders",
            "policy",
            "remainders that the allocator does not split off",
            (
                unsplit,
                round(room.low + plain * row.low),
                max(unsplit, 0) + round(room.high + plain * row.high),
            ),
            "fitted",
            f"{len(sizes)} tensors served in order",
            f"estimate/allocator.py; {room.source}",
        )
    )
    for each in buffers(run, mine, device):
        kind: Kind = "exact" if each.low == each.value == each.high else "assumed"
        lines.append(
            ranged(
                each.key,
                "policy",
                each.what,
                (each.value, each.low, each.high),
                kind,
                each.formula,
                each.source,
            )
        )
    return tuple(lines)


def tensors_formula(run: Megatron, part: StateTensors) -> str:
    """Return values times their size, where all of a part have the same, and in how many tensors they are."""
    sizes = {
        "weights.trained": set() if run.fp8_params else {run.num_bytes},
        "gradients.trained": {run.grad_bytes},
        "optimizer.master_copies": {run.master_bytes},
        "optimizer.moments": {*run.moment_bytes},
    }.get(part.key, {4})
    total, num = sum(part.sizes), len(part.sizes)
    count = f"{num:,} tensor{'s' if num > 1 else ''}"
    if len(sizes) != 1 or not (size := max(sizes)) or total % size:
        return count
    return f"{total // size:,} values x {size} B in {count}"


def _held(lines: tuple[Line, ...]) -> RankStates:
    def total(category: str) -> int:
        return sum(line.bytes for line in lines if line.category == category)

    return RankStates(lines, total("weights"), total("gradients"), total("optimizer"), 0, 0, 0, 0, 0, 0)


def _in_step(run: Megatron, mine: tuple[Chunk, ...], kept: tuple[StateTensors, ...]) -> tuple[PhasePart, ...]:
    copies = step_copies(run, mine)
    formula = f"{run.copied_bytes} B a value of the largest group of parameters"
    made = PhasePart("temporaries.optimizer_step", "F32 copies of narrow states", copies, formula)
    return (*_gradients(kept, copies=True), *((made,) if copies else ()))


def _gradients(kept: tuple[StateTensors, ...], copies: bool) -> tuple[PhasePart, ...]:
    """Buffers live through the step; the F32 copies of fp16 gradients from the optimizer to the next
    forward."""
    return tuple(
        PhasePart(each.key, each.what, sum(each.sizes), f"{len(each.sizes)} tensors")
        for each in kept
        if each.key == "gradients.trained" or (copies and each.key == "gradients.master_copies")
    )


def remainders(kept: tuple[StateTensors, ...], activations: tuple[int, ...], device: Device) -> float:
    """What the allocator does not split off beside activations that are made after the states, as a share of
    their bytes."""
    plain = sum(activations)
    if device.expandable or not plain:
        return 0.0
    held = [size for each in kept for size in each.sizes if size > 0]
    before = _placed(tuple(held))
    return (place([(activations, 1)], before).allocated_bytes - before.allocated_bytes) / plain - 1


@lru_cache(maxsize=64)
def _placed(sizes: tuple[int, ...]) -> Segments:
    return place([(sizes, 1)])


def _phase(
    run: Megatron, moment: PassPeak, kept: tuple[StateTensors, ...], overlap: int, beside: float, whole: int
) -> StepPhase:
    """A moment as parts. Of the pipeline inputs that stay between steps, one of an interleaved chunk is among
    its kept activations."""
    each = f"{moment.kept / moment.waiting:,.0f} B that a chunk's layers keep of a micro-batch"
    parts = [
        *_gradients(kept, copies=False),
        PhasePart(
            "activations.kept",
            "activations kept for the backward",
            moment.kept - overlap,
            f"{moment.waiting} x {each}",
            routed=moment.routed,
        ),
        PhasePart(
            "logits.loss", "logits and softmax", moment.logits, f"{run.padded_vocab} / {run.tp} columns"
        ),
        PhasePart(
            "temporaries.running",
            "temporaries of the layer that runs",
            moment.temporaries,
            "its operations replayed",
        ),
        PhasePart(
            "fragmentation.remainders",
            "remainders beside activations",
            max(0, round(moment.kept * beside)),
            "served after the states",
        ),
        PhasePart(
            "communication.gathered",
            "gathered weights",
            whole,
            "what is outside of the layers, and two layers",
        ),
        PhasePart("inputs.batch", "ids, labels, masks", inputs(run), "of a micro-batch"),
    ]
    return StepPhase(moment.phase, moment.where, tuple(part for part in parts if part.bytes))
