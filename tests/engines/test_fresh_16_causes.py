"""What the pages of other engines taught (tests/tables/verdicts_blind_16.csv): each cause by itself."""

import pytest

from oomless.api.serving import infer
from oomless.errors import UnsupportedError
from oomless.ledger import Line
from oomless.model.config import Config
from oomless.model.families.rope_and_storage import read_dtype
from oomless.units import GIB


def line(model: str, gpu: str, what: str, **flags: object) -> Line | None:
    found = infer(model, gpu, **flags)  # type: ignore[arg-type]  # flags of mixed types, by name
    lines = (*found.ledger.lines, *found.estimate.ranks[found.worst_rank].passing)
    return next((each for each in lines if each.what == what), None)


@pytest.mark.parametrize(
    ("model", "version", "gib"),
    [
        ("qwen3-30b-a3b-instruct-2507-fp8", "0.5.15", 65),
        ("gemma-3-27b", "0.5.9", 16.25),
        ("gemma-3-27b", "0.5.15", 0),
    ],
)
def test_aiter_keeps_the_parts_of_each_sequence_that_may_run(model: str, version: str, gib: float) -> None:
    """A MI355X has 60.65 GB left for the first beside its pool, and runs out (sglang#18263)."""
    length = 262144 if "qwen" in model else 131072
    parts = line(
        model,
        "mi355x",
        "results of parts of sequences",
        engine="sglang",
        engine_version=version,
        max_model_len=length,
    )
    assert (parts.bytes if parts else 0) / GIB == gib


@pytest.mark.parametrize(
    ("version", "gib"), [("0.4.7", 79.4), ("0.4.8", 155.6), ("0.5.3", 155.6), ("0.5.4", 79.4)]
)
def test_the_class_of_whole_experts_held_them_twice(version: str, gib: float) -> None:
    found = infer("deepseek-r1", "mi300x:8", engine="sglang", engine_version=version, tp=8, ep_size=8)
    assert found.ledger.by_category()["weights"] / GIB == pytest.approx(gib, abs=0.1)


@pytest.mark.parametrize(("version", "low", "high"), [("0.9.1", 0, 0), ("0.9.2", 0, 11.6), ("0.10.1", 0, 0)])
def test_ascend_may_mask_all_that_a_prompt_has_read(version: str, low: float, high: float) -> None:
    mask = line(
        "qwen2.5-vl-72b-instruct",
        "ascend-910b:4",
        "attention mask of a prompt",
        engine="vllm-ascend",
        engine_version=version,
        tp=4,
        max_model_len=128000,
        context=55752,
    )
    assert mask is not None
    assert (mask.low_bytes / GIB, mask.high_bytes / GIB) == pytest.approx((low, high), abs=0.05)


@pytest.mark.parametrize(
    ("version", "length", "verdict"),
    [("1.3", None, "tight"), ("1.3", 4096, "fits"), ("1.2", None, "fits")],
)
def test_a_dry_run_has_a_cache_of_the_longest_sequence(
    version: str, length: int | None, verdict: str
) -> None:
    """On an H100 it ran out at 131,072 tokens and ran at 4,096 (TensorRT-LLM#18056, #18523)."""
    found = infer(
        "gemma-3-27b",
        "h100",
        engine="trtllm",
        engine_version=version,
        quantization="fp8",
        kv_cache_dtype="fp8",
        max_model_len=length,
    )
    assert found.verdict == verdict


def test_states_are_served_from_0_10_2_on() -> None:
    assert infer("qwen3-next-80b-a3b-instruct", "h200:2", tp=2, engine_version="0.10.2", context=4096).verdict
    with pytest.raises(UnsupportedError, match=r"0\.10\.2"):
        infer("qwen3-next-80b-a3b-instruct", "h200:2", tp=2, engine_version="0.10.1", context=4096)


def test_a_card_that_a_branch_of_others_serves_is_answered_with_a_doubt() -> None:
    found = infer("qwen3-8b", "mi50", engine_version="0.9.1", context=4096)
    assert any("a branch of others builds it" in each for each in found.warnings)


def test_a_form_taken_off_leaves_its_unquantised_dtype() -> None:
    assert read_dtype(Config({"quantization_config": None}, "")).name == "bfloat16"
