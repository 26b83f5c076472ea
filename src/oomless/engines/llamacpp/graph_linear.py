"""The gated delta rule in the graph of one micro-batch: llama.cpp's src/models/delta-net-base.cpp and
qwen35.cpp of 2026, fused."""

from ...model.attention import Linear
from .batch import F32, Batch, sent
from .ggml import Graph, Node


def delta_net(graph: Graph, batch: Batch, kind: Linear, normed: Node) -> Node:
    """A layer of it; Mamba and short convolutions, whose sizes go by the same names, are laid out so too, as
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
