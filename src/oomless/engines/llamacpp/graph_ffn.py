"""Feed-forward layers in the graph of one micro-batch: dense ones, experts on the card, experts on the host
(llama-graph.cpp)."""

from typing import NamedTuple

from ...model.feedforward import Dense, MoE
from .batch import F32, I32, Batch, Left, arriving, sent
from .ggml import Graph, Node


def feed_forward(graph: Graph, batch: Batch, ffn: Dense | MoE, normed: Node, on_host: bool) -> Node:
    """Add a layer's feed-forward to the graph and return its last node; `on_host`: its experts lie there."""
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
    if batch.host_activation:
        graph.expand(graph.op(0, up))  # read for the copy to the host
        up = arriving(graph, batch, up.size)
    return graph.op(normed.size, up)


def _dense_of_the_host(graph: Graph, copied: Left, normed: Node, inner: int, gated: bool) -> Node:
    up = graph.expand(graph.op(inner, *sent(graph, copied.up), normed))
    if gated:
        gate = graph.expand(graph.op(inner, *sent(graph, copied.gate), normed))
        up = graph.expand(graph.op(inner, gate, up))
    return graph.expand(graph.op(normed.size, *sent(graph, copied.down), up))


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
        return graph.input(normed.size)  # copied back from the host, or from the card that multiplies them
    return products(graph, batch, ffn, Routed(normed, chosen, weights), on_host)


class Routed(NamedTuple):
    """What experts are given: a token's state, which of them it goes to, and what each counts."""

    normed: Node
    chosen: Node
    weights: Node


def products(graph: Graph, batch: Batch, ffn: MoE, given: Routed, on_host: bool) -> Node:
    """Return what the chosen experts of a layer make of its tokens."""
    normed, chosen, weights = given
    tokens, most = batch.num_tokens, ffn.num_active_experts
    inner = ffn.expert_width * most * tokens * F32

    def copies(*sizes: int) -> list[Node]:
        """Copies live while the operation reads them: each begins a split of its own."""
        return [graph.expand(graph.input(size)) for size in sizes if on_host]

    one = batch.copied_matrix
    if batch.ik:  # up and gate in one operation, the sum over experts too
        product = graph.expand(graph.op(inner, *copies(one, one), graph.view(normed), chosen))
    else:
        product = graph.expand(graph.op(inner, *copies(one), graph.view(normed), chosen))
        if ffn.gated:
            gate = graph.expand(graph.op(inner, *copies(one), graph.view(normed), chosen))
            product = graph.expand(graph.op(inner, gate, product))
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
