"""Rules of memory that single releases or kinds of model have: what is charged, what is reserved beside the
pool, and what makers of checkpoints keep."""

from typing import Any

import pytest

from oomless.engines.sglang.rank_tensors import shard
from oomless.engines.vllm.scan import scan_bytes
from oomless.estimate.serving.estimate import Estimate, estimate_serving
from oomless.ledger import Line
from oomless.model.attention import Linear
from oomless.model.load import load
from oomless.run.hardware import parse_gpu
from oomless.run.serving import Asked, Layout, Resolved
from oomless.run.speculation import Speculation
from oomless.units import GIB


def answer(model: str, gpu: str, tp: int = 1, dp: int = 1, **asked: Any) -> Estimate:
    layout = Layout(tp=tp, dp=dp, enable_dp_attention=dp > 1)
    return estimate_serving(load(model), Asked(layout=layout)._replace(**asked), parse_gpu(gpu))


def line(found: Estimate, key: str) -> Line:
    return next(each for each in found.ledger.lines if each.key == key)


@pytest.mark.parametrize(
    ("version", "charged"),
    [("0.6.3", 0), ("0.6.4", 1), ("0.6.5", 0), ("0.8.5", 1), ("0.8.5 (V0)", 0), ("0.9.2", 0), ("0.19.0", 0)],
)
def test_0_6_4_and_the_second_engine_of_0_8_charge_the_context(version: str, charged: bool) -> None:
    rank = answer("llama-3.1-8b", "a100-80gb", engine_version=version).ranks[0]
    assert ("runtime.context" not in [each.key for each in rank.beside]) == charged


@pytest.mark.parametrize(("length", "tokens"), [(20000, 31232), (29000, 23648)])
def test_pools_that_0_6_4_cuts(length: int, tokens: int) -> None:
    """Two pools of one RTX 3090 (vllm#10517)."""
    found = answer("llama-3.1-8b", "rtx-3090", engine_version="0.6.4", max_model_len=length)
    assert found.kv_cache.max_tokens == pytest.approx(tokens, rel=0.01)


@pytest.mark.parametrize(("length", "tokens"), [(131072, 1247687), (4096, 90841)])
def test_tokens_of_v4_in_0_23(length: int, tokens: int) -> None:
    """Tokens a byte of the pool: two starts of one server with 32.08 GiB."""
    found = answer(
        "deepseek-v4-flash",
        "h200-nvl:2",
        tp=2,
        engine_version="0.23.0",
        max_model_len=length,
        enforce_eager=True,
    )
    expected = tokens * found.kv_cache.pool_bytes / (32.08 * GIB)
    assert found.kv_cache.max_tokens == pytest.approx(expected, rel=0.0005)


def test_gaudi_takes_graphs_that_were_not_measured_there() -> None:
    found = line(
        answer("qwen3-8b", "gaudi-2", engine="vllm-hpu", engine_version="0.9.2"), "runtime.cuda_graphs"
    )
    assert found.kind == "assumed"
    assert "driver" not in found.source


def test_the_driver_of_v0_has_the_logits() -> None:
    """Five drivers measured within 2 %: the low end is no longer that of ranks that gather none."""
    logits = line(
        answer("qwen3-30b-a3b", "rtx-2080-ti:4", tp=4, engine_version="0.8.5 (V0)"), "logits.sampler"
    )
    assert logits.low_bytes >= 0.8 * logits.bytes


def test_graphs_of_v0_over_pcie() -> None:
    """Yi-34B on four RTX 4090 under 535.54 takes 2,464 MiB more with graphs than without (vllm#7553)."""
    found = answer("yi-34b", "rtx-4090:4", tp=4, engine_version="0.5.4 (driver 535)", max_model_len=4096)
    assert line(found, "runtime.cuda_graphs").bytes / GIB == pytest.approx(2464 / 1024, rel=0.05)


