"""A training step on one rank: what is alive at the fullest moments of forward, backward and optimizer. The
peak is the largest of them."""

from ...frameworks.graphs.blocks import MicroBatchWork
from .activations import segments
from .backward_moments import backward_in_embedding, backward_in_layers, backward_in_loss
from .gathered import gathered
from .head_and_loss import ends
from .job import Job
from .optimizer_step import optimizer_in_step
from .phases import PhasePart, StepPhase, layer_states
from .rank_portions import PipelineStage, Portion
from .stage_step import StageStep, parts, span
from .states import RankStates


def stage_step(
    job: Job, work: MicroBatchWork, stage: PipelineStage, portions: list[Portion], held: RankStates
) -> StageStep:
    """Return the step of a stage's ranks.

    The head and the loss are the last stage's; in schedules that turn round (ZB-V, DualPipe-V) the first
    stage's ranks have them too.
    """
    has_loss = stage.last or (stage.first and job.mesh.schedule in ("zbv", "dualpipev"))
    per_layer = layer_states(portions, job)
    return StageStep(
        job,
        stage,
        segments(job, work, stage),
        ends(job, work) if has_loss else None,
        portions,
        held,
        per_layer,
        gathered(job, per_layer, stage.layers),
        work.stream_tokens * job.model.hidden_size * work.residual,
    )


def phases(step: StageStep) -> tuple[StepPhase, ...]:
    """Return the fullest moments of a step, with what each adds to weights and optimizer states."""
    found = (
        forward_in_layers(step),
        forward_in_loss(step),
        backward_in_loss(step),
        backward_in_layers(step),
        backward_in_embedding(step),
        optimizer_in_step(step),
    )
    return tuple(phase for phase in found if phase is not None)


def forward_in_layers(step: StageStep) -> StepPhase:
    """Return the moment of the forward at which most is alive: what segments below keep, and the running
    one."""
    below, most, at = 0, 0, step.segments[0]
    for segment in step.segments:
        alive = (0 if step.offloads else below) + segment.forward_peak
        if alive > most:
            most, at = alive, segment
        below += segment.saved
    running = PhasePart(
        "activations.running",
        "activations of the layers, kept and running",
        most,
        f"layers {span(at.layers)} run, {at.what}",
    )
    return StepPhase(
        "forward",
        f"in layer {at.layers[0]}",
        parts(
            step.gradients(),
            step.unpacked(),
            running,
            step.waiting(),
            step.casts_in_forward(),
            step.gathered.forward,
            step.pipes(),
            step.inputs(),
        ),
    )


def forward_in_loss(step: StageStep) -> StepPhase | None:
    """Return the moment at which the loss holds most; None on a stage without it."""
    if step.last is None:
        return None
    loss = PhasePart("logits.loss", "logits and loss", step.last.forward_peak, f"{step.last.logits:,} logits")
    return StepPhase(
        "forward",
        "in the loss",
        parts(
            step.gradients(),
            step.below(),
            step.waiting(),
            loss,
            step.casts_in_loss(),
            step.gathered.loss,
            step.pipes(),
            step.inputs(),
        ),
    )
