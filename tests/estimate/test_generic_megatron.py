"""Networks under Megatron-Core whose layers its arguments do not describe: Gemma-4's, adapters."""

from typing import Any

import pytest

from oomless.api.training import train
from oomless.estimate.training.rank_portions import portions, stages
from oomless.frameworks.graphs.blocks import MicroBatchWork
from oomless.frameworks.graphs.layers import layer_graph, norms_of
from oomless.model.load import load
from oomless.run.training import Mesh, TrainingResolved

GEMMA: dict[str, Any] = {
    "framework": "megatron-bridge",
    "method": "full",
    "sharding": "distopt",
    "sequence_parallel": True,
    "ep": 8,
    "etp": 1,
    "seq_len": 4096,
}


def held(category: str, **asked: Any) -> int:
    """Return the bytes of a category on the first rank."""
    ledger = train("gemma-4-26b-a4b", "h100:8", **GEMMA | asked).groups[0].ledger
    return sum(line.bytes for line in ledger.lines if line.category == category)


def test_the_activation_inside_of_experts_is_given_up() -> None:
    """Its output is not kept, and its input is."""
    modules = "core_attn", "core_attn,moe_act", "moe"
    kept = [held("activations", tp=4, recompute="selective", recompute_modules=each) for each in modules]
    rows, width, layers = 4096 * 8, 704 // 4, 30
    assert kept[0] - kept[1] == rows * width * 2 * layers
    assert kept[2] < kept[1]


@pytest.mark.parametrize("tp", [1, 4])
def test_a_vision_tower_is_whole_on_each_tensor_parallel_rank(tp: int) -> None:
    """It is another library's module, which no tensor parallelism cuts."""
    model, mesh = load("gemma-4-26b-a4b"), Mesh(tp=tp)
    towers = [
        each
        for each in portions(model, mesh, stages(30, mesh)[0], TrainingResolved())
        if each.name.startswith("vision.")
    ]
    assert sum(each.total for each in towers) == sum(
        each.num_parameters for each in model.tensors if each.part == "vision"
    )


def sizes(name: str, kernels: str = "liger", **more: Any) -> dict[str, int]:
    """Return the tensors that the second layer of a model makes of 4,096 tokens."""
    model = load(name)
    more |= {"kernels": kernels, "exchanged": True}
    work = MicroBatchWork(1, 4096, 2, 2, False, **more)
    return dict(layer_graph(model.layers[1], model.hidden_size, norms_of(model, 1), work).sizes)


def test_whole_experts_are_given_a_share_of_the_tokens_of_tensor_parallel_ranks() -> None:
    """--etp 1: 4,096 / 4 tokens x 8 experts x 2,048 x 2 B are sent; each was four times as much."""
    cut, whole = (sizes("qwen3-30b-a3b", tp=4, sequence_parallel=True, expert_tp=each) for each in (0, 1))
    assert whole["rows"] == 4096 // 4 * 8 * 2048 * 2 == cut["rows"] // 4
    assert whole["gate_up"] == cut["gate_up"] == 4096 // 4 * 8 * 768 * 2 * 2
    assert sizes("qwen3-30b-a3b", tp=4, sequence_parallel=True, expert_tp=4) == cut


def test_norms_of_gemma_4_are_written_out() -> None:
    """Before, between and behind dense feed-forward, router and experts: six a layer with two F32 copies of
    what they read under Megatron-Bridge; of eight of transformers one each."""
    whole, liger, eager = 4096 // 4 * 2816 * 4, "liger", "eager"
    for kernels, copies in ((liger, 12), (eager, 8)):
        made = sizes("gemma-4-26b-a4b", kernels, tp=4, sequence_parallel=True, expert_tp=1)
        assert [name.startswith("f32.") and size == whole for name, size in made.items()].count(
            True
        ) == copies
    assert not [name for name in sizes("gemma-4-31b", liger) if name.startswith("f32.")]
