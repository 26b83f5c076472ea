"""The graph of one micro-batch, as llama.cpp and ik_llama.cpp build it: the tensors between the weights, and their order.

llama.cpp: src/llama-graph.cpp and src/models/deepseek2.cpp of 2026; ik_llama.cpp: build_deepseek2 and llm_build_* in src/llama.cpp of
March to June 2025. 22 of 26 logged buffers of MLA models come out to 0.01 MiB (tests/engines/test_llamacpp_graphs.py).
"""

from functools import lru_cache
from typing import NamedTuple

from ...model.attention import DSA, GQA, MLA, Attention, Sliding
from ...model.feedforward import Dense, MoE
from ...model.gguf_types import TYPES
from ...model.model import Layer
from ...units import MIB
from .ggml import Graph, Node

F32, F16, I32, I64 = 4, 2, 4, 8


class Left(NamedTuple):
    """Bytes that a card is sent of a layer that lies on the host: its matrices one after the other, then its cache."""

    query: int
    key: int
    value: int
    out: int
    up: int
    gate: int
    down: int
    keys: int
    values: int
    """The cache of all cells, which the host keeps and attention needs on the card that computes it."""


class Batch(NamedTuple):
    """What the graph of one device depends on, beside the model."""

    num_cells: int
    num_tokens: int
    num_outputs: int = 0
    """Tokens whose logits are kept; 0: all."""
    flash: bool = True
    mla_mode: int | None = None
    """ik_llama.cpp's -mla; None: llama.cpp, which multiplies queries into the latent space if the file's kv_b is split."""
    most_scores: int = 0
    """-amb in MiB; 0: no limit."""
    key_type: str = "F16"
    host: bool = False
    """No card at all: inputs lie in the same buffer, and the cache's own type is used throughout."""
    copied_matrix: int = 0
    """Bytes of one matrix (up or gate) of a layer's host experts, if a card multiplies it for a micro-batch: then it is copied over."""
    copied_down: int = 0
    """The same of the matrix that leads back."""
    split_kv_b: bool = True
    early: bool = False
    """ik_llama.cpp before 2025-03-18 (#260): keys and values of all heads and cells at once, by way of F32."""
    transposed_values: bool = False
    """llama.cpp with -fa off from the start: values are cached transposed, else each layer transposes a copy of them."""
    num_copies: int = 1
    """Copies of each input: 4 where llama.cpp runs micro-batches through several cards at once."""
    has_output: bool = True
    row_indices: bool = False
    """llama.cpp since #14285 (2025-07): rows of the cache to write to are an input, one a token; of transposed values one a value."""
    embedded_input: bool = False
    """llama.cpp on a host since #18898 (2026-01): room for embeddings as input, beside those that it looks up."""

    left: Left | None = None
    """The layer lies on the host, and the card multiplies it for a whole micro-batch."""

    @property
    def ik(self) -> bool:
        return self.mla_mode is not None