@pytest.mark.parametrize(
    ("model", "gpu", "tp", "version", "gib"),
    [
        ("tinyllama-1.1b", "h200", 1, "0.7.3 (driver 550)", 0.16),
        ("qwen2.5-72b", "l40s:8", 8, "0.8.5 (V0)", 0.36),
        ("qwen2.5-7b", "v100-32gb", 1, "0.7.1", 0.80),
    ],
)
def test_graphs_of_v0_go_by_their_kernels(model: str, gpu: str, tp: int, version: str, gib: float) -> None:
    """35 graphs in logs; that of 80 layers is of InternVL3-78B, 1.5 GiB by its hidden size."""
    graphs = line(answer(model, gpu, tp=tp, engine_version=version), "runtime.cuda_graphs")
    assert graphs.low_bytes <= gib * GIB <= graphs.high_bytes


def test_few_graphs_of_v0_leave_room_for_a_high_share() -> None:
    """Llama-3.1-405B-FP8 on eight H100 ran at 0.98 and died at 0.99, while it captured (vllm#6746)."""
    asked: dict[str, Any] = {"tp": 8, "engine_version": "0.5.3", "max_model_len": 65536, "max_num_seqs": 16}
    for share, fits in ((0.98, True), (0.99, False)):
        found = answer(
            "llama-3.1-405b-fp8", "h100:8", max_num_batched_tokens=512, gpu_memory_utilization=share, **asked
        )
        assert (found.verdict == "fits") is fits


def test_makers_of_nvfp4_keep_latent_attention() -> None:
    """nvidia/DeepSeek-R1-0528-FP4 at TP4: 94.5 GiB."""
    found = answer("deepseek-r1-0528", "b200:4", tp=4, engine="sglang", quantization="nvfp4")
    weights = sum(each.bytes for each in found.ledger.lines if each.category == "weights")
    assert weights / GIB == pytest.approx(94.5, abs=0.7)


def test_makers_of_nvfp4_quantise_grouped_queries_beside_experts() -> None:
    found = answer("qwen3-235b-a22b", "b200:4", tp=4, quantization="nvfp4")
    assert line(found, "weights.unquantized").bytes == 0


def test_rocm_runs_the_first_engine_in_0_8_and_mla_has_no_other() -> None:
    """engine/arg_utils.py of 0.8.5: the second is off on all but CUDA unless VLLM_USE_V1 asks for it."""
    for model, cards, tp in (("deepseek-v3", "mi300x:8", 8), ("qwen3-8b", "mi300x", 1)):
        found = answer(model, cards, tp=tp, engine_version="0.8.5")
        assert found.request.engine_version == "0.8.5 (V0)"
    assert answer("qwen3-8b", "mi300x", engine_version="0.8.5 (V1)").request.engine_version == "0.8.5 (V1)"
    second = answer("deepseek-v3", "mi300x:8", tp=8, engine_version="0.8.5 (V1)")
    assert second.request.engine_version == "0.8.5 (V1, MLA off)"
    assert second.kv_cache.bytes_per_token == 61 * 2 * 16 * 192 * 2


def test_a_scan_that_is_not_profiled_stands_beside_the_pool() -> None:
    found = answer("qwen3.6-27b", "rtx-5090", quantization="nvfp4", engine_version="0.24.0", max_num_seqs=1)
    scan = line(found, "temporaries.running")
    assert scan in found.ranks[0].beside
    assert 0 == scan.low_bytes < scan.bytes < scan.high_bytes
    assert not any(each.key == "temporaries.running" for each in answer("qwen3-8b", "rtx-5090").ledger.lines)


def test_a_scan_grows_with_its_batch_and_shrinks_with_ranks() -> None:
    linear = Linear(16, 48, 128, 128, 4)
    assert (
        scan_bytes(linear, 8192, 1, 2)
        == 2 * scan_bytes(linear, 4096, 1, 2)
        == 2 * scan_bytes(linear, 8192, 2, 2)
    )
    assert scan_bytes(linear._replace(variant="short_conv"), 8192, 1, 2) == 0


def test_a_scan_needs_little_where_the_profile_run_had_more_than_its_layer() -> None:
    """A tower's images: idle segments serve the layer, whose first prompts load kernels alone (Ampere)."""
    seen = answer("qwen3.6-27b", "a40:2", tp=2, quantization="w4a16", engine_version="0.22.1", max_num_seqs=2)
    blind = answer(
        "qwen3.6-27b",
        "a40:2",
        tp=2,
        quantization="w4a16",
        engine_version="0.22.1",
        max_num_seqs=2,
        max_num_batched_tokens=16384,
        language_model_only=True,
    )
    few, more = (line(each, "temporaries.running") for each in (seen, blind))
    assert few.bytes < 0.1 * GIB < few.high_bytes < 0.5 * GIB
    assert few.bytes < more.bytes


