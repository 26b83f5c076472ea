"""The fullest moments of the forward: in a layer, and in the loss."""

from .phases import PhasePart, StepPhase
from .stage_step import StageStep, parts, span


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
        "activations.running", "kept and running layers", most, f"layers {span(at.layers)} run, {at.what}"
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
