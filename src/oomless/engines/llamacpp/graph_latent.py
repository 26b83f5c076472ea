"""MLA in the graph of one micro-batch: expanded to heads, absorbed into the latent space, or by some heads at
a time.

llama.cpp: src/models/deepseek2.cpp of 2026; ik_llama.cpp: build_deepseek2 in src/llama.cpp of March to June
2025.
"""

from typing import NamedTuple

from ...model.attention import DSA, MLA
from ...model.gguf_types import TYPES
from ...units import MIB
from .batch import F16, F32, I32, Batch
from .ggml import Graph, Node
from .graph_heads import HeadNodes, many_heads


class Sparse(NamedTuple):
    """Sparse attention: the layer, and the mask of the cache of index keys."""

    layer: DSA
    mask: Node


def _chosen(
    graph: Graph, batch: Batch, sparse: Sparse, normed: Node, queries: Node, positions: Node, mask: Node
) -> Node:
    """The mask of the cells that the indexer chose (src/models/deepseek32.cpp): its scores, the best of them,
    the mask without the rest.

    Keys are stored at once, all else waits until attention asks for it. A layer without an indexer takes up
    the choice of one before it.
    """
    tokens, cells, layer = batch.num_tokens, batch.num_cells, sparse.layer
    best = graph.stored
    if layer.owns_indexer:

        def turned(heads: int, source: Node) -> Node:
            node = graph.op(heads * layer.index_head_dim * tokens * F32, source)
            rotated = graph.op(heads * layer.mla.qk_rope_head_dim * tokens * F32, graph.view(node), positions)
            return graph.op(node.size, graph.op(node.size, rotated, graph.view(node)))

        graph.store(turned(1, normed))
        weights = graph.op(layer.index_heads * tokens * F32, normed)
        scores = graph.op(
            cells * tokens * batch.index_heads * F32,
            graph.view(turned(layer.index_heads, queries)),
            weights,
            sparse.mask,
        )
        if batch.index_heads > 1:  # summed over heads, which lie last for it
            scores = graph.op(cells * tokens * F32, graph.op(scores.size, graph.view(scores)))
        best = graph.op(layer.index_topk * tokens * I32, scores)
    return graph.op(cells * tokens * (F16 if batch.flash else F32), mask, best)


def latent(
    graph: Graph,
    batch: Batch,
    mla: MLA,
    normed: Node,
    positions: Node,
    mask: Node,
    sparse: Sparse | None = None,
) -> Node:
    """The attention of a layer with MLA, as the cache of its engine and mode wants it."""
    tokens, heads, rope = batch.num_tokens, mla.num_heads, mla.qk_rope_head_dim
    query_dim = mla.qk_nope_head_dim + rope
    source = normed
    if mla.q_lora_rank:
        source = graph.op(
            mla.q_lora_rank * tokens * F32,
            graph.op(mla.q_lora_rank * tokens * F32, normed),
            in_place=not batch.ik,
        )
    if sparse is not None:
        mask = _chosen(graph, batch, sparse, normed, source, positions, mask)
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
        given = HeadNodes(heads, heads, mla.v_head_dim, joined, key, value)
        return many_heads(graph, batch, given, mask)
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
        copied = batch.in_16_bit(mla.latent_dim, 0)  # values are a part of the keys
        found = graph.view(graph.op(compressed + copied, graph.view(query), graph.stored, mask))
    else:
        values = graph.stored
        if batch.ik and batch.mla_mode != 1:
            values = graph.op(
                mla.kv_lora_rank * cells * TYPES[batch.key_type].num_bytes((256,)) / 256, graph.stored
            )
        size = cells * tokens * heads * F32 // MIB
        if not batch.ik or not batch.most_scores or batch.most_scores >= size:
            scores = graph.op(
                cells * tokens * heads * F32, graph.stored, graph.view(query) if not batch.ik else query
            )
            scores = graph.op(scores.size, scores, mask, in_place=True)
            if not batch.ik:
                values = graph.op(mla.kv_lora_rank * cells * F16, graph.stored)
            found = graph.op(compressed, values, scores)
        else:
            found = _scores_by_heads(graph, batch, mla, query, values, mask, -(-size // batch.most_scores))
    out = mla.v_head_dim * heads * tokens * F32
    product = graph.op(out, found)
    return graph.expand(graph.view(graph.op(out, graph.view(product))))


def _scores_by_heads(
    graph: Graph, batch: Batch, mla: MLA, query: Node, values: Node, mask: Node, num_steps: int
) -> Node:
    """-amb without flash attention: as many heads at a time as their scores allow."""
    tokens, cells, heads = batch.num_tokens, batch.num_cells, mla.num_heads
    step = -(-heads // min(num_steps, heads))
    found: Node | None = None
    for first in range(0, heads, step):
        part = min(step, heads - first)
        scores = graph.op(cells * tokens * part * F32, graph.stored, graph.view(query))
        scores = graph.op(scores.size, scores, mask, in_place=True)
        product = graph.op(mla.kv_lora_rank * part * tokens * F32, values, scores)
        found = (
            product
            if found is None
            else graph.op(mla.kv_lora_rank * (first + part) * tokens * F32, found, product)
        )
        graph.expand(found)
    assert found is not None
    return found


def _flash_by_heads(graph: Graph, batch: Batch, mla: MLA, plain: Node, turned: Node, mask: Node) -> Node:
    """-mla 2 and 3: keys and values of some heads for the whole context, as many heads as -amb allows, made
    by way of F32."""
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
        query_dim * heads * cells * element,
        graph.op(query_dim * heads * cells * F32, graph.view(full), graph.view(ropes)),
    )
    value = graph.op(mla.v_head_dim * heads * cells * element, graph.view(full))
    query = graph.view(graph.op(query_dim * heads * tokens * F32, plain, turned))
    graph.expand(query)
    return graph.expand(graph.view(graph.op(mla.v_head_dim * heads * tokens * F32, query, key, value, mask)))