def test_the_workspace_of_flashinfer_is_in_whole_graphs_or_beside_the_pool() -> None:
    """v1/attention/backends/flashinfer.py: 394 MiB, since 0.26 16 B a token and value of the queries."""
    where: dict[str, Any] = {"tp": 2, "kv_cache_dtype": "fp8_e4m3", "max_num_seqs": 2}
    where["max_num_batched_tokens"] = 8192
    mtp = Speculation("mtp", 3)
    for release in ("0.22.1", "0.28.0"):  # 8,192 x 3,072 x 16 B are less
        found = answer("qwen3.6-27b", "rtx-3090:2", engine_version=release, speculation=mtp, **where)
        assert 394 << 20 in [each.bytes for each in found.ledger.lines if each.key == "runtime.workspaces"]
    plain, hopper = (
        line(answer("qwen3.6-27b", card, engine_version="0.28.0", **where), "runtime.cuda_graphs")
        for card in ("rtx-3090:2", "h100:2")
    )
    assert "413,138,944 B of FlashInfer's workspace" in plain.formula
    assert "FlashInfer" not in hopper.formula


def test_graphs_of_latent_attention_on_hopper_go_by_heads() -> None:
    """sglang#16143: 5 to 6 GB of 16 heads for 512 sequences."""
    asked: dict[str, Any] = {"engine": "sglang", "engine_version": "0.5.6", "context": 4096}
    graphs = line(answer("deepseek-v3", "h200:8", tp=8, **asked), "runtime.cuda_graphs")
    assert 5e9 <= graphs.bytes <= 6e9
    assert graphs.low_bytes < 5e9
    assert graphs.high_bytes > 6e9


@pytest.mark.parametrize(
    ("largest", "version", "least", "most"),
    [(512, "0.22.0", 0, 16), (2048, "0.22.0", 56.2, 58), (2048, "0.29.0", 0, 8)],
    ids=["to 512", "to 2,048", "second runner"],
)
def test_the_trial_of_nvfp4_graphs_grows_with_their_tokens(
    largest: int, version: str, least: float, most: float
) -> None:
    """0.32 of a card with sizes to 2,048 (InferenceX#1395); with sizes to 512 pools leave 2.6 of the fit at
    most; the second runner captures all pieces when it tries (v1/worker/gpu/cudagraph_utils.py of 0.29)."""
    found = answer(
        "kimi-k2.5",
        "b200:4",
        tp=4,
        engine_version=version,
        quantization="nvfp4",
        max_num_seqs=64,
        compilation_config=f'{{"max_cudagraph_capture_size": {largest}}}',
    )
    graphs = line(found, "runtime.cuda_graphs")
    assert least * GIB < graphs.bytes < most * GIB
    assert graphs.low_bytes > 0.8 * least * GIB


def test_ranks_of_data_parallelism_may_try_more_workspaces() -> None:
    """118.65 GiB for Qwen3.8-2.4T at TP2 and DP4 (vllm#53013); nothing says it of sizes to 512, and nothing
    against it: the most is of all pieces, the middle of none."""
    asked = Asked(engine_version="0.22.0", quantization="nvfp4")
    model = load("deepseek-r1")
    shared, alone = (
        line(
            estimate_serving(
                model, asked._replace(layout=each._replace(enable_expert_parallel=True)), parse_gpu("b200:8")
            ),
            "runtime.cuda_graphs",
        )
        for each in (Layout(dp=8), Layout(tp=8))
    )
    assert shared.bytes < 1.2 * alone.bytes
    assert shared.high_bytes - alone.high_bytes > 30 * GIB


def test_graphs_of_models_with_states_in_sglang() -> None:
    """About 5 GB for Qwen3.8-27B on an RTX 5090 (sglang#35777): 0.92 runs out while it captures."""
    found = answer(
        "qwen3.8-27b-nvfp4",
        "rtx-5090",
        engine="sglang",
        engine_version="0.5.17",
        mem_fraction_static=0.92,
        context=8192,
    )
    graphs = line(found, "runtime.cuda_graphs")
    assert 3.5 * GIB < graphs.bytes < 5 * GIB < graphs.high_bytes
    assert found.verdict == "does_not_fit"


