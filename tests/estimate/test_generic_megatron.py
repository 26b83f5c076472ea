"""Networks under Megatron-Core whose layers its arguments do not describe: Gemma-4's, adapters."""

from typing import Any

import pytest

from oomless.api.training import train
from oomless.estimate.training.rank_portions import portions, stages
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
