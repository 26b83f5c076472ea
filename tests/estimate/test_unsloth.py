"""Unsloth by its releases: inputs of layers in host memory, losses without logits, and the longest sequences
that its authors publish."""

from typing import Any

import pytest

from oomless.api.training import train
from oomless.units import GIB

ASKED: dict[str, Any] = {"framework": "unsloth", "method": "qlora", "lora_rank": 32}

LONGEST = {
    "llama-3.1-8b": {12: 21848, 16: 40724, 24: 78475, 40: 153977, 48: 191728, 80: 342733},
    "llama-3.3-70b": {48: 12106, 80: 89389},
}
"""README of January 2025: GB of a card, and the tokens of the longest sequence that QLoRA runs on it."""


@pytest.mark.parametrize("model", LONGEST)
def test_the_longest_sequences_are_those_that_are_published(model: str) -> None:
    """The card's size, whether GB or GiB are meant, meets the interval of its longest sequence, and none of
    them is refused."""
    for gigabytes, length in LONGEST[model].items():
        found = train(model, f"{gigabytes}GiB", seq_len=length, framework_version="unsloth 2024.12", **ASKED)
        lines = found.ledger.lines
        assert found.verdict != "does_not_fit"
        least, most = sum(line.low_bytes for line in lines), sum(line.high_bytes for line in lines)
        assert least <= gigabytes * GIB, (gigabytes, least / GIB)
        assert most >= gigabytes * 10**9, (gigabytes, most / GIB)


def test_inputs_of_layers_wait_on_the_host_after_the_first_step() -> None:
    """Releases 2025.1.1 to 2025.11.3 take each layer of the first step for the last one, which stays: a run
    of 72B with 32,768 tokens failed on 80 GB (unslothai/unsloth 2937)."""
    flags = {**ASKED, "lora_rank": 16, "seq_len": 32768}
    kept = {
        release: next(
            line.bytes
            for line in train("qwen2.5-72b", "a800", framework_version=release, **flags).ledger.lines
            if line.key == "activations.kept"
        )
        for release in ("unsloth 2024.12", "unsloth 2025.7.4", "unsloth 2025.11.4")
    }
    of_a_layer = 32768 * 8192 * 2
    assert kept["unsloth 2024.12"] == kept["unsloth 2025.11.4"] == 2 * of_a_layer
    assert kept["unsloth 2025.7.4"] == 79 * of_a_layer
    on_card = train("qwen2.5-72b", "a800", framework_version="unsloth 2025.7.4", **flags)
    inputs = next(line for line in on_card.ledger.lines if line.key == "activations.kept")
    assert inputs.low_bytes == inputs.high_bytes  # the published lengths measure what runs beside them
    on_host = train("qwen2.5-72b", "a800", framework_version="unsloth 2025.11.5", **flags)
    assert on_card.verdict == "does_not_fit"
    assert on_host.ram_bytes - on_card.ram_bytes == 80 * of_a_layer


def test_losses_follow_the_releases() -> None:
    """Llama-3-8B, 102,400 tokens in float16: logits and accelerate's copy of them are 6 B each, and an 80 GB
    card runs out (LLaMA-Factory 3638); nothing of them is there once the loss is cut."""
    flags: dict[str, Any] = {
        "framework": "unsloth",
        "method": "qlora",
        "precision": "fp16",
        "seq_len": 102400,
    }
    logits = 102400 * 128256

    def loss(release: str, gpu: str = "a100-80gb") -> int:
        found = train("llama-3-8b", gpu, framework_version=f"unsloth {release}", **flags)
        phases = [phase for phase in found.groups[0].phases if phase.moment == "in the loss"]
        parts = [part for phase in phases for part in phase.parts if part.key == "logits.loss"]
        return max(part.bytes for part in parts)

    assert 6 * logits < loss("2024.4") < 6.3 * logits
    assert loss("2024.12") < 0.3 * logits
    assert loss("2024.12", "v100-32gb") > 6 * logits


def test_chunks_of_the_loss_follow_the_releases() -> None:
    """unsloth_zoo, get_chunk_size: F32 logits of a chunk are within 1 GiB, then within half of what the card
    leaves, where fewer than two chunks are one, since 2026.7.1 within 4 GiB as well; a compiled chunk keeps
    the 16-bit half of them. None of the longest sequences above is refused."""
    flags: dict[str, Any] = {**ASKED, "seq_len": 131072}

    def loss(release: str) -> float:
        found = train("llama-3.1-8b", "h100", framework_version=f"unsloth {release}", **flags)
        phases = [phase for phase in found.groups[0].phases if phase.moment == "in the loss"]
        return max(part.bytes for phase in phases for part in phase.parts if part.key == "logits.loss") / GIB

    streams = 3 * 131072 * 4096 * 2 / GIB
    assert loss("2025.8.8") - streams == pytest.approx(2 / 2, rel=0.1)
    assert loss("2026.8") - streams == pytest.approx(4 / 2, rel=0.1)
    assert loss("2026.2") - streams == pytest.approx(131072 * 128256 * 2 / GIB, rel=0.1)
    for model, lengths in LONGEST.items():
        for gigabytes, length in lengths.items():
            asked: dict[str, Any] = {**ASKED, "seq_len": length, "framework_version": "unsloth 2026.8"}
            assert train(model, f"{gigabytes}GiB", **asked).verdict != "does_not_fit"