def test_few_graphs_without_experts_leave_little() -> None:
    """0.08 to 0.23 GiB for 4 to 9 graphs of Qwen3.6-27B, 0.04 for 18 of Qwen3-0.6B."""
    found = answer("qwen3.6-27b", "h100", engine_version="0.24.0", max_num_seqs=1, max_model_len=8192)
    assert line(found, "runtime.cuda_graphs").high_bytes <= 0.31 * GIB


def test_an_h20_is_what_torch_sees_of_it() -> None:
    assert parse_gpu("h20").card.memory_bytes == 95 * GIB


@pytest.mark.parametrize(
    ("version", "tokens"),
    [("0.4.1", 65_536), ("0.5.4", 512), ("0.6.4", 512), ("0.6.5", 2048), ("0.8.5 (V0)", 2048)],
)
def test_the_first_engine_cuts_long_prompts_by_release(version: str, tokens: int) -> None:
    """deepseek-coder-33b on two L40 runs out in 0.4.1, which profiles its whole length (vllm#4429)."""
    found = answer("deepseek-coder-33b", "l40:2", tp=2, engine_version=version, dtype="float16")
    assert found.request.max_num_batched_tokens == tokens


@pytest.mark.parametrize(
    ("model", "version", "asked", "tokens"),
    [
        ("deepseek-r1", "0.7.2", {}, 2048),  # chunks are switched off later, and the batch stays
        ("deepseek-r1", "0.8.5 (V0)", {}, 65_536),
        ("qwen2.5-vl-7b", "0.6.6", {}, 65_536),
        ("qwen2.5-vl-7b", "0.7.2", {"max_model_len": 2048}, 5120),
        ("llama-3.1-8b", "0.6.6", {"enable_lora": True}, 65_536),
        ("llama-3.1-8b", "0.5.5", {"enable_prefix_caching": True}, 65_536),
        ("llama-3.1-8b", "0.6.2", {"enable_prefix_caching": True}, 512),
    ],
)
def test_features_that_keep_prompts_whole(
    model: str, version: str, asked: dict[str, Any], tokens: int
) -> None:
    words = {"max_model_len": 65_536, **asked}
    found = answer(model, "h200:8", tp=8 if "r1" in model else 1, engine_version=version, **words)
    assert found.request.max_num_batched_tokens == tokens


def test_prompts_stay_whole_on_rocm() -> None:
    def tokens(version: str) -> int:
        found = answer("llama-3.1-8b", "mi300x", engine_version=version, max_model_len=65_536)
        return found.request.max_num_batched_tokens

    assert (tokens("0.6.2"), tokens("0.6.6")) == (512, 65_536)


def test_mtp_of_a_checkpoint_with_dspark_is_one_layer() -> None:
    """vllm#51041: DeepSeek-V4-Flash-0731 with MTP prints the capacity of one window more, as the preview."""
    words: dict[str, Any] = {"engine_version": "0.26.0", "max_model_len": 121_344}
    mtp, dspark = (
        answer("deepseek-v4-flash-0731", "h200:2", tp=2, speculation=Speculation(method), **words)
        for method in ("mtp", "dspark")
    )
    weights = [
        sum(each.bytes for each in found.ledger.lines if each.category == "weights")
        for found in (mtp, dspark)
    ]
    assert 3 < (weights[1] - weights[0]) / GIB < 3.6  # two layers of 256 experts in FP4 over two ranks
    assert mtp.kv_cache.needed_bytes < dspark.kv_cache.needed_bytes


def test_sglang_captures_prefills_since_0_5_10() -> None:
    """2.32 GiB for the 74 sizes of a chunk of 16,384 tokens (Qwen3-8B on B200)."""
    older, newer = (
        line(answer("qwen3-8b", "b200", engine="sglang", engine_version=version), "runtime.cuda_graphs")
        for version in ("0.5.9", "0.5.12")
    )
    more = [getattr(newer, end) - getattr(older, end) for end in ("low_bytes", "bytes", "high_bytes")]
    assert more[0] < 2.32 * GIB < more[2]
    assert more[0] < more[1] < more[2]


