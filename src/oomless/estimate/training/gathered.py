"""What ranks that share weights hold whole for a while: gathered weights of a unit, and whole gradients
before they are scattered."""

from collections.abc import Iterable
from typing import NamedTuple

from ...frameworks import framework
from ...frameworks.deepspeed.zero_engine import HALF, ZeroEngine
from .job import Job
from .phases import EMBEDDING, HEAD, LayerStates, PhasePart
from .recomputation import reentrant

WEIGHTS, BOTH = "gathered weights", "gathered weights and whole gradients"


class Gathered(NamedTuple):
    """What fully sharded ranks have whole for a while, at the three kinds of moments."""

    forward: PhasePart | None = None
    loss: PhasePart | None = None
    backward: PhasePart | None = None
    """In a layer: its whole gradients too."""
    embedding: PhasePart | None = None
    scattered: int = 0
    """Bytes of the layer above that are reduced and scattered meanwhile."""
    head_scattered: int = 0
    """Bytes of the head that are, while the last layer runs backward."""
    waits: bool = False
    """Layers that have yet to run backward are whole, beside `backward`."""


class Units(NamedTuple):
    """Sizes of what is gathered as one: a layer, and the root, which has all that is outside of layers."""

    layer: int
    """Bytes of the largest layer."""
    layer_values: int
    """Trained values of the layer that has most."""
    root: int
    root_values: int
    head_values: int
    head: int
    """Bytes of the head, where it is a tensor of its own."""

    @property
    def end(self) -> int:
        """Return the bytes of the embedding, or of what is both."""
        return self.root - self.head

    @property
    def two_layers(self) -> str:
        """Return the formula of the root, a layer and the next one."""
        return f"2 x {self.layer:,} B of the largest layer + {self.root:,} B outside of the layers"


def units_of(per_layer: dict[int, LayerStates], layers: tuple[int, ...]) -> Units:
    """Return the sizes of a stage's units."""
    inside = [per_layer[layer] for layer in layers if layer in per_layer]
    outside = [per_layer[end] for end in (HEAD, EMBEDDING) if end in per_layer]
    return Units(
        max((each.unit for each in inside), default=0),
        max((each.unit_values for each in inside), default=0),
        sum(each.unit for each in outside),
        sum(each.unit_values for each in outside),
        per_layer[HEAD].unit_values if HEAD in per_layer else 0,
        per_layer[HEAD].unit if HEAD in per_layer else 0,
    )


def part(what: str, num_bytes: int, formula: str) -> PhasePart:
    """Return a part of gathered memory."""
    return PhasePart("communication.gathered", what, num_bytes, formula)


def gathered(job: Job, per_layer: dict[int, LayerStates], layers: tuple[int, ...]) -> Gathered:
    """Return what fully sharded ranks gather; nothing where each rank has all weights."""
    match job.request.sharding:
        case "fsdp2" | "hsdp" if job.mesh.pp > 1:
            return through_the_flush(per_layer)
        case "zero3" if job.engine is not None:
            alone = job.mesh.dp * job.mesh.cp == 1 and "params" not in job.request.offload
            return by_modules(job.engine, per_layer, alone)
        case "zero3" | "megatron_fsdp":
            return with_whole_gradients(job, units_of(per_layer, layers))
        case "fsdp1" | "fsdp2" | "hsdp" if keeps_weights(job):
            return until_the_backward(job, per_layer, units_of(per_layer, layers))
        case "fsdp2" | "hsdp" if ends_apart(job):
            return by_units_and_ends(job, units_of(per_layer, layers))
        case "fsdp1" | "fsdp2" | "hsdp":
            return by_units(job, units_of(per_layer, layers))
    return Gathered()


def keeps_weights(job: Job) -> bool:
    """Whether weights stay gathered after a forward: as asked, or as a framework has it that deals experts by
    a parallelizer of its own."""
    experts = job.mesh.ep > 1 and framework(job.request.framework).whole_experts
    return job.request.keep_gathered or experts


def ends_apart(job: Job) -> bool:
    """Whether embedding and head are units of their own; one tensor that is both stays in the root."""
    of, request = framework(job.request.framework), job.request
    tied = job.model.tied and of.ties
    return of.ends_apart and not tied and not of.habits(request.framework_version).ends_in_root


def through_the_flush(per_layer: dict[int, LayerStates]) -> Gathered:
    """Return what FSDP2 holds under a pipeline: all weights of the stage, and its gradients in F32.

    It neither gives up gathered weights between micro-batches nor scatters gradients before the last one
    (torchtitan: reshard_after_forward off, reduce in F32; torch FSDPParam.unsharded_accumulated_grad).
    """
    whole = sum(each.unit for each in per_layer.values())
    trained = sum(each.unit_values for each in per_layer.values())
    text = f"{whole:,} B of the stage's weights"
    both = part(BOTH, whole + 4 * trained, f"{text} + {trained:,} values x 4 B")
    return Gathered(part(WEIGHTS, whole, text), both, both, both)


def until_the_backward(job: Job, per_layer: dict[int, LayerStates], units: Units) -> Gathered:
    """Return what FSDP holds whose weights stay from the forward to the backward (FSDP1: SHARD_GRAD_OP;
    FSDP2: reshard_after_forward off): all of them, until a layer has run backward; root and gradients as
    ever."""
    whole = sum(each.unit for each in per_layer.values())
    once = by_units(job, units._replace(layer=0))
    all_of_them = part(WEIGHTS, whole, f"{whole:,} B of all units")
    return once._replace(forward=all_of_them, loss=all_of_them, waits=True)


