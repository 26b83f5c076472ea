"""What the layers of a stage keep from forward to backward, and how much is alive while each runs: walks
under the asked recomputation."""

from functools import lru_cache
from typing import NamedTuple

from ... import facts
from ...frameworks.graphs.adapters import adapter
from ...frameworks.graphs.blocks import AttentionKernel, Builder, Kernels, Work, layer_norm, rms_norm
from ...frameworks.graphs.graph import Walk, transient_peak, walk, walk_keeping_products
from ...frameworks.graphs.layers import Norms, layer_graph, norms_of
from ...frameworks.graphs.loss import LossShape, loss_graph, loss_kind
from ...model.attention import DSA, MLA, V4, V41, Linear
from ...model.model import Layer, Model
from ...run.hardware import Card
from ...run.releases import habit
from ...run.training import Mesh, Recipe, TrainingResolved, frameworks, recipe
from .rank_portions import Stage, adapts_stacks

COMPARING = ("dpo", "kto")
"""Tasks whose loss is made of the log-probabilities of whole sequences: the trainer gathers them from logits,
whatever its cross-entropy."""
OF_LABELS = ("logits", "chunked-logits", "cut", "compiled", "chunked-compiled")
"""Losses that stand in the model for the one of labels, and do not run where the trainer asks for logits."""


class Segment(NamedTuple):
    """Layers between two points where something is kept: one layer, or those that are computed again
    together."""

    layers: tuple[int, ...]
    saved: int
    forward_peak: int
    """Bytes on top of what other segments keep."""
    backward_peak: int
    what: str


class Ends(NamedTuple):
    """The last norm, the head and the loss."""

    saved: int
    forward_peak: int
    backward_peak: int
    logits: int
    """Elements of the logits on this rank."""
    source: str


def attention_kernel(request: TrainingResolved, form: Recipe, model: Model, card: Card) -> AttentionKernel:
    """What torch's scaled_dot_product_attention takes: flash needs half precision, Ampere and equal head
    sizes up to 256.

    Source: torch aten/native/transformers/cuda/sdp_utils.cpp. MLA's heads of 192 and 128 go to the
    memory-efficient kernel.
    """
    asked = request.attention or "auto"
    if asked != "auto":
        kernel: AttentionKernel = asked  # type: ignore[assignment]
        return kernel
    if form.compute == 4 or (card.vendor == "NVIDIA" and 0 < card.capability < 8.0):
        return "efficient"
    latent = any(isinstance(layer.attention, MLA | DSA | V4 | V41) for layer in model.layers)
    return "efficient" if latent else "flash"


def wide_norms(request: TrainingResolved) -> bool:
    """Whether a packed model's norms are put into F32, and with them the stream that layers hand on; sharded
    models are left alone."""
    whole = request.sharding in ("none", "ddp", "zero1", "zero2") and request.quantization in (
        None,
        "nf4",
        "nf4-dq",
        "int8",
    )
    return (
        request.method == "qlora"
        and whole
        and habit(request, "prepared") == "norms"
        and recipe(request.precision).compute == 2
    )


