"""The fullest moments of the backward: in the loss, in a layer, and in the embedding."""

from collections.abc import Iterator
from typing import NamedTuple

from ...model.model import EMBEDDING as EMBEDDING_NAME
from ...model.model import HEAD as HEAD_NAME
from .activations import CheckpointSegment
from .phases import EMBEDDING, HEAD, PhasePart, StepPhase
from .pipeline import in_flight, kept_outputs
from .rank_portions import Portion
from .stage_step import StageStep, inputs_wait, may_defer_scatter, parts, span, staying


def backward_in_loss(step: StageStep) -> StepPhase | None:
    """Return the moment at which the loss's backward holds most; None on a stage without it.

    A pipeline that runs all forwards first (GPipe) holds what the loss of every micro-batch keeps.
    """
    last, job = step.last, step.job
    if last is None:
        return None
    flushed = job.mesh.schedule == "gpipe" and job.mesh.pp > 1
    many = in_flight(job.mesh, step.stage, job.request.grad_accum) if flushed else 1
    outputs = kept_outputs(job.mesh, step.stage, job.request, last, job.recipe.compute, many)
    loss = PhasePart(
        "logits.loss",
        "logits and loss",
        last.backward_peak + (many - 1) * last.saved + outputs,
        f"{last.logits:,} logits" + (f", {many} micro-batches" if many > 1 else ""),
    )
    return StepPhase(
        "backward",
        "in the loss",
        parts(
            step.gradients(),
            step.below(),
            step.waiting(),
            loss,
            step.casts_in_forward()._replace(bytes=step.casts_kept),
            step.gathered.loss,
            step.empty_buckets(),
            step.pipes(),
            step.inputs(),
            step.tower.kept_part(),
        ),
    )


class LayerBackward(NamedTuple):
    """What is alive while one segment's backward runs, beside what lives through the whole backward."""

    segment: CheckpointSegment
    held: int
    """What other segments keep."""
    gradients: int
    """Gradients that have appeared so far, where they have no memory of their own."""
    new_gradient: int
    """The largest new gradient, until it is added to the one that is there."""
    casts: int
    reduced: int
    """Gradients of the segment above that are on their way to other ranks."""
    unreleased: int
    """Gathered weights of this segment and of those above that stay."""

    @property
    def alive_bytes(self) -> int:
        return (
            self.held
            + self.segment.backward_peak
            + self.gradients
            + self.new_gradient
            + self.casts
            + self.reduced
            + self.unreleased
        )


def layer_backwards(step: StageStep) -> Iterator[LayerBackward]:
    """Yield what is alive in each segment's backward, from the last segment to the first."""
    request, top = step.job.request, step.segments[-1]
    below, above = step.kept, step.of_layer(HEAD).gradients if step.stage.last else 0
    casts_left, waiting_inputs = step.casts_kept, 0
    root = (HEAD, EMBEDDING) if request.sharding == "fsdp1" else (HEAD,)
    gathered_anew = sum(step.of_layer(end).unit for end in root)
    inner = [each.unit for layer, each in step.per_layer.items() if layer not in (HEAD, EMBEDDING)]
    waiting_weights = sum(inner) if step.gathered.waits else 0
    for segment in reversed(step.segments):
        below -= segment.saved
        own = [step.per_layer[layer] for layer in segment.layers if layer in step.per_layer]
        new = sum(each.gradients for each in own)
        largest = max((each.largest for each in own), default=0)
        cast_here = sum(each.casts for each in own)
        if request.optimizer_in_backward:
            gradients = max(new, largest)
        elif step.resident and not step.makes_partition_anew:
            gradients = 0
        else:  # sharded gradients follow the whole ones
            gradients = above if step.gathered.scattered else above + new
        above += 0 if request.optimizer_in_backward else new
        gathered_anew += sum(each.unit for each in own)
        yield LayerBackward(
            segment,
            (min(below, step.window) if step.offloads else below) + waiting_inputs,
            gradients,
            largest if step.adds_up else 0,
            max(casts_left, cast_here),
            step.gathered.head_scattered if segment is top else step.gathered.scattered,
            waiting_weights or staying(step.job, gathered_anew, step.gathered.backward),
        )
        waiting_weights = max(0, waiting_weights - sum(each.unit for each in own))
        waiting_inputs += 2 * segment.saved if inputs_wait(request) else 0
        casts_left = max(0, casts_left - cast_here)