def test_what_loading_leaves_in_sglang() -> None:
    def most(model: str, **asked: Any) -> float:
        found = answer(model, "h200:8", tp=8, engine="sglang", **asked)
        return line(found, "fragmentation.loading").high_bytes / GIB

    assert most("deepseek-r1") == pytest.approx(0.3)
    assert most("deepseek-v4-flash") == most("deepseek-r1", quantization="nvfp4") == pytest.approx(1.2)


@pytest.mark.parametrize(
    ("gpu", "low", "high"), [("a100-80gb-pcie:2", 0.1, 0.3), ("h100:2", 1.0, 2.0), ("rtx-4090:2", 0.1, 0.3)]
)
def test_sglang_takes_little_at_its_start_before_hopper(gpu: str, low: float, high: float) -> None:
    """78.49 of 79.14 GiB were free before loading on two A100 PCIe (sglang#3765), context and all."""
    found = answer("llama-3.1-8b", gpu, tp=2, engine="sglang", engine_version="0.4.3")
    assert low < line(found, "runtime.non_torch").bytes / GIB < high


def test_the_tower_is_part_of_the_profile_run() -> None:
    """Qwen3-VL-2B on one 16 GB card, eager, one sequence, 0.20: a pool of 8.13 GiB, 9.2 without the tower;
    a tower cut over ranks takes less, and none where images are off."""

    def activations(tp: int = 1, **more: Any) -> int:
        flags: dict[str, Any] = {"engine_version": "0.20.0", "max_num_seqs": 1, "enforce_eager": True, **more}
        found = answer("qwen3-vl-2b", f"rtx-5070-ti:{tp}", tp, max_model_len=8192, **flags)
        return sum(each.bytes for each in found.ledger.lines if each.category in ("activations", "logits"))

    assert 1.2 * GIB < activations() < 2.2 * GIB
    assert activations(2) < activations()
    assert activations(images_per_prompt=0) < 0.5 * GIB


def test_a_tower_may_be_whole_on_every_rank() -> None:
    """--mm-encoder-tp-mode data: of Qwen2.5-VL-72B's tower three quarters more on each of four ranks."""

    def weights(mode: str) -> int:
        found = answer("qwen2.5-vl-72b", "h200:4", 4, mm_encoder_tp_mode=mode)
        return sum(each.bytes for each in found.ledger.lines if each.category == "weights")

    tower = sum(each.num_bytes for each in load("qwen2.5-vl-72b").tensors if each.part == "vision")
    assert weights("data") - weights("weights") == pytest.approx(0.75 * tower, rel=0.05)


