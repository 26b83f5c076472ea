"""What decides whether training fits: what is allocated and cannot be given back, not what the allocator's
caches would take of a larger card."""

from pathlib import Path
from typing import Any

import pytest

from oomless.api.screen import widest_of
from oomless.api.training import train
from oomless.estimate.training.reserved import shares_of
from oomless.model.load import load
from oomless.recording.replay import replay
from oomless.run.training import TrainingResolved
from oomless.units import GIB

QLORA: dict[str, Any] = {"method": "qlora", "seq_len": 4096, "grad_accum": 16}


@pytest.mark.parametrize("framework", ["llama-factory", "trl", "peft", "axolotl"])
@pytest.mark.parametrize("task", ["pretrain", "sft"])
def test_qlora_of_7b_runs_on_a_4090(framework: str, task: str) -> None:
    """One answer, whether lengths vary or not: idle segments go back before anything fails."""
    recompute = "full"
    found = train(
        "deepseek-r1-distill-qwen-7b",
        "rtx-4090",
        framework=framework,
        task=task,
        recompute=recompute,
        **QLORA,
    )
    assert found.verdict == "fits"


FACTORY = """
model_name_or_path: deepseek-ai/DeepSeek-R1-Distill-Qwen-7B
stage: sft
finetuning_type: lora
quantization_bit: 4
lora_target: all
cutoff_len: 4096
per_device_train_batch_size: 1
gradient_accumulation_steps: 16
bf16: true
"""
AXOLOTL = """
base_model: deepseek-ai/DeepSeek-R1-Distill-Qwen-7B
adapter: qlora
load_in_4bit: true
lora_r: 8
lora_target_linear: true
sequence_len: 4096
micro_batch_size: 1
gradient_accumulation_steps: 16
optimizer: adamw_torch_fused
gradient_checkpointing: true
bf16: auto
"""


def test_qlora_of_7b_on_a_4090_by_four_spellings(tmp_path: Path) -> None:
    """Two commands and two files of one run give one answer, to the byte; the card holds it."""
    (tmp_path / "factory.yaml").write_text(FACTORY)
    (tmp_path / "axolotl.yaml").write_text(AXOLOTL)
    flags: dict[str, Any] = {**QLORA, "task": "sft"}
    model, gpu = "deepseek-r1-distill-qwen-7b", "rtx-4090"
    found = [
        train(model, gpu, framework="llama-factory", **flags),
        train(model, gpu, framework="axolotl", recompute="full", **flags),
        train(gpu=gpu, from_file=str(tmp_path / "factory.yaml")),
        train(gpu=gpu, from_file=str(tmp_path / "axolotl.yaml")),
    ]
    assert {each.verdict for each in found} == {"fits"}
    assert len({each.peaks for each in found}) == 1


def test_zero_3_of_33b_on_eight_cards_of_80_gb(tmp_path: Path) -> None:
    """DeepSeek-Coder-33B in full: a command and a DeepSpeed file give one answer, and it fits."""
    path = tmp_path / "ds.json"
    path.write_text('{"zero_optimization": {"stage": 3}, "bf16": {"enabled": true}}')
    flags: dict[str, Any] = {"recompute": "full", "seq_len": 2048}
    model, gpu = "deepseek-coder-33b", "a100-80gb:8"
    asked = train(model, gpu, framework="deepspeed", zero=3, **flags)
    read = train(model, gpu, from_file=str(path), optimizer="adam-fused", **flags)
    assert asked.verdict == read.verdict == "fits"
    assert asked.ledger.lines == read.ledger.lines


def test_reserved_memory_is_at_most_the_card() -> None:
    """The same run holds more caches on a larger card, and what is allocated is the same."""
    flags: dict[str, Any] = {"framework": "llama-factory", "task": "sft", "method": "lora", "seq_len": 4096}
    small, large = (train("qwen3-8b", gpu, micro_batch=4, **flags) for gpu in ("h100", "b300"))
    assert small.peaks.allocated_bytes == large.peaks.allocated_bytes
    assert small.peaks.reserved_bytes < large.peaks.reserved_bytes
    assert small.peaks.device_bytes <= small.ledger.capacity_bytes < large.peaks.device_bytes