def backward_in_layers(step: StageStep) -> StepPhase:
    """Return the moment of the layers' backward at which most is alive: what is kept below, the running
    segment, gradients of those above."""
    at = max(layer_backwards(step), key=lambda each: each.alive_bytes)
    segment = at.segment
    waits = inputs_wait(step.job.request) and step.kept > 0
    so_far = PhasePart(
        "gradients.trained", "gradients so far", at.gradients, f"layers from {segment.layers[0]} on"
    )
    held = PhasePart(
        "activations.kept",
        "activations kept by the other layers" if waits else "activations kept by the layers below",
        at.held,
        f"layers below {segment.layers[0]}"
        + ("; inputs and their gradients of those above, which FSDP1 holds" if waits else ""),
    )
    running = PhasePart(
        "activations.running",
        "activations of the layer that runs",
        segment.backward_peak,
        f"layers {span(segment.layers)}, {segment.what}",
    )
    new = PhasePart(
        "temporaries.gradient",
        "a gradient before it is added",
        at.new_gradient,
        "the largest tensor of the layer",
    )
    reduced = PhasePart(
        "communication.reduced", "gradients that are reduced", at.reduced, "of the layer above"
    )
    return StepPhase(
        "backward",
        f"in layer {segment.layers[-1]}",
        parts(
            step.gradients(),
            so_far if step.makes_partition_anew or not step.resident else None,
            held,
            running,
            step.waiting(),
            new,
            step.unpacked(),
            step.casts_in_forward()._replace(bytes=at.casts),
            step.gathered.backward,
            unreleased(
                at.unreleased,
                f"layers up to {segment.layers[-1]}"
                if step.gathered.waits
                else "modules run backward so far",
            ),
            reduced,
            step.buckets(),
            step.pipes(),
            step.inputs(),
            step.tower.kept_part(),
        ),
    )


def unreleased(num_bytes: int, which: str = "modules run backward so far") -> PhasePart:
    """Return gathered weights that the backward does not give up, or has yet to use."""
    return PhasePart("communication.gathered", "weights that stay", num_bytes, which)


def backward_in_embedding(step: StageStep) -> StepPhase | None:
    """Return the end of the backward, when the embedding's gradient is made; None where nothing of it stays.

    Where embedding and head are one tensor, the new gradient is added to the head's. Where FSDP1 scatters in
    the last micro-batch alone, those of the others are whole.
    """
    embedding = step.of_layer(EMBEDDING)
    if not step.stage.first or not embedding.gradients or step.job.request.optimizer_in_backward:
        return None
    flat = step.job.request.sharding == "fsdp1"  # autograd joins the root's gradients: among what is gathered
    again = embedding.largest if (step.adds_up and not flat) or ties(step.portions) else 0
    all_of_them = PhasePart("gradients.trained", "gradients", step.held.gradients, "all of them")
    return StepPhase(
        "backward",
        "in the embedding",
        parts(
            step.gradients() if may_defer_scatter(step.job) else all_of_them,
            step.gradients() if step.makes_partition_anew else None,
            step.buckets(at_boundary=True),
            PhasePart(
                "temporaries.gradient", "gradient of the embedding", again, "before it is added to the head's"
            ),
            PhasePart(
                "activations.input_gradient",
                "gradient of the first layer's input",
                step.boundary,
                f"{step.boundary:,} B",
            ),
            step.gathered.embedding,
            unreleased(
                staying(step.job, sum(each.unit for each in step.per_layer.values()), step.gathered.embedding)
            ),
            step.inputs(),
            step.tower.kept_part(),
        ),
    )


def backward_in_tower(step: StageStep) -> StepPhase | None:
    """Return the tower's backward, when all gradients of the language model are there; None: none flows
    through it."""
    running = step.tower.backward_part()
    if not running.most:
        return None
    all_of_them = PhasePart("gradients.trained", "gradients", step.held.gradients, "all of them")
    gradients = step.gradients() if step.resident or step.job.request.optimizer_in_backward else all_of_them
    return StepPhase(
        "backward",
        "in the tower",
        parts(gradients, step.buckets(), running, step.tower.kept_part(), step.inputs()),
    )


def ties(portions: list[Portion]) -> bool:
    """Whether one tensor is both embedding and head: two gradients then meet."""
    names = {portion.name for portion in portions if not portion.layers}
    return EMBEDDING_NAME in names and HEAD_NAME not in names
