"""DeepSeek-V4 in the graph of one micro-batch (src/models/deepseek4.cpp of August 2026): streams that are
mixed before and after each part, compressors, the indexer, attention over window and compressed rows.

Three logs: 67,094.60 MiB against 66,730 here (unslothai/unsloth#6940), 2,366.28 and, a build later, 2,570.28
against 2,336 (llama.cpp#27680).
"""

from functools import lru_cache

from ...model.attention import V4
from ...model.model import Layer
from .batch import F16, F32, I32, Batch, arriving
from .ggml import Graph, Node
from .graph_ffn import feed_forward

CELLS = 256
"""Compressed rows come in multiples of it."""


class V4Inputs:
    """Positions, and the masks of the window and of the rows of each ratio; the indexer's is F32."""

    def __init__(self, graph: Graph, batch: Batch, ratios: tuple[int, ...]) -> None:
        tokens = batch.num_tokens
        self.element = F16 if batch.flash else F32
        self.rows = {ratio: -(-batch.num_cells // ratio // CELLS) * CELLS for ratio in ratios}

        def mask(cells: int, element: int) -> Node:
            return graph.expand(arriving(graph, batch, cells * tokens * element))

        self.positions = graph.expand(arriving(graph, batch, tokens * I32))
        self.window = mask(batch.window_cells, self.element)
        self.compressed = {ratio: mask(rows, self.element) for ratio, rows in self.rows.items()}
        self.indexer = mask(max(self.rows.values(), default=0), F32)


@lru_cache(maxsize=64)
def v4_buffer_bytes(
    layers: tuple[tuple[Layer, bool], ...], hidden: int, streams: int, vocab: int, batch: Batch, first: bool
) -> int:
    """Return the bytes of the compute buffer of a device with these layers, each with whether its experts lie
    on the host; the first device widens the embedding to the streams.

    >>> from ...model.load import load
    >>> v4 = load("deepseek-v4-flash")
    >>> layers = tuple((layer, False) for layer in v4.layers[:6])
    >>> batch = Batch(1_048_576, 512, 512, window_cells=768, index_heads=64)
    >>> v4_buffer_bytes(layers, 4096, 4, 129280, batch, True) >> 20  # a log has 67,094.6
    66729
    """
    graph = Graph()
    tokens = batch.num_tokens
    one, wide = hidden * tokens * F32, streams * hidden * tokens * F32
    arrived = graph.expand(arriving(graph, batch, one if first else wide))
    attentions = [layer.attention for layer, _ in layers if isinstance(layer.attention, V4)]
    inputs = V4Inputs(graph, batch, tuple(sorted({each.ratio for each in attentions if each.ratio})))
    mixed = graph.op(wide, arrived) if first else arrived

    def before(residual: Node) -> tuple[Node, Node, Node]:
        weights = graph.op((2 + streams) * streams * tokens * F32, graph.op(wide, graph.view(residual)))
        own, after = (graph.op(streams * tokens * F32, graph.view(weights)) for _ in range(2))
        joined = graph.op(one, graph.op(one, residual, own), in_place=True)
        return joined, after, graph.op(streams * streams * tokens * F32, weights)

    for layer, on_host in layers:
        assert isinstance(layer.attention, V4)
        normed, after, between = before(mixed)
        mixed = graph.op(
            wide, _attention(graph, batch, layer.attention, normed, inputs, one), mixed, after, between
        )
        normed, after, between = before(mixed)
        mixed = graph.op(wide, feed_forward(graph, batch, layer.ffn, normed, on_host), mixed, after, between)
    if batch.has_output:
        rows = batch.num_outputs or tokens
        chosen = graph.op(streams * hidden * rows * F32, graph.view(mixed))
        mixed = graph.op(vocab * rows * F32, graph.op(hidden * rows * F32, chosen))
        mixed.lasts = True
    graph.expand(mixed)
    return graph.buffer_bytes()


def _compressed(graph: Graph, normed: Node, tokens: int, width: int, overlap: int) -> None:
    """Keys and scores of each token beside the state, gathered into blocks, and one row of each block."""
    keys, scores = (graph.op(overlap * width * tokens * F32, normed) for _ in range(2))
    gathered = [
        graph.op(overlap * overlap * width * tokens * F32, graph.op(each.size, each))
        for each in (keys, scores)
    ]
    values, weights = (graph.op(each.size, graph.op(each.size // overlap, each)) for each in gathered)
    graph.store(graph.op(width * F32, graph.op(values.size, values, weights, in_place=True)))
    graph.store(keys)
    graph.store(scores)


def _turned(graph: Graph, node: Node, share: float, positions: Node) -> Node:
    """A part of each head is rotated, and joined to the rest."""
    part = graph.op(node.size * share, graph.view(node), positions)
    return graph.op(node.size, graph.view(node), part)


def _attention(graph: Graph, batch: Batch, kind: V4, normed: Node, inputs: V4Inputs, size: int) -> Node:
    tokens, heads, dim, share = batch.num_tokens, kind.num_heads, kind.head_dim, kind.rope_dim / kind.head_dim
    low = graph.op(kind.q_lora_rank * tokens * F32, normed)
    low = graph.op(low.size, low, in_place=True)
    query = graph.op(heads * dim * tokens * F32, low)
    query = _turned(graph, graph.op(query.size, graph.view(query)), share, inputs.positions)
    key = _turned(graph, graph.op(dim * tokens * F32, normed), share, inputs.positions)
    best = low
    if kind.ratio:
        _compressed(graph, normed, tokens, dim, 1 + kind.has_indexer)
    if kind.has_indexer:
        _compressed(graph, normed, tokens, kind.index_head_dim, 2)
        index = graph.op(kind.index_heads * kind.index_head_dim * tokens * F32, low)
        index = _turned(graph, index, kind.rope_dim / kind.index_head_dim, inputs.positions)
        index = graph.op(index.size, graph.view(index))
        scores = graph.op(
            inputs.rows[kind.ratio] * tokens * batch.index_heads * F32, graph.view(index), inputs.indexer
        )
        if batch.index_heads > 1:  # summed over heads, which lie last for it
            scores = graph.op(scores.size // batch.index_heads, graph.op(scores.size, graph.view(scores)))
        best = graph.op(kind.index_topk * tokens * I32, scores)
    for node in (query, key):
        graph.expand(node)
    graph.store(key)
    mask, keys, cells = inputs.window, graph.stored, batch.window_cells
    if kind.ratio:
        mask = inputs.compressed[kind.ratio]
        if kind.has_indexer:
            mask = graph.op(mask.size, graph.op(mask.size, mask, best), mask)
        cells += inputs.rows[kind.ratio]
        keys = graph.op(cells * dim * F16 * batch.num_seqs, graph.stored)
        mask = graph.op(cells * tokens * inputs.element, inputs.window, mask)
    if batch.flash:
        found = graph.op(query.size, graph.view(query), keys, mask)
    else:
        scores = graph.op(cells * tokens * heads * F32, keys, graph.view(query))
        scores = graph.op(scores.size, scores, mask, in_place=True)
        found = graph.op(query.size, graph.op(cells * dim * F16, keys), scores)
        found = graph.op(query.size, graph.view(found))
    found = _turned(graph, graph.expand(found), share, inputs.positions)
    grouped = graph.op(kind.o_groups * kind.o_lora_rank * tokens * F32, graph.view(found))
    return graph.op(size, graph.op(grouped.size, graph.view(grouped)))
