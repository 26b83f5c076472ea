"""vLLM's sparse attention: which cards have a kernel for it, and the buffers that it takes before the cache
is cut."""

from typing import Any

import pytest

from oomless.api.serving import infer
from oomless.engines.rank import Stage
from oomless.engines.vllm.profile_v4 import attention_bytes
from oomless.engines.vllm.release import RELEASES
from oomless.engines.vllm.sparse import captured_bytes, loaded_bytes, shared_bytes
from oomless.engines.vllm.weights import placed_weights
from oomless.errors import UnsupportedError
from oomless.model.attention import V4
from oomless.model.load import load
from oomless.run.hardware import parse_gpu
from oomless.run.serving import Layout, Resolved
from oomless.run.speculation import Speculation
from oomless.units import GIB


@pytest.mark.parametrize(
    ("model", "card", "version"),
    [
        ("deepseek-v4-flash", "dgx-spark:2", "0.21.0"),  # FlashMLA's sparse kernel alone, for 9 and 10
        ("deepseek-v4-flash", "a100-80gb:8", "0.33.0"),  # vllm#50576 asks for it
        ("deepseek-v3.2", "l40s:32", "0.25.0"),
        ("deepseek-v3.2", "rtx-pro-6000:8", "0.16.0"),
    ],
)
def test_a_card_without_the_kernel_is_refused(model: str, card: str, version: str) -> None:
    with pytest.raises(UnsupportedError, match="does not run"):
        infer(model, card, engine_version=version)


@pytest.mark.parametrize(
    ("card", "version"),
    [("dgx-spark:2", "0.25.0"), ("h200:8", "0.21.0"), ("b200:8", "0.21.0"), ("mi300x:8", "0.25.0")],
)
def test_a_card_with_the_kernel_is_answered(card: str, version: str) -> None:
    assert infer("deepseek-v4-flash", card, engine_version=version).ledgers


def asked(length: int, version: str, **more: Any) -> Resolved:
    fields: dict[str, Any] = {
        "kv_cache_dtype": "fp8_ds_mla",
        "max_model_len": length,
        "max_num_batched_tokens": 8192,
        "layout": Layout(tp=8),
        **more,
    }
    return Resolved(engine_version=version, **fields)


