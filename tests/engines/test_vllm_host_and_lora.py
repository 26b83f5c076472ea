"""vLLM's weights on the host and slots for adapters: sums that must hold, and numbers that others publish."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import oomless
from oomless.errors import OomlessError
from oomless.model.load import load
from oomless.truth.validate import predict
from oomless.units import GIB


def weights(found: oomless.ServingAnswer, key: str = "") -> int:
    lines = [line for ledger in found.ledgers for line in ledger.lines if line.category == "weights"]
    return sum(line.bytes for line in lines if key in ("", line.key))


@given(offload=st.floats(0, 40), tp=st.sampled_from([1, 2]), pp=st.sampled_from([1, 3]))
def test_what_leaves_the_card_is_what_was_asked_for(offload: float, tp: int, pp: int) -> None:
    """To the tensor that crosses the limit, which is the largest at most."""
    model = load("deepseek-v2-lite")
    whole, part = (
        oomless.infer(model, "h100:8", tp=tp, pp=pp, max_model_len=4096, cpu_offload_gb=gib)
        for gib in (0.0, offload)
    )
    for before, after in zip(whole.ledgers, part.ledgers, strict=True):
        held, left = (
            sum(line.bytes for line in ledger.lines if line.category == "weights")
            for ledger in (before, after)
        )
        largest = 64 * 2 * 1408 * 2048 * 2 // tp
        ends = 102400 * 2048 * 2 // tp
        assert held - left <= offload * GIB + largest
        assert held - left >= min(int(offload * GIB), held - 2 * ends - 200 * 2**20)


def test_a_card_too_small_holds_a_model_whose_layers_stay_on_the_host() -> None:
    flags: dict[str, Any] = {"max_model_len": 8192, "max_num_batched_tokens": 2048}
    assert oomless.infer("deepseek-v2-lite", "rtx-4090", **flags).verdict == "does_not_fit"
    found = oomless.infer("deepseek-v2-lite", "rtx-4090", cpu_offload_gb=14.0, **flags)
    assert found.verdict == "fits"
    assert 14 * GIB <= found.ram_bytes <= 15 * GIB


@pytest.mark.parametrize(
    ("model", "last", "first"),
    [
        ("qwen2.5-32b", "0.5.3.post1", "0.5.4"),
        ("gemma-2-9b", "0.6.2", "0.6.3"),
        ("glm-4-9b-chat", "0.6.3.post1", "0.6.4"),
    ],
)
def test_layers_that_a_release_builds_itself_all_stay_on_the_card(model: str, last: str, first: str) -> None:
    """A 12 GB card was said to hold GLM-4-9B with --cpu-offload-gb 12 on 0.6.3, where it ran out of memory
    (vllm#9339)."""
    flags: dict[str, Any] = {"max_model_len": 2048, "swap_space": 0.0}
    before, after, without = (
        oomless.infer(model, "h100", engine_version=release, cpu_offload_gb=gib, **flags)
        for release, gib in ((last, 8.0), (first, 8.0), (last, 0.0))
    )
    assert before.ram_bytes == 0
    assert after.ram_bytes == 8 * GIB
    assert [any("--cpu-offload-gb does" in note for note in each.warnings) for each in (before, after)] == [
        True,
        False,
    ]
    assert weights(before) == weights(without) >= weights(after) + 7.9 * GIB


def test_v0_sets_swap_space_aside() -> None:
    found = oomless.infer("deepseek-v2-lite", "h100:2", tp=2, engine_version="0.7.2", max_model_len=8192)
    assert found.ram_bytes == 2 * 4 * GIB
    assert (
        oomless.infer(
            "deepseek-v2-lite", "h100:2", tp=2, engine_version="0.7.2", max_model_len=8192, swap_space=0.0
        ).ram_bytes
        == 0
    )


@pytest.mark.parametrize(
    ("name", "trainable"),
    [
        ("deepseek-r1-distill-qwen-7b", 40_370_176),
        ("deepseek-r1-distill-qwen-14b", 68_812_800),
        ("qwen2.5-0.5b", 8_798_208),
    ],
)
def test_a_slot_holds_what_peft_counts_for_all_linear_layers(name: str, trainable: int) -> None:
    """peft prints these for rank 16 on q, k, v, o, gate, up and down."""
    slots = weights(oomless.infer(name, "h200", max_model_len=4096, enable_lora=True), "weights.adapters")
    assert slots == trainable * 2


def test_slots_grow_with_adapters_and_ranks() -> None:
    one, many = (
        weights(
            oomless.infer(
                "deepseek-v2-lite",
                "h100:2",
                tp=2,
                max_model_len=4096,
                enable_lora=True,
                max_loras=num,
                max_lora_rank=rank,
            ),
            "weights.adapters",
        )
        for num, rank in ((1, 16), (4, 64))
    )
    assert many == 16 * one
    cut = oomless.infer(
        "deepseek-v2-lite", "h100:2", tp=2, max_model_len=4096, enable_lora=True, fully_sharded_loras=True
    )
    assert weights(cut, "weights.adapters") < one


def test_room_is_made_for_the_images_that_prompts_may_have() -> None:
    def activations(**flags: Any) -> int:
        """In a release that compiles without copies of the table, which a text alone would read."""
        found = oomless.infer("gemma-3-27b", "h200", max_model_len=8192, engine_version="0.11.0", **flags)
        return sum(line.bytes for line in found.ledger.lines if line.category == "activations")

    none, one, two, many = (
        activations(max_num_seqs=1, limit_mm_per_prompt=text)
        for text in ("image=0", "image=1", '{"image": 2}', "image=999")
    )
    assert none < one < two < many
    assert two - one == one - none
    assert activations() == activations(limit_mm_per_prompt="image=999")


@pytest.mark.parametrize("model", ["deepseek-ocr", "deepseek-vl2", "deepseek-v4.1-flash"])
def test_a_tower_that_is_not_walked_is_counted_and_said(model: str) -> None:
    """Its weights are there, so that it reads no images would be untrue."""
    notes = oomless.infer(model, "h200:8", max_model_len=4096, limit_mm_per_prompt="image=1").warnings
    assert [note for note in notes if note.startswith(f"images of {model} are not estimated")]
    assert not [note for note in notes if "reads no images" in note]


ROW = {
    **dict.fromkeys(("source", "date", "ep"), ""),
    "batch_or_parallel": "max_num_seqs 320; max_num_batched_tokens 512",
    **{
        "engine": "vLLM",
        "engine_version": "0.8.5 (V0)",
        "model": "microsoft/phi-4",
        "quant": "bnb int4",
        "kv_dtype": "bfloat16",
    },
    **{
        "tp": "1",
        "pp": "1",
        "dp": "1",
        "context_len": "512",
        "gpu": "A100-80GB (79.15 GiB)",
        "gpu_mem_util": "0.7",
    },
}
"""phi-4 in a public notebook: 8.6253 GiB with slots for adapters, 1.16 GiB of activations, 45.21 GiB for the
cache; Unsloth's arguments have 320 sequences (datawhalechina/self-llm models/phi4/06-Phi-4-GRPO)."""


@pytest.mark.parametrize(
    ("quantity", "measured", "error"),
    [("weights_per_gpu", 8.6253, 0.002), ("activation_peak", 1.16, 0.01), ("kv_bytes_per_gpu", 45.21, 0.02)],
)
def test_a_row_with_adapters_is_read_with_the_default_rank_and_up_to_a_large_one(
    quantity: str, measured: float, error: float
) -> None:
    value, low, high = (
        each / GIB for each in predict("serving", {**ROW, "other_flags": "LoRA"}, quantity, "GiB")
    )
    assert abs(value - measured) <= error * measured
    assert low <= measured <= high
    said = [
        predict("serving", {**ROW, "other_flags": f"LoRA, max-lora-rank {rank}"}, quantity, "GiB")[0] / GIB
        for rank in (16, 64)
    ]
    assert said[0] == value
    assert (said[1] == value) == (quantity == "activation_peak")
    assert low <= said[1] <= high


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"cpu_offload_gb": -1.0}, "--cpu-offload-gb is -1.0"),
        ({"max_loras": 0, "enable_lora": True}, "--max-loras is 0"),
        ({"max_lora_rank": 10**9}, "--max-lora-rank"),
        ({"engine": "sglang", "cpu_offload_gb": 2.0}, "sglang has no --cpu-offload-gb"),
        ({"swap_space": float("nan")}, "--swap-space is nan"),
        ({"limit_mm_per_prompt": "4"}, "--limit-mm-per-prompt is '4'"),
        ({"limit_mm_per_prompt": "[" * 10**5}, "--limit-mm-per-prompt is '[[["),
        ({"limit_mm_per_prompt": "image=-1"}, "is -1"),
    ],
)
def test_what_cannot_be_is_named(flags: dict[str, Any], says: str) -> None:
    with pytest.raises(OomlessError) as error:
        oomless.infer("deepseek-v2-lite", "h100", **flags)
    assert says in str(error.value)