@pytest.mark.parametrize("release", ["2024.10", "2025.7.4", "2025.8.8", "2026.2"])
def test_losses_of_releases_hold_on_several_cards(release: str) -> None:
    """Each rank is resolved anew, with the release's own loss named."""
    flags: dict[str, Any] = {**ASKED, "framework_version": f"unsloth {release}"}
    assert train("llama-3.1-8b", "a100-80gb:2", **flags).verdict == "fits"


def test_feed_forwards_in_tiles() -> None:
    """unsloth_zoo/tiled_mlp.py: a layer keeps the feed-forward's input; a notebook of gpt-oss-20b reserved
    70.5 GiB for 486,487 tokens, 82 of which without tiles are of one layer. Who has no tiles says so."""
    flags: dict[str, Any] = {
        **ASKED,
        "lora_rank": 8,
        "lora_targets": ("q_proj", "k_proj", "v_proj", "o_proj"),
    }
    flags |= {"seq_len": 486487, "framework_version": "unsloth 2025.11.4"}
    whole, tiled = (train("gpt-oss-20b", "a100-80gb", tiled_mlp=said, **flags) for said in (None, 0))
    assert whole.verdict == "does_not_fit" != tiled.verdict
    assert tiled.peaks.reserved_bytes == pytest.approx(70.451 * GIB, rel=0.06)
    warnings = train("llama-3-8b", "h100", framework="trl", tiled_mlp=4).warnings
    assert any("--tiled-mlp changes nothing: trl has no tiles" in warning for warning in warnings)


def test_preferences_have_logits_whatever_the_loss_of_labels() -> None:
    flags = {**ASKED, "seq_len": 1024}
    labels, pairs = (train("llama-3-8b", "t4", task=task, **flags) for task in ("sft", "dpo"))
    assert labels.peaks.allocated_bytes + 4 * 2 * 1024 * 128256 < pairs.peaks.allocated_bytes


@pytest.mark.parametrize(("model", "least", "most"), [("gpt-oss-20b", 11.7, 14.0), ("gpt-oss-120b", 57, 66)])
def test_experts_of_gpt_oss_are_packed_one_by_one(model: str, least: float, most: float) -> None:
    """Unsloth's page on gpt-oss: QLoRA of 20B fits 14 GB (12.8 since 2026), of 120B 65 GB; the adapters are
    those of attention alone. TRL's bitsandbytes leaves the stacks as they are."""
    totals = [
        sum(
            line.bytes
            for line in train(model, "h100:8", framework=name, method="qlora", seq_len=1024).ledger.lines
        )
        for name in ("unsloth", "trl")
    ]
    assert least * GIB < totals[0] < most * GIB
    assert totals[1] > 2 * totals[0]


def test_an_engine_lends_its_weights() -> None:
    """GRPO of Llama-3.1-8B on a T4 with 60 % of it for vLLM (notebooks of March 2025): the weights in NF4 are
    those of vLLM, which runs in the same process."""
    flags: dict[str, Any] = {**ASKED, "task": "grpo", "seq_len": 1024, "micro_batch": 6}
    flags |= {"rollout_engine": "vllm", "rollout_gpu_memory_utilization": 0.6}
    found: Any = train("llama-3.1-8b", "t4", framework_version="unsloth 2025.3.8", **flags)
    assert found.verdict == "fits"
    for moment in found.after.moments:
        keys = [line.key for line in moment.ledger.lines if line.owner == "engine"]
        assert "kv_cache.pool" in keys
        assert not [key for key in keys if key.startswith("weights.")]
        assert len([line for line in moment.ledger.lines if line.key == "runtime.context"]) == 1
    pool = next(line for line in found.after.peak.ledger.lines if line.key == "kv_cache.pool")
    assert 1.5 * GIB < pool.bytes < 2.8 * GIB  # 2.39 by its log


@pytest.mark.parametrize(
    ("model", "loss"),
    [
        ("gemma-3-4b", "chunked"),
        ("gemma-3n-e4b", "plain-4.49"),
        ("falcon-7b", "in-place"),
        ("granite-4.0-350m", "in-place"),
    ],
)
def test_losses_whose_forward_fits_no_pattern_have_whole_logits(model: str, loss: str) -> None:
    found: Any = train(model, "a100-40gb", seq_len=1024, **ASKED)
    assert found.request.loss == loss


def test_full_training_is_float32_where_a_card_has_no_bfloat16() -> None:
    """models/vision.py, full_finetuning: bfloat16 throughout, else weights in float32; the notebook of
    Qwen3-0.6B for phones, which fake-quantises its weights too, reserved 10.56 GiB of a T4."""
    asked: dict[str, Any] = {"framework": "unsloth", "method": "full", "seq_len": 1024, "micro_batch": 2}
    half: Any = train("qwen3-0.6b", "l4", **asked)
    single: Any = train("qwen3-0.6b", "t4", **asked)
    assert (half.request.precision, single.request.precision) == ("bf16", "amp-fp16")
    assert half.peaks.device_bytes < 7.5 * GIB < single.peaks.device_bytes < 11 * GIB