@lru_cache(maxsize=256)
def buffer_bytes(
    layers: tuple[Layer, ...],
    hidden: int,
    vocab: int,
    batch: Batch,
    host_experts: frozenset[int] = frozenset(),
    left: tuple[tuple[Layer, Left], ...] = (),
) -> int:
    """Bytes of the compute buffer of a device that computes these layers; the routed experts of some lie on the host, by position.

    `left` are layers of the host before them, which the first card computes too (ggml-backend.cpp: a weight begins a split of its own,
    so one matrix is copied at a time).

    >>> from ...model.load import load
    >>> r1 = load("deepseek-r1")
    >>> batch = Batch(32768, 512, mla_mode=2, most_scores=512, key_type="Q8_0")
    >>> found = buffer_bytes(tuple(r1.layers), r1.hidden_size, r1.vocab_size, batch, frozenset(range(61)))
    >>> round(found / MIB, 2)   # a log of ik_llama.cpp says 3425.00
    3425.0
    """
    graph = Graph()
    tokens = batch.num_tokens
    if batch.embedded_input:
        words = graph.input(tokens * I32, first=True)
        graph.expand(graph.input(hidden * tokens * F32, first=True, lasts=True))
        residual = graph.expand(graph.op(hidden * tokens * F32, words))
    else:
        residual = _input(graph, batch, hidden * tokens * F32)
    positions = _input(graph, batch, tokens * I32)
    if batch.row_indices:
        graph.expand(positions)
        first = _heads_of(layers[0].attention)
        graph.expand(graph.input(tokens * I64, first=True, lasts=True))
        if first is not None:  # an MLA latent has no values of its own
            each = first.num_kv_heads * first.head_dim if batch.transposed_values else 1
            graph.expand(graph.input(tokens * I64 * each, first=True, lasts=True))
    mask = _input(graph, batch, batch.num_cells * tokens * (F16 if batch.flash and not batch.ik else F32))
    if not batch.host:  # copies of a split are made when it begins
        for node in (residual, positions, mask):
            graph.expand(node)
    if batch.flash and batch.ik:
        mask = graph.op(batch.num_cells * tokens * F16, mask)
    for layer, sent in left:
        there = batch._replace(left=sent)
        attended = _attention(graph, there, layer.attention, graph.op(hidden * tokens * F32, residual), positions, mask)
        joined = graph.op(hidden * tokens * F32, *_sent(graph, sent.out), attended)
        joined = graph.op(joined.size, joined, residual, in_place=True)
        normed = graph.op(joined.size, joined)
        residual = graph.op(joined.size, _feed_forward(graph, there, layer.ffn, normed, False), joined, in_place=True)
    shown = representative([(layer, index in host_experts) for index, layer in enumerate(layers)])
    for index, (layer, on_host) in enumerate(shown):
        attended = _attention(graph, batch, layer.attention, graph.op(hidden * tokens * F32, residual), positions, mask)
        attended = graph.op(hidden * tokens * F32, attended)
        if index == len(shown) - 1 and batch.has_output:
            tokens = batch.num_outputs or tokens
            chosen = _input(graph, batch, tokens * I32)
            attended, residual = (graph.op(hidden * tokens * F32, node, chosen) for node in (attended, residual))
            batch = batch._replace(num_tokens=tokens)
        joined = graph.op(attended.size, attended, residual, in_place=True)
        normed = graph.op(joined.size, joined)
        residual = graph.op(joined.size, _feed_forward(graph, batch, layer.ffn, normed, on_host), joined, in_place=True)
    if batch.has_output:
        logits = graph.op(vocab * tokens * F32, graph.op(residual.size, residual))
        logits.lasts = True
        residual = logits
    graph.expand(residual)
    return graph.buffer_bytes()


def _sent(graph: Graph, *sizes: int) -> list[Node]:
    """Copies of what an operation needs from the host, which begin a split: they live until it has read them."""
    return [graph.expand(graph.input(size)) for size in sizes if size]


def _heads_of(attention: Attention) -> GQA | None:
    """The heads of plain attention, in a window or not."""
    inner = attention.inner if isinstance(attention, Sliding) else attention
    return inner if isinstance(inner, GQA) else None


def representative(layers: list[tuple[Layer, bool]]) -> list[tuple[Layer, bool]]:
    """Two layers of each kind in a row and the last: after two the allocator has reached its full height for that kind."""
    kept: list[tuple[Layer, bool]] = []
    for index, layer in enumerate(layers):
        if index == len(layers) - 1 or kept[-2:] != [layer, layer]:
            kept.append(layer)
    return kept


def _input(graph: Graph, batch: Batch, size: int) -> Node:
    for _ in range(batch.num_copies - 1):
        graph.expand(graph.input(size, first=True, lasts=True))
    return graph.input(size, first=batch.host or batch.num_copies > 1, lasts=batch.num_copies > 1)


# ---------------------------------------------------------------- feed-forward


def _feed_forward(graph: Graph, batch: Batch, ffn: Dense | MoE, normed: Node, on_host: bool) -> Node:
    match ffn:
        case Dense():
            return _dense(graph, batch, normed, ffn.intermediate_size, ffn.gated)
        case MoE():
            routed = _experts(graph, batch, ffn, normed, on_host and not batch.host)
            if not ffn.shared_width:
                return routed
            shared = _dense(graph, batch, normed, ffn.shared_width, ffn.gated)
            return graph.op(normed.size, routed, shared, in_place=True)


def _dense(graph: Graph, batch: Batch, normed: Node, width: int, gated: bool) -> Node:
    if batch.left is not None:
        return _dense_of_the_host(graph, batch.left, normed, width * batch.num_tokens * F32, gated)
    up = graph.op(width * batch.num_tokens * F32, normed)
    if gated:
        up = graph.op(up.size, graph.op(up.size, normed), up)
    return graph.op(normed.size, up)


