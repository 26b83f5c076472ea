"""What the layers of a stage keep from forward to backward, and how much is alive while each runs: walks
under the asked recomputation."""

from functools import lru_cache
from typing import NamedTuple

from ... import facts
from ...frameworks import framework
from ...frameworks.graphs.blocks import MicroBatchWork
from ...frameworks.graphs.experts import experts_as_one
from ...frameworks.graphs.graph import Walk, transient_peak, walk, walk_keeping_products
from ...frameworks.graphs.layers import LayerNorms, layer_graph, norms_of
from ...model.model import Layer
from ...run.training import TrainingResolved
from .job import Job
from .rank_portions import PipelineStage
from .recomputation import recomputed, reentrant


class CheckpointSegment(NamedTuple):
    """Layers between two points where something is kept: one layer, or those that are computed again
    together."""

    layers: tuple[int, ...]
    saved: int
    forward_peak: int
    """Bytes on top of what other segments keep."""
    backward_peak: int
    what: str


class LayerWalk(NamedTuple):
    """A layer, replayed."""

    walk: Walk
    transient: int
    """Most bytes alive while it runs and nothing is kept."""
    input: int
    """Bytes of what it is given."""
    on_contexts: int
    """Bytes that products with packed matrices hold as they run, whatever checkpoints give up."""


@lru_cache(maxsize=256)
def layer_walk(
    layer: Layer,
    hidden: int,
    norms: LayerNorms,
    work: MicroBatchWork,
    streams: int,
    modules: frozenset[str],
    discarded: frozenset[str],
) -> LayerWalk:
    """Return a layer replayed, with what is inside of `modules` computed again; those that are `discarded`
    give up what they make."""
    graph = layer_graph(layer, hidden, norms, work, streams)
    if "moe" in modules:
        graph = experts_as_one(graph)
    found = (
        walk_keeping_products(graph, pruned=work.kernels == "compiled")
        if "ops" in modules
        else walk(graph, modules, discarded=discarded)
    )
    held = sum(graph.sizes[name] for name in graph.held)
    return LayerWalk(found, transient_peak(graph), graph.sizes[graph.source], held)


def segments(job: Job, work: MicroBatchWork, stage: PipelineStage) -> tuple[CheckpointSegment, ...]:
    """Return the stage's layers, chunk after chunk, under the asked recomputation.

    none: each layer keeps what autograd keeps. selective: what the named modules keep inside is computed
    again. full: a segment keeps its input alone; its backward holds all that its layers keep. Every k-th:
    segments of k layers (sqrt(n) of Chen et al., arXiv 1604.06174, with k = sqrt(n)). Only the first
    `recompute_num_layers` layers, if that is given.
    """
    model, request = job.model, job.request
    first_like: dict[Layer, int] = {}
    for index, layer in enumerate(model.layers):
        first_like.setdefault(layer, index)
    norms = {layer: norms_of(model, index) for layer, index in first_like.items()}
    found = []
    position = 0
    part = request.trained_layers or 0
    trained_below = -part if part < 0 else len(model.layers)
    for chunk in stage.chunks:
        left = chunk
        while left:
            again = recomputed(request, position)
            width = request.recompute_every if again.whole and request.recompute == "full" else 1
            group, left = left[:width], left[width:]
            layers = [model.layers[index] for index in group]
            own = work if position < trained_below else work._replace(trained=False)
            walks = [
                layer_walk(layer, model.hidden_size, norms[layer], own, model.streams, *again[1:])
                for layer in layers
            ]
            found.append(
                computed_again(group, walks, request, work)
                if again.whole
                else kept_by_autograd(group, walks[0].walk, request)
            )
            position += len(group)
    if (
        found and stage.first and norms[model.layers[0]].of_sums
    ):  # of the embedding: the norm's input, dropout
        values = work.tokens * model.hidden_size
        first = values * (work.compute + (1 if work.dropout else 0))
        found[0] = found[0]._replace(saved=found[0].saved + first, forward_peak=found[0].forward_peak + first)
    frozen = len(model.layers) - part if part > 0 else 0
    return tuple(each if each.layers[-1] >= frozen else without_backward(each) for each in found)


def without_backward(segment: CheckpointSegment) -> CheckpointSegment:
    """Return layers below the first that is trained: autograd keeps nothing of them and never comes there."""
    return segment._replace(saved=0, forward_peak=segment.forward_peak - segment.saved, backward_peak=0)


def kept_by_autograd(layers: tuple[int, ...], found: Walk, request: TrainingResolved) -> CheckpointSegment:
    """Return a layer that keeps what autograd keeps of it, in fewer bits where that is asked for.

    NVFP4 products keep what they read in 4 bits (facts/engines.csv, saved_share). Block floating point has
    `activation_bits` a value, and 8 bits of exponent for 32 values.
    """
    saved, bits = found.saved_bytes, request.activation_bits
    if request.products == "nvfp4":
        saved = round(saved * facts.constant("training", "saved_share", (0,), "nvfp4").value)
    if bits < 16:
        saved = -(-saved * (bits * 32 + 8) // (16 * 32))
    return CheckpointSegment(layers, saved, found.forward_peak, found.backward_peak, "kept by autograd")


def computed_again(
    layers: tuple[int, ...], walks: list[LayerWalk], request: TrainingResolved, work: MicroBatchWork
) -> CheckpointSegment:
    """Return layers that keep the first one's input, and run again, all of them, before their backward.

    A framework may wrap norms, attention and feed-forward by themselves: it keeps an input of each. What
    bitsandbytes' products have on their contexts is not given up by a checkpoint that is not reentrant: it
    lets go of what autograd saves, and no other attribute (torch/utils/checkpoint.py, _checkpoint_hook).
    """
    of = framework(request.framework)
    pieces = 1 if of.whole_experts and work.exchanged else of.inputs_a_layer
    given = walks[0].input
    kept = pieces * (given if not request.partition_activations else -(-given // work.tp))
    if not reentrant(request):
        kept += sum(each.on_contexts for each in walks)
    forward = max(each.transient + given for each in walks)
    below = backward = 0  # a walk counts its own input: the one that was kept
    for each in walks:
        backward = max(backward, below + each.input + each.walk.forward_peak, below + each.walk.backward_peak)
        below += each.walk.saved_bytes
    what = "input alone, computed again in the backward"
    return CheckpointSegment(layers, kept, forward, backward, what)