def by_modules(engine: ZeroEngine, per_layer: dict[int, LayerStates], alone: bool = False) -> Gathered:
    """Return what DeepSpeed's ZeRO-3 holds: what it gathers ahead and keeps for later use, and the running
    module.

    A module is a matrix, or a layer's experts where they are one tensor or one leaf; these come in one
    gather, whose buffer lies beside the copies. In the backward comes the whole gradient of a tensor. A rank
    that is `alone` computes with its own partition (partition_parameters.py, NoGatherHandle).
    """
    whole = 0 if alone else sum(each.unit for each in per_layer.values())
    live = min(whole, HALF * engine.gathered_at_most())
    second = -(-whole // engine.second_copy_over) if engine.second_copy_over else 0

    def moment(layers: Iterable[int], with_gradient: bool) -> PhasePart:
        inside = [per_layer[layer] for layer in layers]
        module = max((max(each.tensor, 2 * each.experts) for each in inside), default=0)
        module = 0 if live == whole else module
        gradient = max((each.largest for each in inside), default=0) if with_gradient else 0
        text = f"{live:,} B gathered ahead + {module:,} B of the running module"
        text += f" + {gradient:,} B of a gradient" if gradient else ""
        text += f" + {second:,} B of a second copy of the weights" if second else ""
        return part(BOTH if with_gradient else WEIGHTS, live + module + gradient + second, text)

    inner = [layer for layer in per_layer if layer not in (HEAD, EMBEDDING)]
    head, lookup = ([end] if end in per_layer else [] for end in (HEAD, EMBEDDING))
    return Gathered(moment(inner, False), moment(head, True), moment(inner, True), moment(lookup, True))


def with_whole_gradients(job: Job, units: Units) -> Gathered:
    """Return what ZeRO-3 and Megatron-FSDP hold: the root, two layers, and the gradients of one of them."""
    form, values = job.recipe, units.layer_values
    forward = 2 * units.layer + units.root
    reduced = values * form.compute + values * form.gradient
    shown = f"{units.two_layers} + {values:,} values x ({form.compute} + {form.gradient}) B of gradients"
    both = part(BOTH, forward + reduced, shown)
    return Gathered(part(WEIGHTS, forward, units.two_layers), both, both, both)


def by_units(job: Job, units: Units) -> Gathered:
    """Return what FSDP holds, unit by unit.

    Forward: the running layer, the next one on its way, and the root, which stays. Loss: the root and one
    layer, as there is no next one (seen with two ranks, to 0.1 %); torchtitan kept the last layer whole from
    forward to backward while the root had its ends. Backward: a layer's whole gradients too, in the type of
    the computation, the buffer in
    which those of the layer above are reduced, and the head's whole gradient, which waits for the rest of the
    root. At the end the root's gradients and their buffer. Reentrant checkpoints run each layer forward once
    more in the backward, so that FSDP1 takes the layer above for the next one and gathers none ahead
    (_exec_order_utils.py, get_handle_to_backward_prefetch; runs of Mixtral and Mistral have one layer, to the
    MB).
    """
    form, values = job.recipe, units.layer_values
    alone = job.request.sharding == "fsdp1" and reentrant(job.request)
    forward = 2 * units.layer + units.root
    in_loss = 2 if framework(job.request.framework).ends_apart else 1
    head = units.head_values * form.compute
    text = units.two_layers
    if alone:
        text = f"{units.layer:,} B of the largest layer + {units.root:,} B outside of the layers"
    shown = f"{text} + {values:,} values x {form.compute} B of its gradients" + (
        f" + {head:,} B of the head's gradient" if head else ""
    )
    last = (
        f"{units.root:,} B + {units.root_values:,} values x ({form.compute} + {form.gradient}) B of gradients"
    )
    return Gathered(
        part(WEIGHTS, forward, text),
        part(
            WEIGHTS,
            in_loss * units.layer + units.root,
            f"{in_loss} x {units.layer:,} B of a layer + {units.root:,} B outside",
        ),
        part(BOTH, forward - (units.layer if alone else 0) + values * form.compute + head, shown),
        part(BOTH, units.root + units.root_values * (form.compute + form.gradient), last),
        values * form.gradient,
    )


def by_units_and_ends(job: Job, units: Units) -> Gathered:
    """Return what FSDP2 holds where the embedding, and norm and head, are units of their own (torchtitan
    models/llama3/infra/parallelize.py since pull request 1094; xtuner/v1/model/dense/dense.py).

    Forward: a layer and the next unit, the embedding having gone. Loss: the head, and the last layer, which
    its backward gathers ahead. Backward: two layers, the gradients of one, and the buffer of what is above
    it, the head at first. At the end the embedding, its gradients and their buffer.
    """
    form, values = job.recipe, units.layer_values
    forward = units.layer + max(units.layer, units.head)
    text = f"{units.layer:,} B of the largest layer + {forward - units.layer:,} B of the next unit"
    last = units.root_values - units.head_values
    return Gathered(
        part(WEIGHTS, forward, text),
        part(
            WEIGHTS, units.layer + units.head, f"{units.layer:,} B of a layer + {units.head:,} B of the head"
        ),
        part(
            BOTH,
            2 * units.layer + values * form.compute,
            f"2 x {units.layer:,} B of the largest layer + {values:,} values x {form.compute} B of gradients",
        ),
        part(
            BOTH,
            units.end + last * (form.compute + form.gradient),
            f"{units.end:,} B + {last:,} values x ({form.compute} + {form.gradient}) B of gradients",
        ),
        values * form.gradient,
        units.head_values * form.gradient,
    )
