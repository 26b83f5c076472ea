"""What FSDP2 has whole where embedding and head are units of their own, and what its allocator reserves for
streams apart."""

from typing import Any

from oomless.api.training import train
from oomless.api.training_answer import TrainingAnswer
from oomless.estimate.training.phases import PhasePart, StepPhase
from oomless.estimate.training.reserved import streams_apart
from oomless.run.training import TrainingResolved
from oomless.units import MIB

LAYER = 2 * 218_112_000
"""Bytes of a layer of Llama 3 8B in bfloat16."""
END = 2 * 128256 * 4096
NORM = 2 * 4096


def gathered(framework: str, version: str | None, moment: str) -> int:
    """What is gathered at a moment of the backward."""
    asked: dict[str, Any] = {
        "seq_len": 8192,
        "sharding": "fsdp2",
        "precision": "mixed-bf16",
        "recompute": "full",
    }
    found = train("llama-3-8b", "h100:8", framework=framework, framework_version=version, **asked)
    (phase,) = (each for each in found.groups[0].phases if (each.name, each.moment) == ("backward", moment))
    return sum(part.bytes for part in phase.parts if part.key == "communication.gathered")


def test_ends_come_and_go_in_torchtitan_since_july_2025() -> None:
    for newer in (None, "2025-08-01", "0.2.0"):
        assert gathered("torchtitan", newer, "in the loss") == LAYER + END + NORM
        assert gathered("torchtitan", newer, "in the embedding") == END + 3 * END
    for older in ("torchtitan 2025-03-01", "0.1.0", "torchtitan 2024-12, 9dec370"):
        assert gathered("torchtitan", older, "in the loss") == 2 * LAYER + 2 * END + NORM
    assert gathered("xtuner", None, "in the loss") == LAYER + END + NORM


def test_one_tensor_that_is_both_ends_stays_in_the_root() -> None:
    asked: dict[str, Any] = {
        "seq_len": 2048,
        "sharding": "fsdp2",
        "precision": "mixed-bf16",
        "recompute": "full",
    }

    def in_loss(found: TrainingAnswer) -> int:
        (phase,) = (
            each for each in found.groups[0].phases if (each.name, each.moment) == ("forward", "in layer 27")
        )
        return sum(part.bytes for part in phase.parts if part.key == "communication.gathered")

    assert in_loss(train("llama-3.2-3b", "h100:8", framework="torchtitan", **asked)) > 2 * 128256 * 3072


def test_shards_of_gradients_reuse_nothing_that_the_computation_left() -> None:
    """They are made on the stream that reduces them (torch: fsdp/_fully_shard/_fsdp_collectives.py,
    foreach_reduce: reduce_output)."""
    loss = StepPhase("backward", "in the loss", (PhasePart("logits.loss", "", 10 * MIB, ""),))
    end = StepPhase("optimizer", "in the step", (PhasePart("gradients.trained", "", 6 * MIB, ""),))
    for sharding, apart in (("fsdp2", 6 * MIB), ("fsdp1", 6 * MIB), ("ddp", 0)):
        asked = TrainingResolved(framework="torchtitan", sharding=sharding)  # type: ignore[arg-type]
        assert streams_apart(asked, (loss, end), loss) == apart


def test_reserved_memory_may_take_what_buffers_leave_at_their_least() -> None:
    """Lengths that vary would take more than the card has."""
    asked: dict[str, Any] = {
        "method": "qlora",
        "task": "sft",
        "seq_len": 2048,
        "micro_batch": 5,
        "recompute": "full",
    }
    (group,) = train("llama-3.1-8b", "rtx-4090:2", framework="trl", sharding="ddp", **asked).groups
    outside = ("runtime.context", "communication.buffers")
    least = sum(line.low_bytes for line in group.ledger.lines if line.key in outside)
    assert group.peaks.reserved_most == group.ledger.capacity_bytes - least > group.peaks.reserved_bytes


