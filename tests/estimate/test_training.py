"""Training estimates against figures of a recorded step (fake tensors, two steps of the real modules) and
against known cases."""

from typing import Any

import pytest

from oomless.api.training import train
from oomless.errors import UnsupportedError
from oomless.estimate.training.training_estimate import TrainingEstimate
from oomless.units import GIB, MIB


def requested(found: TrainingEstimate) -> int:
    """What tensors take at the peak: all but the workspaces that cuBLAS keeps, which fake tensors do not
    show."""
    return found.peaks.allocated_bytes - sum(
        line.bytes for line in found.ledger.lines if line.key == "runtime.cublas"
    )


@pytest.mark.parametrize(("recompute", "mib"), [("none", 28343.2), ("full", 12841.1)])
def test_peak_of_a_recorded_step(recompute: str, mib: float) -> None:
    """deepseek-coder-1.3b, pure bfloat16, AdamW with foreach, 4 x 2,048 tokens: requested bytes of the second
    step."""
    found = train(
        "deepseek-coder-1.3b",
        "h100",
        precision="bf16",
        optimizer="adamw",
        micro_batch=4,
        seq_len=2048,
        recompute=recompute,
    )
    assert requested(found.estimate) / MIB == pytest.approx(mib, rel=0.001)


def test_lora_of_a_recorded_step() -> None:
    """Qwen2-7B's shape, adapters of rank 16 on every matrix in F32, bfloat16 base, recomputed, 1 x 4,096
    tokens: 22.42 GiB."""
    lora: dict[str, Any] = {
        "framework": "peft",
        "method": "lora",
        "lora_rank": 16,
        "lora_targets": "all-linear",
    }
    found = train("deepseek-r1-distill-qwen-7b", "h100", seq_len=4096, recompute="full", **lora)
    assert requested(found.estimate) / GIB == pytest.approx(22.42, rel=0.005)


@pytest.mark.parametrize(("recompute", "gib"), [("none", 73.945), ("full", 36.459)])
def test_adapters_on_stacked_experts_of_a_recorded_step(recompute: str, gib: float) -> None:
    """DeepSeek-V2-Lite under peft 0.21, rank 16 on every matrix: the changed stacks of experts are made and
    kept."""
    lora: dict[str, Any] = {
        "framework": "peft",
        "method": "lora",
        "lora_rank": 16,
        "lora_targets": "all-linear",
    }
    found = train("deepseek-v2-lite", "h100", seq_len=2048, recompute=recompute, optimizer="adamw", **lora)
    assert found.peaks.allocated_bytes / GIB == pytest.approx(gib, rel=0.02)


def test_zero_paper_figure() -> None:
    """16 B a parameter over 64 ranks: 16, 4 + 12/64, 2 + 14/64 and 16/64 B (arXiv 1910.02054, figure 1)."""
    asked: dict[str, Any] = {"framework": "deepspeed", "precision": "deepspeed-fp16", "seq_len": 512}
    found = [train("deepseek-llm-7b", "v100-32gb:64", zero=stage, **asked) for stage in range(4)]
    states = [each.groups[0].states for each in found]
    held = [(s.weights + s.gradients + s.optimizer) / found[0].model.num_parameters for s in states]
    assert [round(value, 2) for value in held] == [16.0, 4.19, 2.22, 0.25]


def test_pipeline_stages_differ() -> None:
    """The first stage holds most micro-batches, the last one the logits."""
    found = train(
        "llama-3.1-8b", "h100:4", pp=4, framework="fsdp", precision="bf16", grad_accum=8, seq_len=4096
    )
    kept = [
        sum(part.bytes for part in group.phases[0].parts if part.category == "activations")
        for group in found.groups
    ]
    assert kept == sorted(kept, reverse=True)
    assert [any("loss" in phase.moment for phase in group.phases) for group in found.groups] == [
        False,
        False,
        False,
        True,
    ]


def test_offloaded_states_move_to_the_host() -> None:
    """What leaves the card is in host memory; DeepSpeed keeps F32 gradients and a 16-bit copy there too."""
    asked: dict[str, Any] = {"zero": 2, "framework": "deepspeed", "seq_len": 1024}
    here = train("deepseek-llm-7b", "h100:8", **asked)
    there = train("deepseek-llm-7b", "h100:8", offload="optimizer", **asked)
    moved = 8 * (here.groups[0].states.optimizer - there.groups[0].states.optimizer)
    assert there.ram_bytes == moved + 8 * 6 * here.groups[0].states.values_here


def test_data_workers_take_host_memory_alone() -> None:
    """Each process and what it reads ahead, on every rank; nothing on the cards."""
    from oomless.api.training import train

    some, none = (train("llama-3-8b", "h100:8", fsdp=True, data_workers=workers) for workers in (4, 0))
    twice = train("llama-3-8b", "h100:8", fsdp=True, data_workers=8)
    assert some.ram_bytes > none.ram_bytes == 0
    assert twice.ram_bytes == 2 * some.ram_bytes
    assert some.ledger.total_bytes == none.ledger.total_bytes


def test_packed_experts_are_unpacked_while_they_run() -> None:
    """Axolotl's quantize_moe_experts: weights shrink to a quarter, and one layer's experts are there in 16
    bit."""
    from oomless.api.training import train

    model = "qwen3-30b-a3b"
    left, packed = (
        train(
            model,
            "h100",
            framework="axolotl",
            method="qlora",
            recompute="full",
            lora_targets="q_proj",
            loss="fused",
            packed_experts=way,
        )
        for way in (False, True)
    )
    held = [
        sum(line.bytes for line in found.ledger.lines if line.category == "weights")
        for found in (left, packed)
    ]
    assert 0.25 < held[1] / held[0] < 0.35
    experts = sum(tensor.num_parameters for tensor in packed.model.tensors if tensor.role == "expert") // len(
        packed.model.layers
    )
    assert [line.bytes for line in packed.ledger.lines if line.key == "temporaries.unpacked_experts"] == [
        2 * experts
    ]


def test_megatron_shards_in_its_own_ways_and_lets_the_last_stage_be_short() -> None:
    """ZeRO 1 is its distributed optimizer, ZeRO 2 and 3 it has not; DeepSeek-V3's 61 layers run on 16 stages:
    4 on each, 1 on the last."""
    first, own = (
        train("deepseek-coder-1.3b", gpu="h100:8", framework="megatron-lm", sharding=each)
        for each in ("zero1", "distopt")
    )
    assert first.peaks == own.peaks
    for stage in (2, 3):
        with pytest.raises(UnsupportedError, match=f"zero{stage}"):
            train("deepseek-coder-1.3b", gpu="h100:8", framework="megatron-lm", zero=stage)
    stages = train("deepseek-v3", gpu="h800:8x256", framework="megatron-lm", pp=16, ep=64).groups
    assert sum(group.ledger.num_ranks for group in stages) == 2048


def test_adapters_compute_in_the_type_of_their_unit() -> None:
    """`oomless trace` of the same question has 1.602 GiB of activations; F32 copies of what each adapter
    reads would make them 1.884."""
    found = train("deepseek-coder-1.3b", "h100:2", framework="fsdp", fsdp=True, method="lora", seq_len=1024)
    kept = sum(line.bytes for line in found.ledger.lines if line.key == "activations.kept")
    assert kept == 24 * 71_671_808
    trl = train("deepseek-coder-1.3b", "h100:2", framework="trl", fsdp=True, method="lora", seq_len=1024)
    assert trl.request.precision == "mixed-bf16"