def test_paged_moments_are_on_the_host() -> None:
    """Llama 8B in full on a 4090: torchtune's recipe, measured at 18.9 GB."""
    flags: dict[str, Any] = {
        "framework": "torchtune",
        "precision": "bf16",
        "optimizer": "paged-adamw-8bit",
        "optimizer_in_backward": True,
        "micro_batch": 1,
        "seq_len": 2048,
    }
    found = train("llama-3-8b", "rtx-4090", **flags)
    assert found.verdict == "fits"
    assert not any(line.key == "optimizer.moments" for line in found.ledger.lines)
    assert found.ram_bytes > 2 * found.model.num_parameters


def test_paged_moments_of_32_bits_have_no_scales() -> None:
    """Llama-2-70B in full on eight cards of 80 GB: torchtune issue 987 says about 51 GB a card, as its log
    counts them: what torch reserves."""
    flags: dict[str, Any] = {"framework": "torchtune", "sharding": "fsdp1", "precision": "bf16"}
    found = train("llama-2-70b", "a100-80gb:8", optimizer="paged-adamw", recompute="full", **flags)
    assert found.verdict == "fits"
    assert not any(line.category == "optimizer" for line in found.ledger.lines)
    assert 8 * found.model.num_parameters <= found.ram_bytes < 8.1 * found.model.num_parameters
    assert found.peaks.reserved_bytes == pytest.approx(51e9, rel=0.05)


def test_unsloth_takes_float16_on_a_t4() -> None:
    flags: dict[str, Any] = {"framework": "unsloth", "method": "qlora", "lora_rank": 32, "micro_batch": 2}
    assert train("qwen3-14b", "t4", seq_len=2048, **flags).request.precision == "fp16"
    assert train("qwen3-14b", "rtx-4090", seq_len=2048, **flags).request.precision == "bf16"


def test_a_pipeline_has_a_micro_batch_for_each_stage() -> None:
    flags: dict[str, Any] = {"framework": "megatron-lm", "tp": 4, "pp": 8, "sequence_parallel": True}
    silent = train("llama-3.1-70b", "h100:8x8", **flags)
    said = train("llama-3.1-70b", "h100:8x8", grad_accum=8, **flags)
    assert silent.ledger == said.ledger
    assert any("8 micro-batches" in note for note in silent.warnings)
    assert not any("micro-batches of a step" in note for note in said.warnings)
    assert silent.headroom_bytes < 60 * GIB


def test_a_peak_in_the_step_is_as_narrow_as_its_sources() -> None:
    """What a DeepSpeed step makes was counted to the value: a peak there has no spread of graphs below it,
    and above it as much as another moment may hold."""
    found = train(
        "llama-3-8b", "rtx-3090:8", framework="llama-factory", zero=3, seq_len=1024, framework_version="4.46"
    )
    peak = found.peaks
    assert (peak.phase, peak.moment) == ("optimizer", "in the step")
    lines = [line for line in found.ledger.lines if line.category not in ("runtime", "communication")]
    (stepped,) = [line for line in lines if line.key == "temporaries.optimizer_step"]
    assert stepped.low_bytes == stepped.bytes == stepped.high_bytes
    phases = found.groups[0].phases
    others = max(phase.total_bytes for phase in phases if phase.name != "optimizer")
    assert others < max(phase.total_bytes for phase in phases)
    assert sum(line.high_bytes for line in found.ledger.lines) > found.ledger.capacity_bytes


def test_the_least_of_every_moment_is_below_the_peak() -> None:
    """The loss has the fullest moment and a spread; the step beside it is exact and hardly less full."""
    asked: dict[str, Any] = {"framework": "llama-factory", "zero": 3, "framework_version": "4.46"}
    for length in range(1024, 6144, 512):
        found = train("llama-3-8b", "rtx-3090:8", seq_len=length, **asked)
        stepped = next(phase for phase in found.groups[0].phases if phase.name == "optimizer")
        always = [line for line in found.ledger.lines if line.category in ("weights", "optimizer")]
        least = stepped.total_bytes + sum(line.bytes for line in always)
        assert sum(line.low_bytes for line in found.ledger.lines) >= least, length