@pytest.mark.parametrize(
    ("version", "attention", "products"), [("0.4.10.post2", 8, 8), ("0.5.0", 2, 8), ("0.5.9", 2, 2)]
)
def test_a_tower_lies_over_the_ranks_of_attention(version: str, attention: int, products: int) -> None:
    """SGLang's layers/attention/vision.py, models/qwen3_vl.py."""
    model, layout = load("qwen3-vl-235b-a22b"), Layout(tp=8, dp=4, enable_dp_attention=True)
    resolved = Resolved(engine="sglang", engine_version=version, layout=layout)
    shapes = {each.name: shard(each, model, resolved)[0] for each in model.tensors if each.part == "vision"}
    assert shapes["vision.blocks.attn.out.weight"] == (1152, 1152 // attention)
    assert shapes["vision.blocks.fc2.weight"] == (1152, 4304 // products)


@pytest.mark.parametrize(
    ("version", "quantization", "row"),
    [("0.7.1", None, 1152), ("0.7.1", "awq", 12_288), ("0.7.2", "gptq", 12_288), ("0.7.3", "awq", 1280)],
)
def test_mla_came_for_fp8_first(version: str, quantization: str | None, row: int) -> None:
    """vLLM's use_mla: "MLA is not supported with awq quantization. Disabling MLA." (0.7.1 and 0.7.2)."""
    found = answer("deepseek-r1", "h200:8", tp=8, engine_version=version, quantization=quantization)
    assert found.kv_cache.bytes_per_token == 61 * row
    assert (line(found, "weights.attention").bytes < 1.2 * GIB) == (row > 1280)  # without absorbed products


@pytest.mark.parametrize(("version", "gib"), [("0.4.6", 56.98), ("0.5.8", 110.98), ("0.5.10", 56.98)])
def test_sglang_held_the_experts_that_aiter_reorders(version: str, gib: float) -> None:
    """Qwen3-30B-A3B on one MI300X: "mem usage=110.98 GB" of sglang#18255, and 56.98 after it."""
    found = answer("qwen3-30b-a3b-2507", "mi300x", engine="sglang", engine_version=version)
    weights = sum(each.bytes for each in found.ledger.lines if each.category == "weights")
    assert weights / GIB == pytest.approx(gib, rel=0.002)


def test_sglang_held_what_marlin_reorders() -> None:
    """Qwen3-235B in GPTQ on two A100 (sglang#8362) and Qwen3-VL-235B in AWQ on four 4090 of 48 GB (#11471)
    ran out of memory; other families are held once."""

    def attention_and_experts(model: str, version: str, **asked: Any) -> float:
        found = answer(model, "a100-80gb:4", 4, engine="sglang", engine_version=version, **asked)
        keys = ("weights.attention", "weights.routed_experts")
        return sum(each.bytes for each in found.ledger.lines if each.key in keys) / GIB

    for model in ("qwen3-235b-a22b", "qwen3-vl-235b-a22b"):
        once, twice = (attention_and_experts(model, each, quantization="awq") for each in ("0.5.10", "0.5.5"))
        assert twice == pytest.approx(2 * once, rel=0.01)
    assert attention_and_experts("glm-4.5-air", "0.5.5", quantization="awq") == pytest.approx(
        attention_and_experts("glm-4.5-air", "0.5.10", quantization="awq")
    )


@pytest.mark.parametrize(("version", "weights"), [("0.5.3", 54.6), ("0.5.6", 28.0)])
def test_sglang_held_what_ascend_transposes(version: str, weights: float) -> None:
    """Qwen3-235B in W8A8 on eight 910B started above 0.92 of 60.95 GiB alone (sglang#12016)."""
    flags: dict[str, Any] = {"engine": "sglang", "engine_version": version, "quantization": "w8a8"}
    found = answer("qwen3-235b-a22b-2507", "ascend-910b:8", 8, **flags)
    held = sum(each.bytes for each in found.ledger.lines if each.category == "weights") / GIB
    assert held == pytest.approx(weights, rel=0.01)


@pytest.mark.parametrize(("cards", "free"), [(1, 60.5), (2, 60.35)])
def test_what_an_ascend_card_has_free_before_loading(cards: int, free: float) -> None:
    """Of 61.0: 60.81 on two and 60.56 on four, where NVIDIA's cards have taken 2.4 GiB."""
    found = answer("qwen3-8b", f"ascend-910b:{cards}", cards, engine="sglang", engine_version="0.5.9")
    keys = ("runtime.context", "runtime.non_torch")
    taken = sum(each.bytes for each in found.ledger.lines if each.key in keys) / GIB
    assert 60.95 - taken == pytest.approx(free, abs=0.15)


def test_awq_added_up_eight_parts_of_a_product() -> None:
    """Mixtral-8x7B in AWQ ran out on two A10 under 0.2.7 (vllm#2382): 7 GiB of parts; 0.3 has none, and
    unpacks a matrix of 112 MiB as GPTQ's kernel does."""

    def activations(version: str, quantization: str) -> int:
        asked: dict[str, Any] = {"engine_version": version, "quantization": quantization}
        return line(answer("mixtral-8x7b", "a10:2", 2, **asked), "activations.profile_run").bytes

    assert activations("0.2.7", "awq") - activations("0.3.3", "awq") >= 6 * GIB
    assert activations("0.2.7", "gptq") == activations("0.3.3", "gptq") == activations("0.3.3", "awq")


@pytest.mark.parametrize(
    ("version", "tp", "held"), [("0.2.4", 2, 0), ("0.2.5", 2, 1), ("0.2.5", 1, 0), ("0.2.6", 2, 0)]
)
def test_0_2_5_charges_what_ranks_add_up(version: str, tp: int, held: bool) -> None:
    """vllm#2150: it had 112 blocks where 0.2.4 had 1,464 (vllm#2136)."""
    found = answer("codellama-13b", "a6000:2", tp=tp, engine_version=version, max_model_len=4096)
    assert ("fragmentation.reserved" in [each.key for each in found.ledger.lines]) == held


def test_experts_of_sparse_mla_by_deep_gemm_hold_their_inputs() -> None:
    """65,536 choices of 8,192 tokens and 127 rows for each of 32 experts, twice as wide as the hidden states;
    256 of 2,048 columns on a rank are too few for it."""
    before, whole, split = (
        line(
            answer(
                "deepseek-v3.2", "h200:8", layout=Layout(tp=8, enable_expert_parallel=ep), engine_version=v
            ),
            "activations.profile_run",
        ).bytes
        for v, ep in (("0.12.0", True), ("0.13.0", True), ("0.13.0", False))
    )
    assert whole - before == (65_536 + 32 * 127) * 2 * 7168 * 2
    assert split - before < 65_536 * 2 * 7168 * 2


@pytest.mark.parametrize(("version", "most"), [("0.25.0", 0), ("0.27.0", 4.3), ("0.29.0", 0)])
def test_kimi_k3_captures_more_than_its_trial(version: str, most: float) -> None:
    """1.3 GiB tried and up to 16.9 captured at TP8 (vllm#51590); B200 had 1.35 GiB left of 8.9 at 0.95
    (InferenceX agg-b200-tp8pp2-agentic.yaml). The second runner tries all pieces."""
    found = answer("kimi-k3", "b300:8", tp=8, engine_version=version, max_model_len=262144)
    beyond = [each.high_bytes for each in found.ranks[0].lines if each.what == "graphs beyond their trial"]
    assert sum(beyond) == pytest.approx(most * 3.62 * GIB, rel=0.01)


@pytest.mark.parametrize(("model", "gib"), [("qwen3.5-122b-a10b", 36.73), ("qwen3-next-80b-a3b", 22.53)])
def test_checkpoints_in_4_bits_of_linear_attention_beside_experts_keep_some_of_the_rest(
    model: str, gib: float
) -> None:
    """Logs of 0.16.1rc1 and 0.13.0, of checkpoints in groups of 32; a recipe of llm-compressor keeps none."""
    found = answer(model, "l40s:2", tp=2, quantization="w4a16", engine_version="0.16.0")
    kept = line(found, "weights.unquantized")
    weights = found.ledger.by_category()["weights"] - kept.bytes
    assert kept.low_bytes == 0 < kept.bytes < gib * GIB - weights < 1.01 * kept.high_bytes


def test_qwens_own_gptq_keeps_attention() -> None:
    """Its `dynamic` has -:.*attn.* and -:.*shared_expert.*; AutoRound's and GPTQModel's keep gates alone."""
    dense, experts = (
        line(answer(name, "a100-80gb", quantization="gptq", engine_version="0.22.0"), "weights.unquantized")
        for name in ("qwen3.5-27b", "qwen3.6-35b-a3b")
    )
    assert dense.low_bytes == 0 < 9 * GIB < dense.bytes == dense.high_bytes < 11 * GIB
    assert 1.5 * GIB < experts.bytes == experts.high_bytes < 3.5 * GIB


@pytest.mark.parametrize(
    ("version", "gpu", "held"), [("0.5.9", "910b", 3), ("0.5.10", "910b", 0), ("0.5.9", "a100", 0)]
)
def test_sglang_had_rows_of_states_on_ascend(version: str, gpu: str, held: int) -> None:
    """Three of four layers of Qwen3.5 keep a state; all had rows (sglang#19781, gpustack#4761)."""
    gpu = "ascend-910b:2" if gpu == "910b" else "a100-80gb:2"
    asked: dict[str, Any] = {"engine": "sglang", "engine_version": version, "max_total_tokens": 32768}
    found = answer("qwen3.5-27b", gpu, tp=2, **asked, disable_radix_cache=True, max_num_seqs=8)
    rows = [each for each in found.ranks[0].beside if each.key == "kv_cache.copies"]
    assert sum(each.bytes for each in rows) == held * 16 * 32768 * 2 * 2 * 256 * 2