def _dense_of_the_host(graph: Graph, sent: Left, normed: Node, inner: int, gated: bool) -> Node:
    up = graph.expand(graph.op(inner, *_sent(graph, sent.up), normed))
    if gated:
        gate = graph.expand(graph.op(inner, *_sent(graph, sent.gate), normed))
        up = graph.expand(graph.op(inner, gate, up))
    return graph.expand(graph.op(normed.size, *_sent(graph, sent.down), up))


def _experts(graph: Graph, batch: Batch, ffn: MoE, normed: Node, on_host: bool) -> Node:
    tokens, most = batch.num_tokens, ffn.num_active_experts
    logits = graph.op(ffn.num_experts * tokens * F32, normed)
    probabilities = graph.op(logits.size, logits, in_place=True)
    biased = graph.op(logits.size, probabilities, in_place=True) if ffn.router_biases else probabilities
    chosen = graph.view(graph.op(ffn.num_experts * tokens * I32, biased))
    weights = graph.op(most * tokens * F32, graph.view(probabilities), chosen)
    total = graph.op(tokens * F32, graph.view(weights))
    weights = graph.op(weights.size, graph.op(weights.size, graph.view(weights), total, in_place=True))
    graph.expand(weights)
    if on_host and not batch.copied_matrix:
        return graph.input(normed.size)  # copied back from the host
    inner = ffn.expert_width * most * tokens * F32

    def copies(*sizes: int) -> list[Node]:
        """Copies live while the operation reads them: each begins a split of its own."""
        return [graph.expand(graph.input(size)) for size in sizes if on_host]

    one = batch.copied_matrix
    if batch.ik:  # up and gate in one operation, the sum over experts too
        product = graph.expand(graph.op(inner, *copies(one, one), graph.view(normed), chosen))
    else:
        up = graph.expand(graph.op(inner, *copies(one), graph.view(normed), chosen))
        gate = graph.expand(graph.op(inner, *copies(one), graph.view(normed), chosen))
        product = graph.expand(graph.op(inner, gate, up))
    outputs = graph.expand(graph.op(normed.size * most, *copies(batch.copied_down), product, chosen))
    outputs = graph.op(outputs.size, outputs, weights, in_place=True)
    if batch.ik or most == 1:
        return graph.op(normed.size, graph.view(outputs))
    graph.expand(outputs)
    parts = [graph.expand(graph.view(outputs)) for _ in range(most)]
    found = graph.op(normed.size, parts[0], parts[1])
    for part in parts[2:]:
        found = graph.op(normed.size, found, part, in_place=True)
    return graph.expand(found)


# ---------------------------------------------------------------- attention


def _attention(graph: Graph, batch: Batch, attention: Attention, normed: Node, positions: Node, mask: Node) -> Node:
    match attention:
        case GQA():
            return _grouped(graph, batch, attention, normed, positions, mask)
        case Sliding():
            return _grouped(graph, batch, attention.inner, normed, positions, mask)
        case DSA():
            return _latent(graph, batch, attention.mla, normed, positions, mask)
        case MLA():
            return _latent(graph, batch, attention, normed, positions, mask)
        case _:
            raise AssertionError(attention.kind)  # refused before: their caches are not known


def _grouped(graph: Graph, batch: Batch, attention: GQA, normed: Node, positions: Node, mask: Node) -> Node:
    tokens, dim = batch.num_tokens, attention.head_dim

    def projected(heads: int, rotated: bool, sent: int = 0) -> Node:
        node = graph.op(heads * dim * tokens * F32, *_sent(graph, sent), normed)
        if attention.qkv_bias:
            node = graph.op(node.size, node, in_place=True)
        node = graph.view(node)
        if rotated and attention.qk_norm:
            node = graph.op(heads * dim * tokens * F32, node)
        return graph.op(heads * dim * tokens * F32, node, positions, in_place=True) if rotated else node

    if batch.left is not None:
        query = graph.expand(projected(attention.num_heads, True, batch.left.query))
        key = graph.expand(projected(attention.num_kv_heads, True, batch.left.key))
        value = projected(attention.num_kv_heads, False, batch.left.value)
    else:
        query, key = projected(attention.num_heads, True), projected(attention.num_kv_heads, True)
        value = projected(attention.num_kv_heads, False)
    return _many_heads(graph, batch, attention.num_heads, attention.num_kv_heads, dim, query, key, value, mask)