def test_what_is_longer_than_the_model_says_so() -> None:
    words = "longer than the 16,384 positions"
    for length, there in ((16384, False), (32768, True)):
        found = train("deepseek-coder-1.3b", "h100", seq_len=length, recompute="full")
        assert any(words in warning for warning in found.warnings) == there


@pytest.mark.parametrize("framework", ["transformers", "peft"])
def test_who_prepares_a_packed_model_has_it_recomputed(framework: str) -> None:
    """peft's prepare_model_for_kbit_training switches recomputation on: F32 norms under which layers keep
    everything are nobody's run, unless somebody says so."""
    flags: dict[str, Any] = {"framework": framework, "method": "qlora", "seq_len": 2048}
    silent, said = (
        train("qwen2.5-7b", "rtx-4090", recompute=recompute, **flags) for recompute in (None, "none")
    )
    assert silent.peaks.allocated_bytes == said.peaks.allocated_bytes
    wide = [line.high_bytes for line in said.ledger.lines if line.key == "activations.norms"]
    assert wide
    assert not any(line.key == "activations.norms" for line in silent.ledger.lines)


def test_a_line_that_may_be_there_takes_room_from_the_caches() -> None:
    """Idle segments go back before F32 norms fail: the upper end is the card's, not more."""
    flags: dict[str, Any] = {"framework": "peft", "method": "qlora", "recompute": "full", "task": "sft"}
    found = train("qwen2.5-7b", "rtx-4090", seq_len=4096, **flags)
    assert any(line.key == "activations.norms" for line in found.ledger.lines)
    assert found.verdict == "fits"
    assert sum(line.high_bytes for line in found.ledger.lines) <= found.ledger.capacity_bytes


@pytest.mark.parametrize(
    ("verdict", "flags"),
    [
        ("does_not_fit", {"framework": "transformers"}),
        ("does_not_fit", {"framework": "axolotl"}),
        ("fits", {"framework": "transformers", "seq_len": 2048}),
        ("fits", {"framework": "transformers", "recompute": "full"}),
        ("fits", {"framework": "peft", "recompute": "full", "task": "sft"}),
        ("fits", {"framework": "peft", "recompute": "full", "task": "sft", "seq_len": 2048}),
        ("fits", {"framework": "llama-factory", "task": "sft"}),
        ("fits", {"framework": "trl"}),
        ("fits", {"framework": "unsloth"}),
    ],
)
def test_qlora_of_qwen_7b_on_a_4090_has_a_firm_answer(verdict: str, flags: dict[str, Any]) -> None:
    """It was tight by half a card: F32 norms of a model that nobody prepares so, and blocks that an allocator
    gets back."""
    assert train("qwen2.5-7b-instruct", "rtx-4090", method="qlora", **flags).verdict == verdict


def test_16b_of_torchtitan_holds_what_was_logged_without_expert_parallelism() -> None:
    """8 x 4,096 tokens on eight H100: almost 96 % of a card while EP is 1, out of memory while it is 8; half
    of that runs with EP 8 (torchtitan issues 1789 and 1792)."""
    asked: dict[str, Any] = {"framework": "torchtitan", "recompute": "selective", "seq_len": 4096}
    asked |= {"recompute_modules": ("ops",), "loss": "compiled", "expandable_segments": True}
    alone = train("deepseek-v2-lite", "h100:8", ep=1, micro_batch=8, **asked)
    lines, capacity = alone.ledger.lines, alone.ledger.capacity_bytes
    assert sum(line.low_bytes for line in lines) < 0.96 * capacity < sum(line.high_bytes for line in lines)
    assert alone.verdict != "does_not_fit"
    assert train("deepseek-v2-lite", "h100:8", ep=8, micro_batch=8, **asked).verdict == "does_not_fit"
    assert train("deepseek-v2-lite", "h100:8", ep=8, micro_batch=4, **asked).verdict == "fits"


