"""The graph of one micro-batch, as llama.cpp and ik_llama.cpp build it: the tensors between the weights, and
their order.

llama.cpp: src/llama-graph.cpp and src/models of 2026; ik_llama.cpp: llm_build_* in src/llama.cpp of March to
June 2025. 22 of 26 logged buffers of MLA models come out to 0.01 MiB (tests/engines/test_llamacpp_graphs.py).
Kinds of layers: graph_heads, graph_latent, graph_ffn, and delta_net here.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, assert_never

from ...model.attention import DSA, GQA, MLA, V4, V41, Attention, Linear, Sliding
from ...model.feedforward import FeedForward, MoE
from ...model.model import Layer
from .batch import F16, F32, I32, I64, Batch, Left, arriving, sent
from .ggml import Graph, Node
from .graph_ffn import Routed, feed_forward, products
from .graph_heads import LEAST_TURNED, grouped
from .graph_latent import Sparse, latent


class Inputs(NamedTuple):
    """What every layer reads: positions, the mask of cells, and that of the cache beside it, of windows or of
    index keys, if there is one."""

    positions: Node
    mask: Node
    other_mask: Node


@lru_cache(maxsize=256)
def buffer_bytes(
    layers: tuple[Layer, ...],
    hidden: int,
    vocab: int,
    batch: Batch,
    host_experts: frozenset[int] = frozenset(),
    left: tuple[tuple[Layer, Left], ...] = (),
    drafts: bool = False,
) -> int:
    """Bytes of the compute buffer of a device that computes these layers; the routed experts of some lie on
    the host, by position. What `drafts` joins the embedding to the target's state first.

    `left` are layers of the host before them, which the first card computes too (ggml-backend.cpp: a weight
    begins a split of its own, so one matrix is copied at a time).

    >>> from ...model.load import load
    >>> from ...units import MIB
    >>> r1 = load("deepseek-r1")
    >>> batch = Batch(32768, 512, mla_mode=2, most_scores=512, key_type="Q8_0")
    >>> found = buffer_bytes(tuple(r1.layers), r1.hidden_size, r1.vocab_size, batch, frozenset(range(61)))
    >>> round(found / MIB, 2)  # a log of ik_llama.cpp says 3425.00
    3425.0
    """
    graph = Graph()
    residual = _embedded(graph, hidden, batch)
    inputs = _inputs(graph, batch, residual, _heads_of_caches(layers, batch))
    if drafts:
        state = graph.op(residual.size, graph.expand(arriving(graph, batch, residual.size)))
        joined = graph.op(2 * residual.size, graph.op(residual.size, residual), state)
        residual = graph.op(residual.size, joined)
    for layer, copied in left:
        residual = _layer(graph, batch._replace(left=copied), layer, residual, inputs)
    shown = [(layer, index in host_experts) for index, layer in enumerate(layers)]
    if not (batch.host_activation and batch.num_copies > 1):  # else each layer's copies stay
        shown = representative(shown)
    for index, (layer, on_host) in enumerate(shown):
        ends = index == len(shown) - 1 and batch.has_output and not batch.keeps_states
        residual = _layer(graph, batch, layer, residual, inputs, on_host, ends)
    if batch.has_output:
        if batch.keeps_states and shown:
            residual.lasts = True
            chosen = arriving(graph, batch, _outputs(batch) * I32)
            residual = graph.op(residual.size // batch.num_tokens * _outputs(batch), residual, chosen)
        normed = graph.op(
            residual.size, residual, in_place=not batch.ik
        )  # ik_llama.cpp's own norms take a place of their own
        rows = _outputs(batch) if shown else batch.num_tokens
        logits = graph.op(vocab * rows * F32, *sent(graph, batch.copied_output), normed)
        logits.lasts = True
        residual = logits
    graph.expand(residual)
    return graph.buffer_bytes()


def experts_bytes(ffn: FeedForward, hidden: int, batch: Batch) -> int:
    """Bytes of the buffer of the first card where it only multiplies experts on the host of layers that
    another card computes: their inputs come from there."""
    assert isinstance(ffn, MoE)
    graph, chosen = Graph(), ffn.num_active_experts * batch.num_tokens
    sizes = hidden * batch.num_tokens * F32, chosen * I32, chosen * F32
    given = Routed(*(graph.expand(arriving(graph, batch, size)) for size in sizes))
    graph.expand(products(graph, batch, ffn, given, on_host=True))
    return graph.buffer_bytes()


def _embedded(graph: Graph, hidden: int, batch: Batch) -> Node:
    """What the first layer of a device reads."""
    tokens = batch.num_tokens
    if not batch.embedded_input:
        return arriving(graph, batch, hidden * tokens * F32)
    words = graph.input(tokens * I32, first=True)
    graph.expand(graph.input(hidden * tokens * F32, first=True, lasts=True))
    return graph.expand(graph.op(hidden * tokens * F32, words))


def _layer(
    graph: Graph,
    batch: Batch,
    layer: Layer,
    residual: Node,
    inputs: Inputs,
    on_host: bool = False,
    ends: bool = False,
) -> Node:
    """One layer, whose residual the next one reads. The layer that `ends` keeps the tokens whose logits are
    asked for; one that is left on the host has its output matrix copied."""
    size = residual.size
    attended = _attention(graph, batch, layer.attention, graph.op(size, residual), inputs)
    attended = graph.op(size, *(sent(graph, batch.left.out) if batch.left else ()), attended)
    if ends:
        rows = _outputs(batch)
        chosen = arriving(graph, batch, rows * I32)
        kept = size // batch.num_tokens * rows
        attended, residual = (graph.op(kept, node, chosen) for node in (attended, residual))
        batch = batch._replace(num_tokens=rows)
    joined = graph.op(attended.size, attended, residual, in_place=True)
    normed = graph.op(joined.size, joined)
    fed = feed_forward(graph, batch, layer.ffn, normed, on_host)
    return graph.op(joined.size, fed, joined, in_place=True)


def _outputs(batch: Batch) -> int:
    """Tokens whose logits are asked for."""
    return batch.num_outputs or batch.num_tokens


def _inputs(graph: Graph, batch: Batch, residual: Node, caches: list[GQA]) -> Inputs:
    """Positions and masks, one for each of the two caches; on a host the rows of the cache too that a
    micro-batch writes to."""
    tokens = batch.num_tokens
    positions = arriving(graph, batch, tokens * I32)
    if batch.row_indices:
        graph.expand(positions)
        for _ in range(max(len(caches), 1)):
            graph.expand(graph.input(tokens * I64, first=True, lasts=True))
        for heads in caches:  # an MLA latent has no values of its own
            each = heads.num_kv_heads * heads.head_dim if batch.transposed_values else 1
            graph.expand(graph.input(tokens * I64 * each, first=True, lasts=True))
    for heads in caches:
        side = heads.head_dim & -heads.head_dim  # the power of two in it
        for turns, rows in ((batch.turns_keys, side), (batch.turns_values, LEAST_TURNED)):
            if turns and side >= LEAST_TURNED:
                graph.expand(arriving(graph, batch, rows * rows * F32))
    casts = batch.flash and (batch.ik or batch.casts_mask)
    element = F16 if batch.flash and not casts else F32
    apart = batch.window_cells or (batch.num_cells if batch.index_heads else 0)
    masks = [arriving(graph, batch, cells * tokens * element) for cells in (batch.num_cells, apart) if cells]
    if not batch.host:  # copies of a split are made when it begins
        for node in (residual, positions, *masks):
            graph.expand(node)
    if casts:
        masks = [graph.op(mask.size // F32 * F16, mask) for mask in masks]
    return Inputs(positions, masks[0], masks[-1])


def _attention(graph: Graph, batch: Batch, attention: Attention, normed: Node, inputs: Inputs) -> Node:
    match attention:
        case GQA():
            return grouped(graph, batch, attention, normed, inputs.positions, inputs.mask)
        case Sliding():
            there = batch._replace(num_cells=batch.window_cells or batch.num_cells)
            return grouped(graph, there, attention.inner, normed, inputs.positions, inputs.other_mask)
        case DSA():
            sparse = Sparse(attention, inputs.other_mask) if batch.index_heads else None
            return latent(graph, batch, attention.mla, normed, inputs.positions, inputs.mask, sparse)
        case MLA():
            return latent(graph, batch, attention, normed, inputs.positions, inputs.mask)
        case Linear():
            mixer = mamba2 if attention.variant == "mamba2" else delta_net
            return mixer(graph, batch, attention, normed)
        case V4() | V41():
            raise AssertionError(attention.kind)  # refused before: their caches are not known
        case _:
            assert_never(attention)


def _heads_of_caches(layers: Sequence[Layer], batch: Batch) -> list[GQA]:
    """Plain heads of each cache: of the whole context, and of windows if they have cells of their own."""
    found: dict[bool, GQA] = {}
    for layer in layers:
        heads = _heads_of(layer.attention)
        if heads is not None:
            found.setdefault(isinstance(layer.attention, Sliding) and bool(batch.window_cells), heads)
    return [found[windows] for windows in sorted(found)]


def _heads_of(attention: Attention) -> GQA | None:
    """The heads of plain attention, in a window or not."""
    return attention.core if isinstance(attention.core, GQA) else None


def representative(layers: list[tuple[Layer, bool]]) -> list[tuple[Layer, bool]]:
    """Two layers of each kind in a row and the last: after two the allocator has reached its full height for
    that kind."""
    kept: list[tuple[Layer, bool]] = []
    for index, layer in enumerate(layers):
        if index == len(layers) - 1 or kept[-2:] != [layer, layer]:
            kept.append(layer)
    return kept


def delta_net(graph: Graph, batch: Batch, kind: Linear, normed: Node) -> Node:
    """A layer of the gated delta rule, fused (llama.cpp's src/models/delta-net-base.cpp and qwen35.cpp of
    2026); Mamba-1 and short convolutions, whose sizes go by the same names, are laid out so too, as
    an estimate.

    States of the convolution before its inputs, the convolution, then one operation whose result holds
    outputs and new states.
    """
    tokens, slots = batch.num_tokens, batch.num_seqs
    graph.expand(normed)
    before = graph.expand(graph.op((kind.conv_kernel - 1) * kind.conv_width * slots * F32, graph.stored))
    sizes = (batch.left.query, batch.left.key) if batch.left else (0, 0)
    mixed = graph.op(kind.conv_width * tokens * F32, *sent(graph, sizes[0]), normed)
    inputs = graph.op(before.size + mixed.size, before, graph.view(mixed))
    graph.store(graph.view(inputs))
    state = graph.expand(
        graph.op(kind.num_value_heads * kind.key_head_dim * kind.value_head_dim * slots * F32, graph.stored)
    )
    convolved = graph.op(mixed.size, inputs)
    convolved = graph.op(mixed.size, convolved, in_place=True)
    queries, keys = (graph.op(kind.key_width * tokens * F32, graph.view(convolved)) for _ in range(2))
    decay, beta = (graph.op(kind.num_value_heads * tokens * F32, normed) for _ in range(2))
    size = kind.value_width * tokens * F32
    both = graph.op(
        size + batch.num_states * state.size, queries, keys, graph.view(convolved), decay, beta, state
    )
    graph.store(graph.view(both))
    gate = graph.op(size, *sent(graph, sizes[1]), normed)
    return graph.op(size, graph.op(size, graph.view(both)), graph.op(size, graph.view(gate)), in_place=True)


def mamba2(graph: Graph, batch: Batch, kind: Linear, normed: Node) -> Node:
    """A layer of Mamba-2 (llama.cpp's src/models/mamba-base.cpp): one projection of gate, inputs and steps,
    the convolution, the scan, whose result holds outputs and new states, and the gated norm."""
    tokens, slots, inner = batch.num_tokens, batch.num_seqs, kind.value_width * batch.num_tokens * F32
    state = kind.num_value_heads * kind.key_head_dim * kind.value_head_dim * slots * F32
    steps = kind.num_value_heads * tokens * F32
    before = graph.op((kind.conv_kernel - 1) * kind.conv_width * slots * F32, graph.stored)
    mixed = graph.op(inner + kind.conv_width * tokens * F32 + steps, normed)
    inputs = graph.op(before.size + kind.conv_width * tokens * F32, before, graph.view(mixed))
    graph.store(graph.view(inputs))
    convolved = graph.op(kind.conv_width * tokens * F32, inputs)
    convolved = graph.op(convolved.size, convolved, in_place=True)
    both = graph.op(inner + state, graph.view(convolved), graph.op(steps, graph.view(mixed)))
    graph.store(graph.view(both))
    gate = graph.op(inner, graph.view(mixed))
    skipped = graph.op(inner, graph.view(both), graph.op(inner, graph.view(convolved)), in_place=True)
    return graph.op(inner, graph.view(graph.op(inner, gate, skipped, in_place=True)))