def _many_heads(
    graph: Graph, batch: Batch, heads: int, kv_heads: int, value_dim: int, query: Node, key: Node, value: Node, mask: Node
) -> Node:
    """Attention of heads against the cache: in one operation, or by way of the scores of all heads."""
    tokens, cells = batch.num_tokens, batch.num_cells
    for node in (query, key, value) if batch.ik else (query, value, key):
        graph.expand(node)
    graph.store(key)
    graph.store(value)
    out = value_dim * heads * tokens * F32
    keys, values = graph.stored, graph.stored
    if batch.left is not None:
        keys, values = _sent(graph, batch.left.keys, batch.left.values)
    if batch.flash:
        return graph.expand(graph.view(graph.op(out, graph.view(query), keys, values, mask)))
    scores = graph.op(cells * tokens * heads * F32, keys, graph.view(query))
    scores = graph.op(scores.size, scores, mask, in_place=True)
    if not batch.ik and not batch.transposed_values:
        values = graph.op(cells * kv_heads * value_dim * F16, values)
    product = graph.op(out, values, scores)
    return graph.expand(graph.op(out, graph.view(product)))


def _latent(graph: Graph, batch: Batch, mla: MLA, normed: Node, positions: Node, mask: Node) -> Node:
    tokens, heads, rope = batch.num_tokens, mla.num_heads, mla.qk_rope_head_dim
    query_dim = mla.qk_nope_head_dim + rope
    source = normed
    if mla.q_lora_rank:
        source = graph.op(mla.q_lora_rank * tokens * F32, graph.op(mla.q_lora_rank * tokens * F32, normed), in_place=not batch.ik)
    query = graph.op(query_dim * heads * tokens * F32, source)
    plain, turned = graph.view(query), graph.op(rope * heads * tokens * F32, graph.view(query), positions)
    both = graph.op(mla.latent_dim * tokens * F32, normed)
    key_rope = graph.op(rope * tokens * F32, graph.view(both), positions)
    latent = graph.op(mla.kv_lora_rank * tokens * F32, graph.view(both))
    expands = batch.mla_mode == 0 if batch.ik else not batch.split_kv_b
    if expands:
        wide = graph.op((mla.qk_nope_head_dim + mla.v_head_dim) * heads * tokens * F32, latent)
        value = graph.view(graph.op(mla.v_head_dim * heads * tokens * F32, graph.view(wide)))
        joined = graph.op(query.size, plain, turned)
        key = graph.op(query.size, graph.view(wide), graph.op(rope * heads * tokens * F32, key_rope, turned))
        return _many_heads(graph, batch, heads, heads, mla.v_head_dim, joined, key, value, mask)
    if batch.ik:
        key = (
            graph.op(both.size, graph.view(key_rope), latent)
            if not batch.early
            else graph.op(both.size, latent, graph.view(key_rope))
        )
        graph.store(key)
        if (batch.mla_mode or 0) > 1 and batch.flash:
            if batch.early and not batch.host:
                return _early_flash(graph, batch, mla, plain, turned, mask)
            return _flash_by_heads(graph, batch, mla, plain, turned, mask)
    absorbed = graph.op(mla.kv_lora_rank * heads * tokens * F32, graph.view(plain))
    if batch.ik:
        joined = graph.op(mla.latent_dim * heads * tokens * F32, graph.view(turned), absorbed)
        return _absorbed(graph, batch, mla, joined, mask)
    joined = graph.op(mla.latent_dim * heads * tokens * F32, graph.view(absorbed), turned)
    reshaped = graph.view(latent)
    key = graph.op(both.size, reshaped, key_rope)
    for node in (joined, reshaped, key):
        graph.expand(node)
    graph.store(key)
    return _absorbed(graph, batch, mla, joined, mask)