def test_idle_segments_of_another_stream_go_back() -> None:
    """What FSDP's stream of gathers holds at other moments than the peak is reserved, and decides nothing:
    the allocator gives idle segments of every stream back before it fails."""
    gathered, activations = 40 << 20, 90 << 20
    events, sizes = [0, ~0, 1], [gathered, activations]
    assert replay(events, sizes, streams={0: 1}).peak_reserved == gathered + activations
    assert replay(events, sizes, capacity=activations, streams={0: 1}).failure is None
    found = train("llama-3-8b", "h100:8", framework="trl", method="lora", sharding="fsdp1", seq_len=4096)
    group = found.estimate.groups[0]
    assert group.apart_bytes > 0
    assert group.kept.high == pytest.approx(0.26 * group.passing_bytes, abs=1)


@pytest.mark.parametrize("seq_len", [8192, 65536])
def test_zero_3_holds_a_share_and_the_segments_of_its_pools(seq_len: int) -> None:
    """bench/varied_lengths.py: nine of ten draws and fixed lengths, of 5 GiB that come and go as of 58."""
    flags: dict[str, Any] = {"method": "full", "sharding": "zero3", "recompute": "full", "packed": True}
    group = train("yi-34b", "a100-80gb:32", framework="deepspeed", seq_len=seq_len, **flags).estimate.groups[
        0
    ]
    assert group.kept.high == pytest.approx(0.2 * group.passing_bytes + 1.6 * GIB, rel=0.02)


def test_a_step_on_the_host_leaves_less_behind_than_one_on_the_card() -> None:
    """ZeRO-2 of a 34B model with its optimizer on the host: what comes and goes of the layers alone, whose
    segments the allocator gets back but for a fifth and 0.8 GiB."""
    flags: dict[str, Any] = {"framework": "deepspeed", "sharding": "zero2", "recompute": "full"}
    away, then = (
        train("yi-34b", "a100-80gb:4", offload="optimizer", framework_version=f"deepspeed {each}", **flags)
        for each in ("0.17.0", "0.16.0")
    )
    group = away.estimate.groups[0]
    assert group.kept.high == pytest.approx(0.2 * group.passing_bytes + 0.8 * GIB, abs=1)
    assert then.estimate.groups[0].kept.high > 1.3 * group.kept.high


def test_no_allocator_gave_less_back_than_the_runs_with_adapters() -> None:
    """OPT-1.3B with adapters of rank 128, nothing recomputed: of what comes and goes no recorded run got more
    than 98 % back, and with that it passes a card of 40 GB."""
    found = train(
        "opt-1.3b",
        "a100-40gb",
        framework="deepspeed",
        method="lora",
        lora_targets="all-linear",
        lora_rank=128,
        precision="deepspeed-fp16",
        seq_len=512,
        attention="eager",
        sharding="none",
        micro_batch=16,
        train_ends=True,
    )
    held = next(each for each in found.ledger.lines if each.key == "fragmentation.reserved")
    assert held.low_bytes == pytest.approx(0.02 * found.estimate.groups[0].passing_bytes, abs=1)
    assert found.verdict == "does_not_fit"


@pytest.mark.parametrize(("cards", "named"), [("32GiB:8", "logits and loss"), ("h100:8", "")])
def test_what_makes_a_tight_answer_wide_is_named(cards: str, named: str) -> None:
    """A tight answer wider than a fifth of the card names its widest line."""
    flags: dict[str, Any] = {"method": "lora", "sharding": "zero3", "seq_len": 8192}
    found = train("deepseek-r1-distill-qwen-14b", cards, framework="llama-factory", **flags)
    assert widest_of(found.ledger).startswith(f"most of the doubt: {named} (") is bool(named)
    assert bool(named) == ("most of the doubt" in repr(found))


@pytest.mark.parametrize(
    ("name", "asked", "share"),
    [
        ("qwen2.5-7b", {"offload": ("optimizer",)}, 1.12),
        ("qwen2.5-vl-7b", {"offload": ("optimizer",)}, 1.6),
        ("qwen2.5-7b", {"method": "lora"}, 1.6),
    ],
)
def test_zero_3_in_full_has_the_spread_of_graphs_wherever_it_steps(
    name: str, asked: dict[str, Any], share: float
) -> None:
    request = TrainingResolved(framework="trl", sharding="zero3")._replace(**asked)
    assert shares_of(request, load(name)).graphs.high == share
