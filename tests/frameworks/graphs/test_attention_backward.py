"""What a layer's backward makes: flash over grouped heads, products in FP8 under a compiler."""

from oomless.frameworks.graphs.blocks import MicroBatchWork
from oomless.frameworks.graphs.graph import walk
from oomless.frameworks.graphs.layers import layer_graph, norms_of
from oomless.model.load import load

TOKENS = 4096
WORK = MicroBatchWork(1, TOKENS, 2, 2, False)


def temporaries(name: str, work: MicroBatchWork) -> int:
    """Bytes that the attention of a model's first layer holds in its backward, and nowhere else."""
    model = load(name)
    graph = layer_graph(model.layers[0], model.hidden_size, norms_of(model, 0), work)
    return next(op.backward_temp for op in graph.ops if op.name == "attention")


def test_flash_makes_gradients_of_keys_for_each_head_of_queries() -> None:
    """mha_bwd: the gradient of queries in F32 and, where several share them, those of keys and values for all
    heads: 32 of 128 in Llama-2-7B (one a head) and Llama-3-8B (8 for 32). Where they are repeated before, as
    litgpt does, they are gradients as any other."""
    stats, queries = 4 * 32 * TOKENS, 4 * 4096 * TOKENS
    assert temporaries("llama-2-7b", WORK) == stats + queries
    assert temporaries("llama-3-8b", WORK) == stats + queries + 2 * 2 * 4096 * TOKENS
    assert temporaries("llama-3-8b", WORK._replace(one_projection=True)) == stats + queries


def test_a_compiler_keeps_nothing_of_what_products_in_fp8_read() -> None:
    """Llama-3-8B and Llama-2-7B took 13.95 and 6.05 GB less of 8,192 and 4,096 tokens (lightning-thunder pull
    request 1528, less what gathered weights did): inputs of the four products of a layer in bfloat16."""
    compiled = WORK._replace(kernels="compiled", one_projection=True)
    for name, width in (("llama-3-8b", 14336), ("llama-2-7b", 11008)):
        model = load(name)
        both = [
            sum(walk(layer_graph(model.layers[0], 4096, norms_of(model, 0), each)).saved.values())
            for each in (compiled, compiled._replace(remakes_inputs=True))
        ]
        assert both[0] - both[1] == 2 * TOKENS * (3 * 4096 + width)