def _absorbed(graph: Graph, batch: Batch, mla: MLA, query: Node, mask: Node) -> Node:
    """Attention in the latent space, and its way back to the heads."""
    tokens, cells, heads = batch.num_tokens, batch.num_cells, mla.num_heads
    compressed = mla.kv_lora_rank * heads * tokens * F32
    if batch.flash:
        found = graph.view(graph.op(compressed, graph.view(query), graph.stored, mask))
    else:
        values = graph.stored
        if batch.ik and batch.mla_mode != 1:
            values = graph.op(mla.kv_lora_rank * cells * TYPES[batch.key_type].num_bytes((256,)) / 256, graph.stored)
        size = cells * tokens * heads * F32 // MIB
        if not batch.ik or not batch.most_scores or batch.most_scores >= size:
            scores = graph.op(cells * tokens * heads * F32, graph.stored, graph.view(query) if not batch.ik else query)
            scores = graph.op(scores.size, scores, mask, in_place=True)
            if not batch.ik:
                values = graph.op(mla.kv_lora_rank * cells * F16, graph.stored)
            found = graph.op(compressed, values, scores)
        else:
            found = _scores_by_heads(graph, batch, mla, query, values, mask, -(-size // batch.most_scores))
    out = mla.v_head_dim * heads * tokens * F32
    product = graph.op(out, found)
    return graph.expand(graph.view(graph.op(out, graph.view(product))))


def _scores_by_heads(graph: Graph, batch: Batch, mla: MLA, query: Node, values: Node, mask: Node, num_steps: int) -> Node:
    """-amb without flash attention: as many heads at a time as their scores allow."""
    tokens, cells, heads = batch.num_tokens, batch.num_cells, mla.num_heads
    step = -(-heads // min(num_steps, heads))
    found: Node | None = None
    for first in range(0, heads, step):
        part = min(step, heads - first)
        scores = graph.op(cells * tokens * part * F32, graph.stored, graph.view(query))
        scores = graph.op(scores.size, scores, mask, in_place=True)
        product = graph.op(mla.kv_lora_rank * part * tokens * F32, values, scores)
        found = product if found is None else graph.op(mla.kv_lora_rank * (first + part) * tokens * F32, found, product)
        graph.expand(found)
    assert found is not None
    return found


def _flash_by_heads(graph: Graph, batch: Batch, mla: MLA, plain: Node, turned: Node, mask: Node) -> Node:
    """-mla 2 and 3: keys and values of some heads for the whole context, as many heads as -amb allows, made by way of F32."""
    tokens, cells, heads, rope = batch.num_tokens, batch.num_cells, mla.num_heads, mla.qk_rope_head_dim
    wide = mla.qk_nope_head_dim + mla.v_head_dim
    size, part = wide * heads * cells * F32 // MIB, heads
    while batch.most_scores and size > batch.most_scores and part % 2 == 0:
        size, part = size // 2, part // 2
    cached = TYPES[batch.key_type].num_bytes((256,)) / 256
    element = cached if batch.host else F16
    source = graph.stored if cached == element else graph.op(rope * cells * F16, graph.stored)
    ropes = graph.op(rope * part * cells * element, source)
    query = graph.view(graph.op((mla.qk_nope_head_dim + rope) * heads * tokens * F32, turned, plain))
    graph.expand(query)
    found: Node | None = None
    for first in range(0, heads, part):
        full = graph.op(wide * part * cells * F32, graph.stored)
        value = graph.op(mla.v_head_dim * part * cells * element, graph.view(full))
        key_plain = graph.op(mla.qk_nope_head_dim * part * cells * element, graph.view(full))
        graph.expand(key_plain)
        graph.expand(value)
        key = graph.expand(graph.op((mla.qk_nope_head_dim + rope) * part * cells * element, ropes, key_plain))
        out = graph.view(graph.op(mla.v_head_dim * part * tokens * F32, graph.view(query), key, value, mask))
        found = out if found is None else graph.op(mla.v_head_dim * (first + part) * tokens * F32, found, out)
    assert found is not None
    return graph.expand(found)


def _early_flash(graph: Graph, batch: Batch, mla: MLA, plain: Node, turned: Node, mask: Node) -> Node:
    """The same before #260, on a card: the cache, keys and values of all heads in F32."""
    tokens, cells, heads, rope = batch.num_tokens, batch.num_cells, mla.num_heads, mla.qk_rope_head_dim
    query_dim = mla.qk_nope_head_dim + rope
    element = TYPES[batch.key_type].num_bytes((256,)) / 256
    cache = graph.op(mla.latent_dim * cells * F32, graph.stored)
    full = graph.op((mla.qk_nope_head_dim + mla.v_head_dim) * heads * cells * F32, graph.view(cache))
    ropes = graph.op(rope * heads * cells * F32, graph.view(cache))
    key = graph.op(
        query_dim * heads * cells * element, graph.op(query_dim * heads * cells * F32, graph.view(full), graph.view(ropes))
    )
    value = graph.op(mla.v_head_dim * heads * cells * element, graph.view(full))
    query = graph.view(graph.op(query_dim * heads * tokens * F32, plain, turned))
    graph.expand(query)
    return graph.expand(graph.view(graph.op(mla.v_head_dim * heads * tokens * F32, query, key, value, mask)))