def test_ascend_has_the_slots_and_the_swap_space_of_vllm() -> None:
    """vllm_ascend/lora/utils.py adds classes for experts alone; its flags are vLLM's own parser's."""
    slots = []
    for card, engine in (("ascend-910b", "vllm-ascend"), ("h100", "vllm")):
        asked: dict[str, Any] = {"engine": engine, "max_model_len": 8192, "swap_space": 16.0}
        bare, adapted = (oomless.infer("qwen3-8b", card, enable_lora=on, **asked) for on in (False, True))
        slots.append(weights(adapted) - weights(bare))
    assert slots[0] == slots[1] > 0


@pytest.mark.parametrize(("release", "ends"), [("0.10.2", False), ("0.15.1", False), ("0.19.0", True)])
def test_qwen3_has_slots_beside_its_ends_in_later_releases(release: str, ends: bool) -> None:
    """Qwen3-8B in FP8 with a slot of rank 32 is 8.9638 GiB on 0.10.2 (unslothai/notebooks), 0.02 less than
    with slots at its embedding and head."""
    asked: dict[str, Any] = {"engine_version": release, "max_lora_rank": 32, "max_model_len": 2048}
    found = oomless.infer("qwen3-8b-fp8", "l4", enable_lora=True, **asked)
    [line] = [line for line in found.ledger.lines if line.key == "weights.adapters"]
    assert ("embed_tokens" in line.formula) == ends
