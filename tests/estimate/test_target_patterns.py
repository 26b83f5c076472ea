"""Targets of adapters as PEFT takes them: names, or one regular expression over whole module names."""

import pytest

import oomless
from oomless.errors import OomlessError, UnsupportedError, UsageError

GEMMA = (
    r"model.language_model.layers.[\d]+.(_checkpoint_wrapped_module.)?"
    r"(mlp|self_attn).(up|down|gate|q|k|v|o)_proj"
)


def lora(model: str, *targets: str) -> oomless.TrainingAnswer:
    return oomless.train(model, "h100", method="lora", lora_targets=targets)


def test_a_pattern_means_the_matrices_that_it_finds() -> None:
    pattern, named = (
        lora("gemma-3-4b", GEMMA),
        lora("gemma-3-4b", "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    )
    assert pattern.ledger.total_bytes == named.ledger.total_bytes
    assert sorted(pattern.request.lora_targets) == sorted(named.request.lora_targets)


@pytest.mark.parametrize(
    ("pattern", "error"),
    [
        (r"model.layers.[0-3].self_attn.q_proj", UnsupportedError),
        (r"vision_tower.layers.\d+.q_proj", UsageError),
        (r"model.layers.(\d+", UsageError),
        ("(" * 5000 + ")" * 5000, UsageError),
    ],
)
def test_a_pattern_that_means_something_else_is_refused(pattern: str, error: type[OomlessError]) -> None:
    with pytest.raises(error):
        lora("qwen2.5-vl-7b", pattern)
