"""Will it train? A model, a question and hardware -> a ledger for each group of equal ranks at its peak, the
phases, a verdict."""

from typing import TYPE_CHECKING, NamedTuple

from ... import facts
from ...errors import UsageError
from ...frameworks.megatron.models import FRAMEWORKS as MEGATRON
from ...frameworks.megatron.models import described
from ...frameworks.megatron.run import Megatron
from ...ledger import CATEGORIES, Ledger, Line, Verdict, exact
from ...model.model import Model
from ...run.hardware import Hardware
from ...run.training import Mesh, TrainingAsked, TrainingResolved, frameworks, optimizer, recipe, resolved
from ...units import parse_bytes
from ..serving.unified_memory import on_shared_memory
from .activations import ends, segments, work_of
from .checks import check_model, check_sharding, check_types, trained_model, warnings, with_targets
from .data_loading import checkpoint_disk, data_workers_bytes
from .kbit_preparation import may_be_prepared, prepared_line
from .phases import Phase
from .rank_portions import Stage, check_mesh, portions, stages
from .reserved import OUTSIDE, held_beyond, process_line, streams_apart, words
from .states import States, states
from .step import resident_gradients, step

if TYPE_CHECKING:
    from .post_training import After


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


class RankGroup(NamedTuple):
    """Equal ranks: a pipeline stage."""

    ledger: Ledger
    phases: tuple[Phase, ...]
    states: States
    steady_bytes: int
    """Allocated between steps."""
    peaks: Peaks
    apart_bytes: int = 0
    """What other streams than the computation's take at another moment than the peak."""

    @property
    def passing_bytes(self) -> int:
        """What comes and goes during a step, as the allocator has to make room for it."""
        return max(0, self.peaks.allocated_bytes - self.steady_bytes) + self.apart_bytes

    def at(self, phase: Phase) -> dict[str, int]:
        """What is allocated at the worst moment of a phase, by category, in the order of the ledger's."""
        sums: dict[str, int] = {}
        always = [line for line in self.states.lines if line.category != "gradients"]
        found = [(line.category, line.bytes) for line in always] + [
            (part.category, part.bytes) for part in phase.parts
        ]
        for category, num_bytes in found:
            sums[category] = sums.get(category, 0) + num_bytes
        return {category: sums[category] for category in CATEGORIES if category in sums}


class Origin(NamedTuple):
    """The configuration file that a question was read from."""

    path: str
    framework: str
    read: tuple[str, ...]
    """Entries that were understood, with their values."""
    defaults: tuple[str, ...]
    """Entries that the file leaves out, with what its framework takes."""


class TrainingEstimate(NamedTuple):
    """The answer to a training question."""

    model: Model
    request: TrainingResolved
    hardware: Hardware
    mesh: Mesh
    groups: tuple[RankGroup, ...]
    ram_bytes: int
    disk_bytes: int
    worst_rank: int
    warnings: tuple[str, ...]
    model_word: str = ""
    gpu_word: str = ""
    asked: TrainingAsked = TrainingAsked()
    megatron: Megatron | None = None
    """The run that the estimate is of, if it was read from an argument list of Megatron-LM."""
    origin: Origin | None = None
    after: "After | None" = None
    """Moments of a step that generates and scores as well; the worst rank's ledger is then that of the worst
    moment."""
    beside: tuple[tuple[str, object], ...] = ()
    """What was said of models and engines beside the policy, by flag."""

    @property
    def ledgers(self) -> tuple[Ledger, ...]:
        return tuple(group.ledger for group in self.groups)

    @property
    def ledger(self) -> Ledger:
        """The worst rank's."""
        return self.groups[self.worst_rank].ledger

    @property
    def peaks(self) -> Peaks:
        """The worst rank's."""
        return self.groups[self.worst_rank].peaks

    @property
    def verdict(self) -> Verdict:
        return self.ledger.verdict

    @property
    def headroom_bytes(self) -> int:
        return self.ledger.headroom_bytes

    def to_json(self) -> dict[str, object]:
        """The object that `train --json` prints."""
        from ...report.training_json import (
            training_json,
        )  # the views lie to the right: imported when asked for

        document: dict[str, object] = training_json(self)
        return document


