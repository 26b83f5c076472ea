"""Layers that a maker's checkpoint in 4 bits keeps in 16: Unsloth's "dynamic 4 bits"."""

from oomless.api.serving import infer
from oomless.api.training import train
from oomless.units import GIB

KEPT = "weights.unquantized"


def test_weights_reach_what_unsloth_publishes() -> None:
    """vLLM 0.7.3 said 5.60 GiB of Meta-Llama-3.1-8B-Instruct-unsloth-bnb-4bit, 5.35 of NF4 throughout."""
    served = infer(
        "llama-3.1-8b", "t4", quantization="bitsandbytes", engine_version="0.7.3 (V0)", dtype="float16"
    )
    weights = [line for line in served.ledger.lines if line.category == "weights"]
    assert sum(line.low_bytes for line in weights) < 5.35 * GIB
    assert 5.6 * GIB < sum(line.high_bytes for line in weights) < 6 * GIB


def test_unsloth_loads_its_own_checkpoint_for_a_model_in_4_bits() -> None:
    for framework, version, keeps in (
        ("unsloth", "2025.5.9", True),
        ("unsloth", "2024.9", False),
        ("peft", None, False),
    ):
        found = train("qwen3-14b", "t4", framework=framework, framework_version=version, method="qlora")
        assert any(line.key == KEPT for line in found.ledger.lines) is keeps
    experts = train("gpt-oss-20b", "t4", framework="unsloth", method="qlora")
    assert not any(line.key == KEPT for line in experts.ledger.lines)


def test_hybrids_in_awq_hold_what_their_makers_keep() -> None:
    """vLLM said 18.37 and 18.83 GiB of two makers' 27B in AWQ, text alone (0.24 loads QuantTrio's)."""
    served = infer(
        "qwen3.6-27b", "a10", quantization="awq", engine_version="0.24.0", language_model_only=True
    )
    held = [line for line in served.ledger.lines if line.category in ("weights", "fragmentation")]
    assert 18 * GIB < sum(line.bytes for line in held) < 18.37 * GIB
    assert 18.83 * GIB < sum(line.high_bytes for line in held) < 19.3 * GIB
