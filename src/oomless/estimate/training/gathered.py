"""What ranks that share weights hold whole for a while: gathered weights of a unit, and whole gradients
before they are scattered."""

from typing import NamedTuple

from ...run.releases import reentrant
from ...run.training import Mesh, Recipe, TrainingResolved
from .phases import EMBEDDING, HEAD, LayerStates, Part


class Gathered(NamedTuple):
    """What fully sharded ranks have whole for a while, at the three kinds of moments."""

    forward: Part | None
    loss: Part | None
    backward: Part | None
    """In a layer: its whole gradients too."""
    embedding: Part | None
    scattered: int = 0
    """Bytes of the layer above that are reduced and scattered meanwhile."""


def gathered(
    request: TrainingResolved,
    units: dict[int, LayerStates],
    layers: tuple[int, ...],
    form: Recipe,
    mesh: Mesh,
) -> Gathered:
    """What fully sharded ranks gather: in the forward the running unit, the next one on its way, and the
    root's unit, which stays;

    in the loss the root's and one layer's, as there is no next one (FSDP: seen with two ranks, to 0.1 %); in
    the backward a layer's whole gradients too, in the type of the computation, the buffer in which those of
    the layer above are reduced, and under FSDP the head's whole gradient, which waits for the rest of the
    root's unit; at the end this unit's gradients and their buffer. torchtitan of 2024 keeps the last layer
    whole from forward to backward; since 2025 embedding and head are units of their own, so that it has less
    than this. Under a pipeline FSDP2 neither gives up gathered weights between micro-batches nor scatters
    gradients before the last one, and adds them up in F32 (torchtitan: reshard_after_forward off, reduce in
    F32; torch FSDPParam.unsharded_accumulated_grad). Reentrant checkpoints run each layer forward once more
    in the backward, so that FSDP1 takes the layer above for the next one and gathers none ahead
    (_exec_order_utils.py, get_handle_to_backward_prefetch; runs of Mixtral and Mistral have one layer, to the
    MB).
    """
    sharding = request.sharding or "none"
    if sharding not in ("zero3", "fsdp1", "fsdp2", "hsdp", "megatron_fsdp"):
        return Gathered(None, None, None, None)
    largest = max((units[layer].unit for layer in layers if layer in units), default=0)
    values = max((units[layer].unit_values for layer in layers if layer in units), default=0)
    root = sum(units[end].unit for end in (HEAD, EMBEDDING) if end in units)
    if mesh.pp > 1 and sharding in ("fsdp2", "hsdp"):
        whole, trained = (
            sum(each.unit for each in units.values()),
            sum(each.unit_values for each in units.values()),
        )
        text = f"{whole:,} B of the stage's weights"
        weights = Part("communication.gathered", "gathered weights", whole, text)
        both = Part(
            "communication.gathered",
            "gathered weights and whole gradients",
            whole + 4 * trained,
            f"{text} + {trained:,} values x 4 B",
        )
        return Gathered(weights, both, both, both)
    forward = 2 * largest + root
    text = f"2 x {largest:,} B of the largest layer + {root:,} B outside of the layers"
    reduced = values * form.compute + values * form.gradient
    weights = Part("communication.gathered", "gathered weights", forward, text)
    shown = f"{text} + {values:,} values x ({form.compute} + {form.gradient}) B of gradients"
    if sharding == "zero3" or sharding == "megatron_fsdp":
        both = Part(
            "communication.gathered", "gathered weights and whole gradients", forward + reduced, shown
        )
        return Gathered(weights, both, both, both)
    ahead = largest if sharding == "fsdp1" and reentrant(request) else 0
    head = units[HEAD].unit_values * form.compute if HEAD in units else 0
    rest = sum(units[end].unit_values for end in (HEAD, EMBEDDING) if end in units)
    units_in_loss = 2 if request.framework == "torchtitan" else 1
    if ahead:
        text = f"{largest:,} B of the largest layer + {root:,} B outside of the layers"
    shown = f"{text} + {values:,} values x {form.compute} B of its gradients" + (
        f" + {head:,} B of the head's gradient" if head else ""
    )
    last = f"{root:,} B + {rest:,} values x ({form.compute} + {form.gradient}) B of gradients"
    return Gathered(
        weights,
        weights._replace(
            bytes=units_in_loss * largest + root,
            formula=f"{units_in_loss} x {largest:,} B of a layer + {root:,} B outside",
        ),
        Part(
            "communication.gathered",
            "gathered weights and whole gradients",
            forward - ahead + values * form.compute + head,
            shown,
        ),
        Part(
            "communication.gathered",
            "gathered weights and whole gradients",
            root + rest * (form.compute + form.gradient),
            last,
        ),
        values * form.gradient,
    )
