"""What a training step takes whatever card it runs on: counted once for all cards that run it with the same
kernels and types."""

from typing import NamedTuple

from ...frameworks.graphs.blocks import MicroBatchWork
from ...frameworks.graphs.loss_kinds import sized_by_room
from ...kept import Kept
from ...ledger import Line, ranged
from ...model.model import Model
from ...run.training import Mesh, TrainingResolved, optimizer, recipe
from .job import Job
from .micro_batch_work import work_of
from .phases import StepPhase, up_to
from .prediction_layers import behind, with_prediction_layers
from .rank_portions import PipelineStage, adapters, portions, stages
from .reserved import at_least, peak_interval, with_spread
from .rotary_tables import with_rotary_tables
from .stage_step import StageStep
from .states import states
from .step import phases, stage_step
from .tower import lengthened


class CountedStage(NamedTuple):
    """What the ranks of a pipeline stage hold and do."""

    step: StageStep
    phases: tuple[StepPhase, ...]
    passing: tuple[Line, ...]
    """What the fullest phase adds to the states, each with its spread."""


class CountedStep(NamedTuple):
    """A step of all stages."""

    work: MicroBatchWork
    stages: tuple[CountedStage, ...]
    disk_bytes: int
    """Of one saved checkpoint."""


_KNOWN = Kept[CountedStep](most=512)


def counted(job: Job) -> CountedStep:
    """Return what a step takes; where its loss runs in chunks of what a card leaves, on cards of one size."""
    with_depths = with_prediction_layers(job)
    work = work_of(with_depths)
    room = job.capacity_bytes if sized_by_room(job.request.framework) else 0
    found = _KNOWN.of(job.model, (job.request, work, room), lambda: made(job, with_depths, work))
    here = (each._replace(step=each.step._replace(job=with_depths)) for each in found.stages)
    return found._replace(stages=tuple(here))


def made(job: Job, with_depths: Job, work: MicroBatchWork) -> CountedStep:
    """Return what a step of a job takes, each stage with the layers that predict further tokens behind it."""
    depths = job.request.mtp_layers
    found = tuple(
        of_stage(with_depths, work, behind(stage, depths))
        for stage in stages(len(job.model.layers), job.mesh)
    )
    return CountedStep(work, found, checkpoint_disk(job.model, job.request))


def of_stage(job: Job, work: MicroBatchWork, stage: PipelineStage) -> CountedStage:
    """Return what the ranks of a stage hold and do."""
    request = job.request
    mine = portions(job.model, job.mesh, stage, request)
    held = states(mine, job.mesh, request, job.engine)
    held = with_rotary_tables(held, job.model, len(stage.layers), request)
    step = stage_step(job, work, stage, mine, held)
    found = phases(step)
    if (most := lengthened(job.model, request)) > request.seq_len:
        longer = job._replace(request=request._replace(seq_len=most))
        others = phases(stage_step(longer, work_of(longer), stage, mine, held))
        found = tuple(up_to(*both) for both in zip(found, others, strict=True))
    return CountedStage(step, found, tuple(passing(found, job)))


def passing(found: tuple[StepPhase, ...], job: Job) -> list[Line]:
    """Return what the fullest phase adds, whose least is that of the whole peak."""
    worst, least = peak_interval(found, job)
    source = f"estimate/training/step.py: {worst.name}"
    lines = [
        ranged(
            part.key,
            "policy",
            part.what,
            (part.bytes, part.bytes, max(part.bytes, part.most)),
            "assumed" if part.most > part.bytes else "exact",
            part.formula,
            source,
        )
        for part in worst.parts
    ]
    return at_least(with_spread(lines, job), least)


def checkpoint_disk(model: Model, request: TrainingResolved) -> int:
    """Bytes of one saved checkpoint: weights, master copies and moments; adapters alone under LoRA."""
    form, rule = recipe(request.precision), optimizer(request.optimizer)
    whole = Mesh(dp=1)
    stage = stages(len(model.layers), whole)[0]
    if request.method == "full":
        trained = model.num_parameters
        if request.trained_layers:
            trained = sum(p.total for p in portions(model, whole, stage, request) if p.trained)
        moments = rule.moments * (rule.moment_bits // 8 or form.moment)
        return model.num_parameters * form.weight + trained * (form.master + moments)
    found = sum(p.total for p in adapters(model, whole, stage, request))
    return found * (4 + 4 * rule.moments)
