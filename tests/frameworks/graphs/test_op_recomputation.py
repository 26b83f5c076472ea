"""Op-level recomputation of a layer with experts: what torchtitan 0.2's list names, and what it does not."""

import pytest

from oomless.frameworks.graphs.blocks import MicroBatchWork
from oomless.frameworks.graphs.graph import walk, walk_keeping_products
from oomless.frameworks.graphs.layers import layer_graph, norms_of
from oomless.model.load import load

TOKENS = 4096
ROWS = 6 * TOKENS * 2048 * 2
"""Bytes of the rows of DeepSeek-V2-Lite's six experts a token, in bf16."""
WORK = MicroBatchWork(1, TOKENS, 2, 2, False)


@pytest.mark.parametrize("exchanged", [False, True])
def test_grouped_products_of_experts_are_made_again_and_what_other_ranks_sent_is_kept(
    exchanged: bool,
) -> None:
    model = load("deepseek-v2-lite")
    graph = layer_graph(model.layers[1], 2048, norms_of(model, 1), WORK._replace(exchanged=exchanged))
    whole, found = walk(graph).saved, walk_keeping_products(graph).saved
    assert {"gate_up", "moe.product"} <= set(whole)
    assert not {"gate_up", "moe.product", "expert.out", "permuted", "rows"} & set(found)
    sent = {name: size for name, size in found.items() if name in ("arrived", "returned")}
    assert sent == (dict.fromkeys(("arrived", "returned"), ROWS) if exchanged else {})
    again = layer_graph(
        model.layers[1], 2048, norms_of(model, 1), WORK._replace(exchanged=exchanged, resends=True)
    )
    assert not {"arrived", "returned"} & set(walk_keeping_products(again).saved)
    # the input, attention's output, every second matrix: q, kv_b, the router's scores, the shared experts' up
    kept = TOKENS * 2 * (2048 + 16 * 128 + 16 * 192 + 16 * 256 + 2 * 1408)
    assert sum(found.values()) - sum(sent.values()) == pytest.approx(kept, rel=0.05)