def test_frozen_weights_in_a_flat_parameter_with_adapters_have_gradients() -> None:
    """Two ranks of torch 2.13 on a CPU: a unit of 65,536 frozen and 2,048 trained values had gradients of
    67,584. litgpt wraps blocks alone; PEFT's policy puts adapters into units of their own."""

    def graded(framework: str, sharding: str, method: str = "lora") -> int:
        asked: dict[str, Any] = {
            "seq_len": 1304,
            "micro_batch": 1,
            "recompute": "full",
            "lora_targets": ("q_proj",),
        }
        found = train(
            "llama-2-7b", "a100-40gb:2", framework=framework, sharding=sharding, method=method, **asked
        )
        return found.groups[0].states.graded_values

    adapters = 32 * 8 * (4096 + 4096)
    layers = 32 * (4 * 4096**2 + 3 * 4096 * 11008 + 2 * 4096)
    assert graded("litgpt", "fsdp1") == layers + adapters
    assert graded("peft", "fsdp1") == graded("litgpt", "fsdp2") == graded("litgpt", "ddp") == adapters


def test_gradients_that_fsdp1_scatters_in_the_end_are_whole_in_the_embedding() -> None:
    """Gemma 2B in full on four cards: 17.43 GB were allocated (litgpt, config_hub), 14.88 estimated."""
    asked: dict[str, Any] = {
        "precision": "bf16",
        "sharding": "fsdp1",
        "recompute": "full",
        "seq_len": 512,
        "loss": "plain",
    }

    def whole(grad_accum: int) -> int:
        found = train("gemma-2b", "a10g:4", framework="litgpt", grad_accum=grad_accum, **asked)
        (phase,) = (each for each in found.groups[0].phases if each.moment == "in the embedding")
        return sum(part.bytes for part in phase.parts if part.key == "gradients.trained")

    assert whole(4) == 4 * whole(1) == 2 * (2_506_172_416 + 256_000 * 2048)


def test_experts_that_no_ranks_share_are_no_units_of_automodel() -> None:
    """nemo_automodel/components/moe/parallelizer.py: ignored_params. Under a pipeline a stage keeps whole
    what its units gather; of Hy3 on 64 cards that was 41.84 GiB with the states (its pull request 2546)."""
    asked: dict[str, Any] = {"sharding": "fsdp2", "seq_len": 256, "recompute": "full", "global_batch": 256}

    def whole(pp: int) -> float:
        found = train("hy3-preview", "h100:8x8", framework="automodel", pp=pp, ep=8, **asked).groups[0]
        parts = (part for phase in found.phases for part in phase.parts)
        return max(part.bytes for part in parts if part.key == "communication.gathered") / 2**30

    assert whole(8) < 10 < 50 < whole(4)  # four stages: two ranks share each expert


def test_frozen_layers_stayed_whole_in_fsdp1_before_torch_2_1() -> None:
    """llama-cookbook#37: LoRA of 13B ran out of 24 GB in its backward, 6 GB a card behind the forward."""
    asked: dict[str, Any] = {"method": "lora", "sharding": "fsdp1", "precision": "bf16", "seq_len": 2048}
    older, newer = (
        train("llama-2-13b", "a10g:8", framework="llama-recipes", framework_version=f"torch {each}", **asked)
        for each in ("2.0.1", "2.1")
    )
    assert [older.verdict, newer.verdict] == ["does_not_fit", "fits"]
    (forward,) = (
        each for each in older.groups[0].phases if (each.name, each.moment) == ("forward", "in layer 39")
    )
    assert sum(part.bytes for part in forward.parts) < 6.5e9
    whole = sum(part.bytes for part in last_layer(older).parts if part.key == "communication.gathered")
    assert whole == 2 * 13_015_864_320 + 4 * 6_553_600


def last_layer(answer: TrainingAnswer) -> StepPhase:
    """The backward in the first layer, which comes last."""
    (found,) = (
        each for each in answer.groups[0].phases if (each.name, each.moment) == ("backward", "in layer 0")
    )
    return found
