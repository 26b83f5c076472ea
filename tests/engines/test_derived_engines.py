"""An engine that is derived from another has all of its record but what its entry says."""

from typing import Any

import pytest

import oomless
from oomless import UnsupportedError
from oomless.engines import engine
from oomless.facts.derived_engines import DERIVED

OWN = {"name", "label", "cards", "rows", "log_signs"}
"""What an entry of facts/derived_engines.py says."""


@pytest.mark.parametrize("name", [each.name for each in DERIVED.values() if not each.module])
def test_an_entry_alone_is_a_whole_engine(name: str) -> None:
    row = DERIVED[name]
    found, parent = engine(name), engine(row.of)
    differs = {field for field, one, other in zip(parent._fields, found, parent, strict=True) if one != other}
    assert differs <= OWN
    assert (found.name, found.label, found.rows.words) == (name, row.label, (row.label,))


@pytest.mark.parametrize("name", DERIVED)
def test_a_derived_engine_has_the_flags_and_the_log_of_its_parent(name: str) -> None:
    row = DERIVED[name]
    assert engine(name).log.partition(".")[0] == engine(row.of).log.partition(".")[0]
    assert not row.makers or engine(name).cards.only == row.makers


def on_ascend(model: str, version: str, **asked: Any) -> oomless.ServingAnswer:
    usual = {"gpu": "ascend-910b:8", "tp": 8, "quantization": "w8a8", "max_model_len": 133_120}
    return oomless.infer(model, engine="vllm-ascend", engine_version=version, **{**usual, **asked})


@pytest.mark.parametrize("version", ["0.18.0", "0.23.0", "0.33.0"])
def test_v4_on_ascend_is_paged_by_rules_of_its_own(version: str) -> None:
    """Its blocks of 128 were refused as too small for vLLM's pages; it is served
    (vllm-ascend#8699)."""
    found = on_ascend("deepseek-v4-flash", version, gpu_memory_utilization=0.9).kv_cache
    assert found.bytes_per_token == pytest.approx(21 * (1024 + 130) / 4 + 20 * 1024 / 128)
    assert found.needed_bytes % (22 * (131_072 + 16_640)) == 0


def test_tables_of_n_grams_stay_on_ascend() -> None:
    """Offloading them is awaited (vllm-ascend#16886)."""
    cards = {"gpu": "ascend-910b:8x4", "dp": 4, "enable_expert_parallel": True}
    assert on_ascend("deepseek-v4.1-flash", "0.33.0", **cards).request.engram == "gpu"


def test_v4_on_ascend_begins_with_0_18() -> None:
    with pytest.raises(UnsupportedError, match=r"vllm-ascend before 0\.18 cannot serve deepseek-v4-flash"):
        on_ascend("deepseek-v4-flash", "0.17.0")


def test_a_prompt_that_begins_had_a_mask_of_all_its_tokens() -> None:
    """Qwen3-8B with --max-num-batched-tokens 65536 (vllm-ascend#5139): 65,536 x 65,536 x 2 B."""
    flags: dict[str, Any] = {"gpu": "ascend-910b:2", "tp": 2, "max_num_batched_tokens": 65536}
    flags |= {"hf_overrides": '{"max_position_embeddings": 131072}', "max_model_len": 131072}
    old, new = (on_ascend("qwen3-8b", version, **flags) for version in ("0.11.0", "0.12.0"))
    assert (old.verdict, new.verdict) == ("does_not_fit", "fits")


def charged_to_talk(version: str, gpu: str, **asked: Any) -> tuple[int, int]:
    """Return the most that groups of ranks take within the budget, and beside it."""
    lines = on_ascend("qwen3-30b-a3b-2507", version, gpu=gpu, quantization=None, **asked).ledgers[0].lines
    keys = "runtime.non_torch", "communication.buffers"
    within, beside = (sum(line.high_bytes for line in lines if line.key == key) for key in keys)
    return within, beside


def test_experts_on_ascend_talk_by_themselves_with_expert_parallelism_alone() -> None:
    """vllm_ascend/ascend_forward_context.py, select_moe_comm_method: an A2 of eight NPUs never does."""
    least = charged_to_talk("0.14.0", "ascend-910b:8", enable_expert_parallel=True)
    assert least == charged_to_talk("0.14.0", "ascend-910c:8")
    assert least[0] < charged_to_talk("0.14.0", "ascend-910c:8", enable_expert_parallel=True)[0]
    two = charged_to_talk("0.14.0", "ascend-910b:8x2", dp=2, enable_expert_parallel=True)
    assert least[0] < two[0]


def test_the_profile_run_on_ascend_tries_what_experts_talk_by_from_0_11_on() -> None:
    assert charged_to_talk("0.10.1", "ascend-910b:8")[1] > 0
    assert charged_to_talk("0.11.0", "ascend-910c:8", enable_expert_parallel=True)[1] == 0


def test_0_9_1_on_ascend_reads_prompts_whole() -> None:
    """vllm_ascend/platform.py: models without latents that see nothing; a candidate of 0.11 too, which ran
    out of the mask of 90k tokens (vllm-ascend#3357)."""
    for version, tokens in (("0.9.1", 133_120), ("0.10.2", 133_120), ("0.10.1", 2048), ("0.12.0", 2048)):
        found = on_ascend("qwen3-30b-a3b-2507", version, quantization=None)
        assert found.request.max_num_batched_tokens == tokens
    lines = on_ascend("qwen3-30b-a3b-2507", "0.11.0", quantization=None, context=90_000).ledgers[0].lines
    (mask,) = (line for line in lines if line.key == "temporaries.running")
    assert (mask.bytes, mask.high_bytes) == (2048**2 * 2, 90_000**2 * 2)


def test_the_first_engine_on_ascend_holds_more_than_its_budget() -> None:
    """vllm-ascend#89: a 7B ran on one card at 0.9 and ran out at 0.95; beyond the budget it held 8.4 GiB."""
    alone = {"gpu": "ascend-910b", "tp": 1, "quantization": None, "max_model_len": 4096}
    found = [
        on_ascend("qwen2.5-math-7b", version, gpu_memory_utilization=share, **alone).verdict
        for version, share in (("0.7.1", 0.9), ("0.7.1", 0.95), ("0.9.1", 0.95))
    ]
    assert found == ["fits", "tight", "fits"]


@pytest.mark.parametrize(
    ("version", "asked", "verdict"),
    [
        ("0.25.0", {}, "tight"),  # it did not start; what is copied at once is not known
        ("0.25.0", {"enforce_eager": True}, "fits"),
        ("0.25.0", {"max_model_len": 8192, "max_num_seqs": 32}, "fits"),
        ("0.25.0 (not warmed)", {}, "fits"),
        ("0.20.0", {}, "fits"),
        ("0.27.0", {}, "fits"),
    ],
)
def test_gaudi_tries_a_step_that_no_pool_holds(version: str, asked: dict[str, Any], verdict: str) -> None:
    """320 blocks for each of 256 sequences, of 7,593 in the pool (vllm-gaudi#1700): it was said to fit."""
    found = oomless.infer("qwen3-0.6b", engine="vllm-hpu", engine_version=version, gpu="gaudi-3", **asked)
    assert (found.verdict, found.request.max_num_seqs) == (verdict, asked.get("max_num_seqs", 256))