def test_workspaces_are_what_the_sources_say() -> None:
    """indexer.py: 40 x 163,840 x 132 B = 825 MiB; flashmla_sparse.py: about 900 MB, and queries; V4: 4
    requests of rows in BF16."""
    h200, v32, flash = parse_gpu("h200:8"), load("deepseek-v3.2"), load("deepseek-v4-flash")
    assert shared_bytes(v32, asked(163840, "0.16.0"), h200, RELEASES.at("0.16.0")) == 5 * 163840 * 576 * 2
    assert (
        shared_bytes(v32, asked(163840, "0.16.0", kv_cache_dtype="auto"), h200, RELEASES.at("0.16.0"))
        == 40 * 163840 * 132
    )
    assert (
        loaded_bytes(v32, asked(163840, "0.19.0"), RELEASES.at("0.19.0"))
        == 8192 * 16 * 576 * 2 + 5 * 163840 * 576 * 2
    )
    long = asked(1 << 20, "0.25.0")
    assert shared_bytes(flash, long, h200, RELEASES.at("0.25.0")) == 40 * (1 << 20) // 4 * 132
    assert (
        shared_bytes(flash, asked(32768, "0.25.0"), h200, RELEASES.at("0.25.0"))
        == 4 * (32768 // 4 + 128 + 8192) * 512 * 2
    )
    assert shared_bytes(flash, long, h200, RELEASES.at("0.33.0")) < shared_bytes(
        flash, long, h200, RELEASES.at("0.25.0")
    )  # 2, not 5


def test_dense_models_reserve_none_of_it() -> None:
    v3, h200 = load("deepseek-v3"), parse_gpu("h200:8")
    assert (
        shared_bytes(v3, asked(163840, "0.25.0"), h200, RELEASES.at("0.25.0"))
        == captured_bytes(v3, asked(163840, "0.25.0"), 512)
        == 0
    )


def test_fused_experts_take_a_buffer_of_their_own() -> None:
    """vllm#51454: DP8 and TP8 of V4-Flash-0731 on B200 leave 3 % less cache than without this backend."""
    flags: dict[str, Any] = {
        "tp": 8,
        "enable_expert_parallel": True,
        "engine_version": "0.25.0",
        "max_num_batched_tokens": 8192,
    }
    plain = infer("deepseek-v4-flash-0731", "b200:8", **flags)
    fused = infer("deepseek-v4-flash-0731", "b200:8", moe_backend="deep_gemm_mega_moe", **flags)
    lines = {line.key: line.bytes for line in fused.ledgers[0].lines}
    assert lines["communication.symmetric"] == 4_321_690_912
    assert fused.kv_cache.pool_bytes < plain.kv_cache.pool_bytes


@pytest.mark.parametrize(
    ("model", "card", "more", "why"),
    [
        ("deepseek-v4-flash", "h200:8", {"enable_expert_parallel": True}, "compute capability 10"),
        ("deepseek-v4-flash", "b200:8", {}, "expert parallelism"),
        ("deepseek-v3", "b200:8", {"enable_expert_parallel": True}, "is for DeepSeek-V4"),
    ],
)
def test_fused_experts_are_refused_where_the_engine_refuses_them(
    model: str, card: str, more: dict[str, Any], why: str
) -> None:
    with pytest.raises(UnsupportedError, match=why):
        infer(model, card, tp=8, engine_version="0.25.0", moe_backend="deep_gemm_mega_moe", **more)


def test_data_parallel_attention_pays_for_the_context_of_all_heads() -> None:
    """mla_attention.py: the profile run allocates 64 Ki tokens x heads x 256 values; 0.5 GiB with 16 heads a
    rank, 4 with all 128."""
    apart = infer("deepseek-r1", "h200:8", tp=1, dp=8, enable_expert_parallel=True, engine_version="0.19.0")
    together = infer("deepseek-r1", "h200:8", tp=8, engine_version="0.19.0")
    sums = [
        sum(line.bytes for line in found.ledgers[0].lines if line.category in ("activations", "logits"))
        for found in (apart, together)
    ]
    assert sums[0] - sums[1] > 2 << 30


def test_v0_pays_for_prefix_caching_with_mla() -> None:
    flags: dict[str, Any] = {"tp": 8, "pp": 2, "engine_version": "0.8.3 (V0)", "max_model_len": 8192}
    without = infer("deepseek-v2.5", "a100-40gb:8x2", **flags)
    with_it = infer("deepseek-v2.5", "a100-40gb:8x2", enable_prefix_caching=True, **flags)
    assert with_it.kv_cache.pool_bytes < without.kv_cache.pool_bytes
    newer: dict[str, Any] = {"tp": 8, "engine_version": "0.19.0", "max_model_len": 8192}
    assert (
        infer("deepseek-v3", "h200:8", enable_prefix_caching=True, **newer).estimate.pools
        == infer("deepseek-v3", "h200:8", **newer).estimate.pools
    )


def test_the_profile_run_of_v4_is_a_walk_over_its_tensors() -> None:
    """Output and queries at 64 heads, latents, compressors' scores, residual streams, those of the layer
    before where nothing compiles the model: 8,192 tokens of Flash on two ranks, in MiB."""
    flash, h20 = load("deepseek-v4-flash"), parse_gpu("h20:2")
    layer = next(each for each in flash.kinds.attentions if isinstance(each, V4) and each.has_indexer)
    asked = Resolved(max_num_batched_tokens=8192, layout=Layout(tp=2))

    def mib(version: str, card: str = "h20:2") -> int:
        rules = RELEASES.at(version)
        return attention_bytes(flash, layer, asked, parse_gpu(card), rules, 2) >> 20

    before, copied, indexed = 320, 256 + 512, 66 + 512 + 512
    assert mib("0.26.0") - mib("0.22.1") == before
    assert mib("0.31.0") - mib("0.26.0") == indexed - copied
    assert mib("0.26.0", "rtx-pro-6000:2") < mib("0.26.0")  # 32 heads need no copy
    alone = Resolved(max_num_batched_tokens=8192, layout=Layout())
    assert attention_bytes(flash, layer, alone, h20, RELEASES.at("0.26.0"), 2) >> 20 == 640 + 512 + 128 + 578


def test_pools_of_v4_are_as_logged() -> None:
    """vllm#44376: 5.44 GiB on two GH200 by `LLM`; two H200 NVL, eager, 74.08 GiB of weights and a pool of
    32.08, whatever the length (0.23)."""
    flags: dict[str, Any] = {"tp": 2, "kv_cache_dtype": "fp8", "block_size": 256}
    offline = infer(
        "deepseek-v4-flash",
        "gh200:2",
        engine_version="0.22.1",
        enable_expert_parallel=True,
        gpu_memory_utilization=0.95,
        max_model_len=30000,
        max_num_batched_tokens=16384,
        **flags,
    )
    assert offline.kv_cache.pool_bytes < 6.1 * GIB  # 7.9 before the walk
    eager = infer(
        "deepseek-v4-flash",
        "h200-nvl:2",
        engine_version="0.23.0",
        enforce_eager=True,
        gpu_memory_utilization=0.78,
        max_model_len=4096,
        **flags,
    )
    assert abs(eager.kv_cache.pool_bytes / GIB - 32.08) < 0.4
    weights = sum(line.bytes for line in eager.ledger.lines if line.category == "weights")
    assert abs(weights / GIB - 74.08) < 0.1


@pytest.mark.parametrize(
    ("version", "cache", "tp", "gib"),
    [
        ("0.27.0", "fp8", 8, 12.5),
        ("0.29.0", "fp8", 8, 0),
        ("0.27.0", "bfloat16", 8, 0),
        ("0.27.0", "fp8", 2, 0),
    ],
)
def test_sums_of_unsplit_parts_lie_beside_the_pool(version: str, cache: str, tp: int, gib: float) -> None:
    """GLM-5.2 on eight H200 served for days and died of 32,768 tokens in one step (vllm#53413): 8 GiB of
    sums, 2.25 of queries and 2 of outputs for 64 heads, 0.25 of slots."""
    fields: dict[str, Any] = {"engine_version": version, "kv_cache_dtype": cache, "max_model_len": 262_144}
    fields |= {"max_num_batched_tokens": 32_768, "tp": tp}
    ledger = infer("glm-5.2-fp8", f"h200:{tp}", **fields).ledgers[0]
    made = sum(line.bytes for line in ledger.lines if line.key == "temporaries.running")
    assert made == gib * GIB


@pytest.mark.parametrize(("card", "tp", "measured"), [("h200:8", 8, 49.6), ("gb300:4", 4, 81.57)])
def test_experts_in_4_bit_are_widened_for_their_kernel(card: str, tp: int, measured: float) -> None:
    """InferenceX#3310 and #3321, the tables of V4.1-Flash on the host: 288 and 576 values a rank become 384
    and 640."""
    said = Resolved(
        engine_version="0.33.0",
        dtype="bfloat16",
        engram="host",
        max_model_len=1 << 20,
        max_num_batched_tokens=16384,
        layout=Layout(tp=tp),
        speculation=Speculation("dspark", 5),
    )
    placed = placed_weights(load("deepseek-v4.1-flash"), said, parse_gpu(card), Stage(0, 1, 0, 40))
    weights = sum(each.total_bytes for each in placed) / GIB
    assert weights == pytest.approx(measured, rel=0.015)


def test_mi300x_widens_more_and_keeps_scores() -> None:
    """InferenceX#2194: 7.52 x 9,472 tokens of V4-Pro; #3336: V4.1-Flash on two has 13.5 GiB too little."""
    flags: dict[str, Any] = {"kv_cache_dtype": "fp8", "gpu_memory_utilization": 0.9, "max_model_len": 9472}
    told = infer("deepseek-v4-pro", "mi300x:8", engine_version="0.25.0", tp=8, **flags).kv_cache
    assert told is not None
    assert told.max_tokens == pytest.approx(7.52 * 9472, rel=0.02)
    long = flags | {"max_model_len": 1 << 20, "max_num_batched_tokens": 4096, "max_num_seqs": 8}
    long["speculative_config"] = '{"method": "dspark", "num_speculative_tokens": 5}'
    two = infer("deepseek-v4.1-flash", "mi300x:2", engine_version="0.33.0", tp=2, engram="host", **long)
    assert two.verdict == "does_not_fit"
    v32, mi300x = load("deepseek-v3.2"), parse_gpu("mi300x:8")
    rules = RELEASES.at("0.25.0")
    assert shared_bytes(v32, asked(1 << 20, "0.25.0"), mi300x, rules) == 8192 * (1 << 20) * 4


def test_a_trial_of_graphs_has_what_stands_in_for_scores() -> None:
    """0.25 on two RTX PRO 6000, 64 sequences with two drafts each, of 1,048,576 tokens: estimated 1.58 GiB,
    captured 1.73 (code index id 56819795714); a row a token, and 512 MiB of steps in pieces."""
    words: dict[str, Any] = {
        "tp": 2,
        "engine_version": "0.25.0",
        "kv_cache_dtype": "fp8",
        "max_model_len": 1_048_576,
        "max_num_batched_tokens": 4096,
        "max_num_seqs": 64,
        "speculation": Speculation("mtp", 2),
    }
    found, whole = (
        infer("deepseek-v4-flash", "rtx-pro-6000:2", compilation_config=mode, **words).ledgers[0].lines
        for mode in (None, '{"cudagraph_mode": "FULL_DECODE_ONLY"}')
    )
    graphs, decoding = (
        next(each for each in lines if each.key == "runtime.cuda_graphs") for lines in (found, whole)
    )
    scores = 64 * 3 * 1_048_576
    assert graphs.low_bytes > scores + GIB // 2
    assert graphs.bytes > 0.95 * 1.58 * GIB
    assert graphs.bytes < 1.1 * 1.73 * GIB
    assert scores < decoding.low_bytes < scores + GIB // 2


def test_pool_of_v4_on_two_hopper_cards() -> None:
    """vllm#51041: 150,992 tokens in 7.71 GiB of two H20 (0.26): 1.1 GiB more lie outside."""
    words: dict[str, Any] = {"max_model_len": 121_344, "max_num_seqs": 32, "gpu_memory_utilization": 0.95}
    found = infer(
        "deepseek-v4-flash-0731",
        "h20:2",
        tp=2,
        engine_version="0.26.0",
        kv_cache_dtype="fp8",
        speculation=Speculation("mtp"),
        **words,
    ).kv_cache
    assert found.max_tokens_low < 150_992 < found.max_tokens_high
    assert abs(found.pool_bytes - 7.71 * GIB) < 0.5 * GIB
