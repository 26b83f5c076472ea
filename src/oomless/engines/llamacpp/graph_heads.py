"""Attention of plain heads in the graph of one micro-batch (llm_graph_context::build_attn, llm_build_kqv)."""

from typing import NamedTuple

from ...model.attention import GQA
from .batch import F16, F32, Batch, sent
from .ggml import Graph, Node

LEAST_TURNED = 64
"""Heads of multiples of it are turned where their cache is quantised (llama-kv-cache.cpp)."""


def grouped(graph: Graph, batch: Batch, attention: GQA, normed: Node, positions: Node, mask: Node) -> Node:
    """Queries, keys and values, and their attention; of gated heads (Qwen3-Next on) the gate lies beside its
    query until then."""
    tokens, dim = batch.num_tokens, attention.head_dim
    gates: list[Node] = []

    def projected(heads: int, rotated: bool, copied: int = 0, gated: bool = False) -> Node:
        node = graph.op(heads * dim * tokens * F32 * (1 + gated), *sent(graph, copied), normed)
        if gated:
            gates.append(graph.view(node))
        if attention.qkv_bias:
            node = graph.op(node.size, node, in_place=True)
        node = graph.view(node)
        if rotated and attention.qk_norm:
            node = graph.op(heads * dim * tokens * F32, node)
        return graph.op(heads * dim * tokens * F32, node, positions, in_place=True) if rotated else node

    gated = attention.gated or attention.wide_gate
    if batch.left is not None:
        query = graph.expand(projected(attention.num_heads, True, batch.left.query, gated=gated))
        key = graph.expand(projected(attention.num_kv_heads, True, batch.left.key))
        value = projected(attention.num_kv_heads, False, batch.left.value)
    else:
        query = projected(attention.num_heads, True, gated=gated)
        key = projected(attention.num_kv_heads, True)
        value = projected(attention.num_kv_heads, False)

    def turned(node: Node, heads: int, turns: bool) -> Node:
        turns = turns and dim % LEAST_TURNED == 0
        return graph.op(heads * dim * tokens * F32, graph.view(node)) if turns else node

    query, key = (
        turned(query, attention.num_heads, batch.turns_keys),
        turned(key, attention.num_kv_heads, batch.turns_keys),
    )
    value = turned(value, attention.num_kv_heads, batch.turns_values)
    heads = HeadNodes(attention.num_heads, attention.num_kv_heads, dim, query, key, value)
    attended = many_heads(graph, batch, heads, mask)
    attended = turned(attended, attention.num_heads, batch.turns_values)
    for gate in gates:  # laid out anew, since it lay between the queries
        opened = graph.op(attention.num_heads * dim * tokens * F32, gate)
        attended = graph.op(
            opened.size, attended, graph.op(opened.size, opened, in_place=True), in_place=True
        )
    return attended


class HeadNodes(NamedTuple):
    """What the heads of a micro-batch attend with."""

    num: int
    num_kv: int
    value_dim: int
    query: Node
    key: Node
    value: Node


def many_heads(graph: Graph, batch: Batch, given: HeadNodes, mask: Node) -> Node:
    """Attention of heads against the cache: in one operation, or by way of the scores of all heads."""
    heads, kv_heads, value_dim, query, key, value = given
    tokens, cells = batch.num_tokens, batch.num_cells
    for node in (query, key, value) if batch.ik else (query, value, key):
        graph.expand(node)
    graph.store(key)
    graph.store(value)
    out = value_dim * heads * tokens * F32
    keys, values = graph.stored, graph.stored
    if batch.left is not None and kv_heads:  # a layer whose attention was pruned has no cache
        keys, values = sent(graph, batch.left.keys, batch.left.values)
    if batch.flash:
        out += batch.in_16_bit(kv_heads * value_dim, kv_heads * value_dim)
        return graph.expand(graph.view(graph.op(out, graph.view(query), keys, values, mask)))
    scores = graph.op(cells * tokens * heads * F32, keys, graph.view(query))
    scores = graph.op(scores.size, scores, mask, in_place=True)
    if batch.joins_sinks:
        scores = graph.op(scores.size, graph.op(scores.size + tokens * heads * F32, scores))
    if not batch.ik and not batch.transposed_values:
        values = graph.op(cells * kv_heads * value_dim * F16, values)
    product = graph.op(out, values, scores)
    return graph.expand(graph.op(out, graph.view(product)))
