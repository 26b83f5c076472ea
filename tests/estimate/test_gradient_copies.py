"""Gradients that lie twice on a card, what frameworks leave open of them, and what an allocator may hold."""

from typing import Any

import pytest

from oomless.api.training import train
from oomless.api.training_answer import TrainingAnswer
from oomless.ledger import Key, Line
from oomless.units import GIB

FULL: dict[str, Any] = {
    "framework": "transformers",
    "method": "full",
    "seq_len": 512,
    "optimizer": "adamw-fused",
}


def line(found: TrainingAnswer, key: Key) -> Line | None:
    return next((each for each in found.ledger.lines if each.key == key), None)


def test_ddp_has_buckets_beside_gradients_unless_these_are_views() -> None:
    """Neither torch's DDP nor accelerate's sets gradient_as_bucket_view."""
    copies = train("pythia-2.8b", "rtx-3090:3", precision="bf16", **FULL)
    views = train("pythia-2.8b", "rtx-3090:3", precision="bf16", gradient_bucket_view=True, **FULL)
    alone = train("pythia-2.8b", "rtx-3090", precision="bf16", **FULL)
    buckets = line(copies, "communication.bucket")
    assert buckets is not None
    assert buckets.bytes == 2 * copies.model.num_parameters
    assert line(views, "communication.bucket") is None is line(alone, "communication.bucket")
    assert copies.peaks.allocated_bytes > views.peaks.allocated_bytes
    assert copies.verdict == "does_not_fit"


def test_fsdp_keeps_whole_gradients_of_all_but_the_last_micro_batch() -> None:
    """FSDP1 by no_sync in every release of accelerate, FSDP2 from 1.11 on: a question does not say which."""
    flags: dict[str, Any] = {**FULL, "precision": "mixed-bf16", "grad_accum": 4}
    whole = 2 * train("llama-3.1-8b", "h100:8", sharding="fsdp1", **flags).model.num_parameters

    def gradients(sharding: str, **more: Any) -> Line:
        found = line(
            train("llama-3.1-8b", "h100:8", sharding=sharding, **{**flags, **more}), "gradients.trained"
        )
        assert found is not None
        return found

    assert gradients("fsdp1").bytes == whole
    second = gradients("fsdp2")
    assert second.bytes < 0.3 * whole < 0.9 * whole < second.high_bytes
    assert second.kind == "assumed"
    own = gradients("fsdp1", framework="fsdp")
    assert own.high_bytes == own.bytes < whole


def test_unsloth_runs_a_layer_with_its_adapters_in_place() -> None:
    """LoRA_MLP keeps its input, gate and up; PEFT's adapters keep an input each and make an output of their
    own."""
    flags: dict[str, Any] = {
        "method": "qlora",
        "lora_rank": 16,
        "lora_targets": ("all-linear",),
        "seq_len": 24576,
        "micro_batch": 1,
    }

    def running(framework: str) -> int:
        found = train("qwen2.5-72b", "a800", framework=framework, recompute="full", **flags)
        at = next(
            each
            for each in found.groups[0].phases
            if each.moment.startswith("in layer") and each.name == "backward"
        )
        return sum(part.bytes for part in at.parts if part.key == "activations.running")

    tokens, hidden, inner = 24576, 8192, 29568
    assert running("unsloth") < 2 * tokens * (4 * inner + 8 * hidden)
    assert running("unsloth") < 0.6 * running("llama-factory")


def test_what_the_allocator_holds_is_bounded_by_all_that_is_there() -> None:
    """Preference learning: the logits and the frozen forward leave less room than the update alone."""
    found = train(
        "llama-3.1-8b",
        "rtx-4090",
        framework="trl",
        method="qlora",
        task="dpo",
        lora_rank=16,
        lora_targets=("all-linear",),
        trained_ends=True,
        seq_len=1536,
        recompute="full",
    )
    assert found.ledger.total_bytes <= found.ledger.capacity_bytes
    assert found.verdict != "does_not_fit"


def test_sampled_tokens_have_their_log_probabilities_in_the_type_of_the_logits() -> None:
    """verl's logprobs_from_logits: no F32 copy of the logits."""
    flags: dict[str, Any] = {
        "framework": "fsdp",
        "sharding": "fsdp1",
        "precision": "mixed-bf16",
        "seq_len": 2048,
        "recompute": "full",
    }

    def logits(task: str) -> int:
        found = train("qwen2-7b", "h800:2", task=task, micro_batch=4, **flags)
        return max(
            part.bytes
            for phase in found.groups[0].phases
            for part in phase.parts
            if part.key == "logits.loss"
        )

    assert logits("grpo") < 0.6 * logits("pretrain")


def test_modules_of_transformers_have_the_spread_of_their_graphs() -> None:
    flags: dict[str, Any] = {"method": "lora", "seq_len": 2048, "recompute": "full"}
    for framework, spread in (("llama-factory", 0.1), ("peft", 0.1), ("litgpt", 0.32)):
        kept = line(train("qwen2-7b", "a100-80gb", framework=framework, **flags), "activations.kept")
        assert kept is not None
        assert (kept.high_bytes - kept.low_bytes) / kept.bytes == pytest.approx(spread, abs=0.001)


def test_routed_experts_leave_more_open_than_dense_modules() -> None:
    """Peaks of dense models are their graphs, that of Mixtral is 1.10 of its."""
    flags: dict[str, Any] = {"framework": "trl", "method": "lora", "seq_len": 2048, "recompute": "full"}
    for model, high in (("mistral-7b-v0.3", 1.05), ("mixtral-8x7b", 1.12)):
        kept = line(train(model, "b200", **flags), "activations.kept")
        assert kept is not None
        assert kept.high_bytes / kept.bytes == pytest.approx(high, abs=0.001)


def test_contexts_and_channels_are_as_wide_as_they_were_measured() -> None:
    """Kernels are loaded as they first run, so that no context has 1.3 GiB but in stacks of 2023; cards that
    no switch joins have few channels, where they only reduce the same weights' gradients."""
    ends = {}
    for framework, gpu, sharding in (
        ("transformers", "t4", None),
        ("transformers-2023", "a100-80gb", None),
        ("transformers", "rtx-3090:4", "ddp"),
        ("transformers", "rtx-3090:4", "fsdp2"),
        ("transformers", "a100-80gb:8", "ddp"),
    ):
        precision = "fp16" if gpu == "t4" else "bf16"
        asked = {**FULL, "framework": framework, "precision": precision, "sharding": sharding}
        found = train("qwen2.5-1.5b", gpu, **asked)
        of = {each.key: round(each.high_bytes / GIB, 2) for each in found.ledger.lines}
        ends[framework, gpu, sharding] = of["runtime.context"], of.get("communication.buffers")
    assert list(ends.values()) == [(0.8, None), (1.3, None), (0.8, 0.8), (0.8, 2.0), (0.8, 2.5)]