def work_of(model: Model, request: TrainingResolved, mesh: Mesh, card: Card) -> Work:
    """What a rank computes in one micro-batch."""
    form = recipe(request.precision)
    kernels: Kernels = (
        "compiled"
        if request.kernels == "compiled"
        else "liger"
        if request.kernels in ("liger", "te")
        else "eager"
    )
    seq = -(-request.seq_len // mesh.cp)
    kind = adapter(request.adapter)
    if request.method != "full" and kind.where == "tokens":
        seq += kind.tokens
    row = frameworks()[request.framework]
    compute = 4 if request.method == "qlora" and row["packed_compute"] == "float32" else form.compute
    experts = max((tensor.repeat for tensor in model.tensors if tensor.role == "expert"), default=0)
    return Work(
        batch=request.micro_batch,
        seq=seq,
        compute=compute,
        residual=4 if form.autocast or wide_norms(request) else compute,
        autocast=form.autocast,
        tp=mesh.tp,
        sequence_parallel=mesh.sequence_parallel and mesh.tp > 1,
        trained=request.method == "full",
        lora_rank=request.lora_rank if request.method != "full" else 0,
        lora_targets=request.lora_targets,
        adapter=request.adapter,
        trained_norms=request.method != "full" and kind.where == "norm",
        prefix_outputs=kind.outputs if request.method != "full" and kind.where == "prefix" else 0,
        adapter_bytes=2 if request.adapter_dtype == "bfloat16" else 4,
        adapter_dropout=row["adapter_dropout"] == "yes",
        adapted_experts=experts // mesh.ep if adapts_stacks(model, request) else 0,
        quantized=request.method == "qlora",
        wide_norms=wide_norms(request),
        kernels=kernels,
        attention=attention_kernel(request, form, model, card),
        dropout=request.dropout,
        imbalance=request.expert_imbalance,
    )


@lru_cache(maxsize=256)
def _walk(
    layer: Layer, hidden: int, norms: Norms, work: Work, streams: int, modules: frozenset[str]
) -> tuple[Walk, int, int]:
    """The walk of a layer, the most that is alive when nothing is kept, and the bytes of its input."""
    graph = layer_graph(layer, hidden, norms, work, streams)
    found = (
        walk_keeping_products(graph, pruned=work.kernels == "compiled")
        if "ops" in modules
        else walk(graph, modules)
    )
    return found, transient_peak(graph), graph.sizes[graph.source]


ALIASES = {
    "layernorm": "norm",
    "mlp": "mlp",
    "moe": "moe",
    "core_attn": "core_attn",
    "moe_act": "moe",
    "mla_up_proj": "mla_up_proj",
}
"""Names of modules as frameworks write them, as the graphs do."""


def segments(model: Model, request: TrainingResolved, work: Work, stage: Stage) -> tuple[Segment, ...]:
    """The stage's layers, chunk after chunk, under the asked recomputation.

    none: each layer keeps what autograd keeps. selective: what the named modules keep inside is computed
    again. full: a segment keeps its input alone; its backward holds all that its layers keep. Every k-th:
    segments of k layers (sqrt(n) of Chen et al., arXiv 1604.06174, with k = sqrt(n)). Only the first
    `recompute_num_layers` layers, if that is given.
    """
    found = []
    norms = {layer: norms_of(model, layer) for layer in _kinds(model)}
    kinds = _kinds(model)
    layers = stage.layers
    scale = request.activation_bits
    for chunk in stage.chunks:
        at = 0
        while at < len(chunk):
            position = layers.index(chunk[at])
            limited = request.recompute_num_layers
            full = request.recompute == "full" and (limited is None or position < limited)
            width = request.recompute_every if full else 1
            group = chunk[at : at + width]
            at += len(group)
            skipped = (
                request.recompute == "selective"
                and request.recompute_every > 1
                and position % request.recompute_every
            )
            modules = frozenset(ALIASES.get(name, name) for name in request.recompute_modules)
            if request.recompute != "selective" or skipped:
                modules = frozenset()
            if request.recompute == "selective" and request.recompute_every > 1 and not skipped:
                full, modules = True, frozenset()
            walks = [
                _walk(
                    model.layers[layer],
                    model.hidden_size,
                    norms[kinds_first(kinds, model, layer)],
                    work,
                    model.streams,
                    modules,
                )
                for layer in group
            ]
            found.append(_segment(group, walks, full, request, work, scale))
    return tuple(found)


def _segment(
    group: tuple[int, ...],
    walks: list[tuple[Walk, int, int]],
    full: bool,
    request: TrainingResolved,
    work: Work,
    bits: int,
) -> Segment:
    inputs = walks[0][2]
    if not full:
        found, _, _ = walks[0]
        saved = found.saved_bytes
        if request.products == "nvfp4":
            saved = round(saved * facts.constant("training", "saved_share", (0,), "nvfp4").value)
        if bits < 16:  # block floating point: `bits` a value and 8 bits of exponent for 32
            saved = -(-saved * (bits * 32 + 8) // (16 * 32))
        return Segment(group, saved, found.forward_peak, found.backward_peak, "kept by autograd")
    pieces = int(
        frameworks()[request.framework]["checkpoints"]
    )  # a framework may wrap norms, attention and feed-forward by themselves
    kept = pieces * (inputs if not request.partition_activations else -(-inputs // work.tp))
    forward = max(transient + inputs for _, transient, _ in walks)
    below = 0  # a walk counts its own input: the one that was kept
    backward = 0
    for found, _, size in walks:
        backward = max(backward, below + size + found.forward_peak, below + found.backward_peak)
        below += found.saved_bytes
    return Segment(group, kept, forward, backward, "input alone, computed again in the backward")


def _kinds(model: Model) -> dict[int, Layer]:
    """The first layer of each kind."""
    seen: dict[Layer, int] = {}
    for index, layer in enumerate(model.layers):
        seen.setdefault(layer, index)
    return {index: layer for layer, index in seen.items()}


def kinds_first(kinds: dict[int, Layer], model: Model, layer: int) -> int:
    """The first layer that is like this one."""
    wanted = model.layers[layer]
    return next(index for index, kind in kinds.items() if kind == wanted)


def vocab_parallel(request: TrainingResolved) -> bool:
    """Whether the loss works on a rank's share of the vocabulary: Megatron's, and torchtitan's loss_parallel;
    elsewhere logits are gathered

    (transformers' tp_plan: colwise_gather_output).
    """
    return (request.loss or "").startswith("vocab-parallel") or request.framework.startswith(
        ("torchtitan", "megatron")
    )


def ends(model: Model, request: TrainingResolved, work: Work, mesh: Mesh) -> Ends:
    """Last norm, head and loss of a stage that has them. A reward model has one output and no logits.

    Under tensor parallelism a rank makes its share of the logits; where the loss does not work on shares they
    are gathered, so that every rank has all of them, and for a moment its share beside them.
    """
    b = Builder(work)
    hidden = model.hidden_size
    b.sizes["x"] = work.stream_tokens * hidden * work.residual
    first = norms_of(model, 0)
    (layer_norm if first.biased else rms_norm)(b, "x", hidden, "hidden")
    norm = walk(b.graph("x", "hidden"))
    if request.task == "reward":
        return Ends(norm.saved_bytes, norm.forward_peak, norm.backward_peak, 0, "a head of one output")
    vocab = -(-model.vocab_size // mesh.tp) if vocab_parallel(request) else model.vocab_size
    kind = loss_kind(request.loss or "plain", request.framework)
    if request.task in COMPARING and kind.kind in OF_LABELS:
        kind = loss_kind("log-probs", request.framework)
    if kind.kind == "logits" and vocab < model.vocab_size:
        kind = loss_kind("loss-parallel")
    trained_head = work.trained or request.trained_ends
    form = recipe(request.precision)
    shape = LossShape(work.tokens, hidden, vocab, work.compute, trained_head, form.compute)
    loss = walk(loss_graph(kind, shape))
    inside = norm.saved_bytes
    if request.method != "full" and adapter(request.adapter).where == "embedding" and model.tied:
        inside += (
            model.vocab_size * hidden * work.compute
        )  # the head reads a copy of the table with the trained rows in it
    part = (
        work.tokens * model.vocab_size * work.compute // mesh.tp
        if vocab * mesh.tp > model.vocab_size + mesh.tp
        else 0
    )
    return Ends(
        inside + loss.saved_bytes,
        max(norm.forward_peak, inside + loss.forward_peak + part),
        max(norm.backward_peak, inside + loss.backward_peak),
        work.tokens * vocab,
        kind.source,
    )


def unusual(model: Model) -> tuple[str, ...]:
    """Kinds of layers whose training graph was never compared with a run."""
    names = {
        "compressed attention (V4)": any(isinstance(layer.attention, V4 | V41) for layer in model.layers),
        "sparse attention (DSA)": any(isinstance(layer.attention, DSA) for layer in model.layers),
        "linear attention": any(isinstance(layer.attention, Linear) for layer in model.layers),
    }
    return tuple(name for name, there in names.items() if there)