def estimate_training(model: Model, asked: TrainingAsked, hardware: Hardware) -> TrainingEstimate:
    """The estimate on every pipeline stage; the verdict is the worst one's."""
    request = resolved(asked, model.max_positions)
    if not hardware.card.memory_bytes:
        raise UsageError(f"{hardware.card.name} has no memory of its own", "give a size: 80GiB")
    mesh = check_mesh(model, request.mesh, hardware.num_gpus)
    mesh = mesh._replace(
        count_ends=mesh.count_ends or frameworks()[request.framework]["pipeline_ends"] == "layers"
    )
    if request.seq_len % mesh.cp:
        raise UsageError(
            f"--cp {mesh.cp} does not divide --seq-len {request.seq_len}",
            "choose a length that is a multiple",
        )
    request = check_sharding(request, mesh)
    check_types(request, hardware.card)
    check_model(model, request)
    request = with_targets(model, asked, request)
    model = trained_model(model, request)
    if request.framework in MEGATRON and (run := described(model, request, mesh)) is not None:
        return _by_megatron(run, model, asked, request, hardware, mesh)
    form, rule = recipe(request.precision), optimizer(request.optimizer)
    work = work_of(model, request, mesh, hardware.card)
    boundary = work.stream_tokens * model.hidden_size * work.residual
    groups = []
    capacity = hardware.card.memory_bytes - (parse_bytes(request.reserve) if request.reserve else 0)
    if capacity <= 0:
        raise UsageError(f"--reserve {request.reserve} leaves nothing of the card", "reserve less")
    host = data_workers_bytes(request, mesh.num_ranks)
    dealt = stages(len(model.layers), mesh)
    for stage in dealt:
        mine = portions(model, mesh, stage, request)
        held = states(mine, mesh, request)
        pieces = segments(model, request, work, stage)
        last = (
            ends(model, request, work, mesh)
            if stage.last or (stage.first and mesh.schedule in ("zbv", "dualpipev"))
            else None
        )
        phases = step(stage, pieces, last, mine, held, mesh, request, form, rule, boundary)
        kept = sum(piece.saved for piece in pieces) if "activations" in request.offload else 0
        beside = on_shared_memory(hardware.card, held.host + kept + data_workers_bytes(request, 1))
        group = _group(stage, mesh, request, hardware, held, phases, capacity, beside)
        if may_be_prepared(request, form):
            more = prepared_line(model, request, work, stage, mine, held, phases, mesh, form, rule, boundary)
            group = group._replace(ledger=group.ledger._replace(lines=(*group.ledger.lines, more)))
        groups.append(group)
        host += (held.host + kept) * mesh.num_ranks // mesh.pp
    severity = {"does_not_fit": 0, "tight": 1, "fits": 2}
    worst = min(
        range(len(groups)),
        key=lambda index: (severity[groups[index].ledger.verdict], groups[index].ledger.headroom_bytes),
    )
    disk = checkpoint_disk(model, request)
    return TrainingEstimate(
        model,
        request._replace(mesh=mesh),
        hardware,
        mesh,
        tuple(groups),
        host,
        disk,
        worst,
        warnings(model, asked, request, hardware, mesh),
        asked=asked,
    )


def _by_megatron(
    run: Megatron,
    model: Model,
    asked: TrainingAsked,
    request: TrainingResolved,
    hardware: Hardware,
    mesh: Mesh,
) -> TrainingEstimate:
    """Megatron's own rules for a model that its arguments describe; what a name leaves open, its kernels and
    fusions, widens the interval."""
    from .megatron import device_of, estimate_megatron

    device = device_of(hardware)._replace(expandable=request.expandable_segments)
    found = estimate_megatron(run, hardware, device, request.reserve, named=True)
    notes = warnings(model, asked, request, hardware, mesh)
    host = data_workers_bytes(request, mesh.num_ranks)
    found = found._replace(model=model, request=request._replace(mesh=mesh), mesh=mesh, asked=asked)
    return found._replace(ram_bytes=host, warnings=notes, megatron=None)


def _group(
    stage: Stage,
    mesh: Mesh,
    request: TrainingResolved,
    hardware: Hardware,
    held: States,
    phases: tuple[Phase, ...],
    capacity: int,
    beside: tuple[Line, ...],
) -> RankGroup:
    """The ledger of a stage at its peak: states, what the worst phase adds, what the allocator holds beside
    it, the context."""
    worst = max(phases, key=lambda phase: phase.total_bytes)
    held = held._replace(lines=(*held.lines, process_line("runtime.cublas", hardware.card)))
    always = [line for line in held.lines if line.category != "gradients"]
    source = "estimate/training/step.py: " + worst.name
    lines = [
        *always,
        *(exact(part.key, "policy", part.what, part.bytes, part.formula, source) for part in worst.parts),
    ]
    spread = facts.constant("training", "activation_share", (0,), *words(request, mesh))
    lines = [
        line._replace(
            kind="assumed" if spread.num_runs == 0 else "fitted",
            low_bytes=round(line.bytes * spread.low),
            high_bytes=round(line.bytes * spread.high),
        )
        if line.category in ("activations", "logits", "temporaries", "communication")
        else line
        for line in lines
    ]
    steady = sum(line.bytes for line in always) + (held.gradients if resident_gradients(request, mesh) else 0)
    return rank_group(
        stage.rank, lines, held, steady, phases, worst, request, mesh, hardware, capacity, beside
    )


def rank_group(
    rank: int,
    lines: list[Line],
    held: States,
    steady: int,
    phases: tuple[Phase, ...],
    worst: Phase,
    request: TrainingResolved,
    mesh: Mesh,
    hardware: Hardware,
    capacity: int,
    beside: tuple[Line, ...] = (),
) -> RankGroup:
    """The group of a pipeline stage: to what is allocated comes what the allocator holds beside it, the
    context and other processes' buffers,

    and where host and card have one memory what was moved to the host.
    """
    allocated = sum(line.bytes for line in lines)
    reserved = facts.constant("training", "reserved_share", (0,), *words(request, mesh))
    apart = streams_apart(request, phases, worst)
    slack = facts.constant("training", "reserved_slack", (0,), *words(request, mesh))
    above = worst.total_bytes - max(phase.total_bytes for phase in phases if phase.name != "optimizer")
    passing = max(0, allocated - above - steady) + apart
    lines = [*lines, held_beyond(lines, passing, apart, above, reserved, slack)]
    total = sum(line.bytes for line in lines)
    for key in OUTSIDE:
        if key == "communication.buffers" and mesh.num_ranks == 1:
            continue
        lines.append(process_line(key, hardware.card))
    lines += beside
    device = sum(line.bytes for line in lines)
    name = "every rank" if mesh.pp == 1 else f"pipeline stage {rank}"
    ledger = Ledger(name, mesh.num_ranks // mesh.pp, capacity, tuple(lines))
    return RankGroup(
        ledger, phases, held, steady, Peaks(allocated, total, device, worst.name, worst.moment), apart
    )
