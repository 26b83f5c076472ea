"""What the profile run of vLLM counts, and what comes only after the cache is cut: by release, by model
runner, by the cards' maker."""

from typing import Any

import pytest

from oomless.estimate.serving.estimate import Estimate, estimate_serving
from oomless.ledger import Line
from oomless.model.load import load
from oomless.run.hardware import parse_gpu
from oomless.run.serving import Asked, Layout
from oomless.units import GIB


def answer(model: str, gpu: str, tp: int = 1, **asked: Any) -> Estimate:
    return estimate_serving(load(model), Asked(layout=Layout(tp=tp))._replace(**asked), parse_gpu(gpu))


def lines(found: Estimate, key: str) -> list[Line]:
    return [each for each in found.ledger.lines if each.key == key]


def keys_beside(found: Estimate) -> set[str]:
    return {each.key for each in found.ranks[0].beside}


@pytest.mark.parametrize(
    ("model", "gpu", "version", "beside"),
    [
        ("llama-3.1-8b", "l40s", "0.19.0", True),  # no release before 0.20 tries its graphs
        ("llama-3.1-8b", "l40s", "0.21.0", False),
        ("llama-3.1-8b", "l40s", "0.25.1", True),  # the second runner's trial is empty (vllm#49224)
        ("llama-3.1-8b", "l40s", "0.29.0", False),
        ("qwen3-30b-a3b", "h100", "0.25.1", False),  # the first runner
        ("deepseek-v4-flash", "h800:4", "0.26.0", False),
        ("deepseek-v4-flash", "h800:4", "0.28.0", True),  # the second (vllm#54677)
        ("deepseek-v4-flash", "mi355x:8", "0.25.0", True),  # nothing is tried on ROCm
        ("deepseek-v4-flash", "mi355x:8", "0.26.0", False),
        ("deepseek-v4-flash", "mi355x:8", "0.28.0", False),  # ROCm keeps the first runner for V4
    ],
)
def test_graphs_lie_beside_a_pool_that_was_cut_without_a_trial(
    model: str, gpu: str, version: str, beside: bool
) -> None:
    found = answer(model, gpu, parse_gpu(gpu).num_gpus, engine_version=version)
    assert ("runtime.cuda_graphs" in keys_beside(found)) == beside


def test_a_pool_that_left_graphs_no_room_is_no_firm_yes() -> None:
    """Llama-3.1-70B in FP8 on eight L40S: its cache fits ten times over, and the capture ran out."""
    found = answer("llama-3.1-70b", "l40s:8", 8, engine_version="0.25.1", quantization="fp8")
    assert found.verdict == "tight"


def test_graphs_of_experts_up_to_0_11_0_may_not_find_room() -> None:
    """Qwen3-VL-235B ran out on eight A100 by the recipe; with few sequences it ran on cards as large."""
    found = estimate_serving(
        load("qwen3-vl-235b-a22b"),
        Asked(layout=Layout(tp=8, enable_expert_parallel=True), max_model_len=128_000)._replace(
            engine_version="0.11.0"
        ),
        parse_gpu("a100-80gb:8"),
    )
    assert found.verdict == "tight"
    graphs = [
        lines(answer("qwen3-30b-a3b", "h100", engine_version=version), "runtime.cuda_graphs")[0].high_bytes
        for version in ("0.11.0", "0.11.2")
    ]
    assert graphs[0] > graphs[1]


def test_the_first_start_of_a_compiled_model_has_the_smaller_pool() -> None:
    """Qwen3-8B on an RTX 5090 (0.24): 89,040 tokens at the first start, 95,936 at the next."""
    asked: dict[str, Any] = {
        "engine_version": "0.24.0",
        "gpu_memory_utilization": 0.92,
        "max_model_len": 32768,
    }
    rank = answer("qwen3-8b", "rtx5090", **asked).ranks[0]
    token = 36 * 2 * 8 * 128 * 2
    assert rank.pool_low <= 89_040 * token
    assert rank.pool_bytes == pytest.approx(89_040 * token, rel=0.01)
    assert rank.pool_high == pytest.approx(95_936 * token, rel=0.01)
    eager = answer("qwen3-8b", "rtx5090", enforce_eager=True, **asked).ranks[0]
    assert eager.pool_bytes == pytest.approx(95_936 * token, rel=0.03)
    warm = answer("qwen3-8b", "rtx5090", **asked | {"engine_version": "0.24.0 (warm)"}).ranks[0]
    assert warm.pool_bytes == pytest.approx(95_936 * token, rel=0.03)
    assert warm.pool_high == rank.pool_high


def test_a_larger_peak_holds_what_compiling_takes() -> None:
    """Both happen in one profile run, and the larger counts: 1,024 rows of 14 B a logit are more."""
    few, many = (
        lines(
            answer("qwen3-8b", "h100", engine_version="0.24.0 (MRV1)", max_num_seqs=rows),
            "activations.profile_run",
        )
        for rows in (256, 1024)
    )
    assert [len(few), len(many)] == [2, 1]
    assert few[1].high_bytes > few[1].bytes > 0


@pytest.mark.parametrize(
    ("name", "version", "flags", "tried"),
    [
        ("qwen3-8b", "0.24.0", {}, True),
        ("qwen3-8b", "0.11.0", {}, False),
        ("qwen3-8b", "0.24.0", {"enforce_eager": True}, False),
        ("qwen3-vl-8b", "0.24.0", {}, False),
        ("qwen3-vl-8b", "0.24.0", {"images_per_prompt": 0}, True),
        ("deepseek-v4-flash", "0.28.0", {}, False),
    ],
)
def test_kernels_are_tried_with_the_table_of_what_is_compiled(
    name: str, version: str, flags: dict[str, Any], tried: bool
) -> None:
    """Since 0.11.1; a model that sees images is given embeddings, V4 is not compiled from 0.23 on."""
    found = answer(name, "h200:2", 2, engine_version=version, max_num_seqs=2, **flags)
    whats = [each.what for each in lines(found, "activations.profile_run")]
    assert ("compiling at the first start" in whats) == tried


def test_cards_of_other_makers_compile_without_copies() -> None:
    for gpu, more in (("mi300x", 1), ("gaudi-3", 0), ("ascend-910b", 0)):
        engine = {"gaudi-3": "vllm-hpu", "ascend-910b": "vllm-ascend"}.get(gpu, "vllm")
        found = answer("llama-3.1-8b", gpu, engine=engine, engine_version="0.18.0", max_num_seqs=64)
        assert sum(line.what == "compiling at the first start" for line in found.ledger.lines) == more


def test_a_table_that_ranks_share_is_tried_in_parts() -> None:
    """Qwen3-32B at TP2 took 0.47 GiB more at its first start (0.28, vllm#54383), not what one card takes."""
    one, two = (
        lines(
            answer("qwen3-32b", f"h100:{tp}", tp, engine_version="0.28.0", max_num_seqs=40),
            "activations.profile_run",
        )
        for tp in (1, 2)
    )
    assert one[1].high_bytes > 2 * two[1].high_bytes > 0


def test_a_release_says_which_model_runner_was_chosen() -> None:
    """Gemma-4-31B on a B300 with the first one (0.26): 3.90 GiB at the peak, where graphs are charged."""
    flags: dict[str, Any] = {
        "max_model_len": 16384,
        "max_num_batched_tokens": 8192,
        "images_per_prompt": 0,
        "gpu_memory_utilization": 0.92,
    }
    first, second = (
        answer("gemma-4-31b", "267.69GiB", engine_version=f"0.26.0 ({word})", **flags)
        for word in ("MRV1", "MRV2")
    )
    assert "runtime.cuda_graphs" not in keys_beside(first)
    assert "runtime.cuda_graphs" in keys_beside(second)
    assert "runtime.sampler_state" in keys_beside(second)


@pytest.mark.parametrize(("version", "charged"), [("0.11.0", True), ("0.17.0", True), ("0.18.0", False)])
def test_ascend_charges_the_context_up_to_0_17(version: str, charged: bool) -> None:
    found = answer("qwen3-8b", "ascend-910b", engine="vllm-ascend", engine_version=version)
    assert ("runtime.context" not in keys_beside(found)) == charged
    assert "runtime.cuda_graphs" in keys_beside(found)


def test_the_profile_run_on_ascend_samples_nothing() -> None:
    """Logits of 2,048 sequences are made in 16 bit and dropped: Qwen2.5-VL-72B was served with them."""
    found = answer(
        "qwen2.5-vl-72b", "ascend-910b:4", 4, engine="vllm-ascend", engine_version="0.10.1", max_num_seqs=2048
    )
    (logits,) = lines(found, "logits.sampler")
    assert logits.bytes == 2048 * 152_064 * 2


@pytest.mark.parametrize(("version", "seen"), [("0.12.0", False), ("0.13.0", True)])
def test_images_are_tried_on_ascend_from_0_13_on(version: str, seen: bool) -> None:
    found = answer(
        "qwen2.5-vl-7b", "ascend-910b", engine="vllm-ascend", engine_version=version, max_num_seqs=16
    )
    assert (sum(each.bytes for each in lines(found, "activations.profile_run")) > 2 * GIB) == seen


def test_a_pool_on_ascend_is_as_its_log_says() -> None:
    """Qwen2-0.5B, eager, half of the card: 30,891,205,120 B (0.13.0)."""
    found = answer(
        "qwen2.5-0.5b",
        "ascend-910b",
        engine="vllm-ascend",
        engine_version="0.13.0",
        gpu_memory_utilization=0.5,
        enforce_eager=True,
    )
    assert found.ranks[0].pool_bytes == pytest.approx(30_891_205_120, rel=0.025)


@pytest.mark.parametrize(("gpu", "kept"), [("h200:8", True), ("b200:8", False)])
def test_marlin_leaves_the_loaded_scales_of_v4_up_to_0_5_15(gpu: str, kept: bool) -> None:
    before, after = (
        sum(each.bytes for each in found.ledger.lines if each.category == "weights")
        for found in (
            answer("deepseek-v4-pro", gpu, 8, engine="sglang", engine_version=version)
            for version in ("0.5.15", "0.5.16")
        )
    )
    assert (before - after > 20 * GIB) == kept


def test_graphs_lie_where_the_load_never_comes() -> None:
    """open-r1 serves with batches of 262,144 and prompts of 32,768 (V0, pipelines of 8 x 4); here with more
    of the card: what NCCL takes is no part of what lies beside the budget."""

    def asked(concurrency: int) -> Estimate:
        return answer(
            "deepseek-r1",
            "h100:8x4",
            layout=Layout(tp=8, pp=4),
            engine_version="0.7.2",
            max_model_len=32768,
            max_num_batched_tokens=262144,
            max_num_seqs=128,
            gpu_memory_utilization=0.95,
            context=32768,
            concurrency=concurrency,
        )

    one, all_of_it = asked(1), asked(8)
    assert one.verdict == "fits"
    assert [rank.unused for rank in all_of_it.ranks] == [(0, 0, 0)] * 4
    assert all_of_it.verdict == "tight"
    least, middle, most = one.ranks[0].unused
    assert 0 < least < middle < most
    assert lines(one, "activations.profile_run") == lines(all_of_it, "activations.profile_run")
    assert one.ranks[0].pool_bytes == all_of_it.ranks[0].pool_bytes


def test_sampling_is_tried_again_after_the_capture() -> None:
    """A short load leaves its peak of tokens, not that of max_num_seqs rows."""
    found = answer(
        "llama-3.1-8b", "h100", engine_version="0.11.0", max_num_batched_tokens=16384, context=1024
    )
    rows = next(line for line in found.ledger.lines if line.key == "logits.sampler")
    peak = sum(line.bytes for line in found.ledger.lines if line.category in ("activations", "logits"))
    assert 0 < found.ranks[0].unused[1] < peak - rows.bytes


@pytest.mark.parametrize(
    ("gpu", "images", "scored"),
    [("rx-7800-xt", None, True), ("rx-7800-xt", 0, False), ("rx-7900-xtx", None, False)],
)
def test_towers_of_some_radeon_cards_keep_their_scores(gpu: str, images: int | None, scored: bool) -> None:
    """PyTorch's fused attention is off there: 65,536 patches of 16 heads (vllm#27706)."""
    found = answer("qwen3-vl-2b", gpu, engine_version="0.11.1", max_model_len=2048, images_per_prompt=images)
    peak = sum(line.low_bytes for line in found.ledger.lines if line.category in ("activations", "logits"))
    assert (peak >= 16 * 65536**2 * 4) == scored


def test_v0_profiles_an_image_of_llama_3_2_with_each_sequence() -> None:
    """36.63 GiB for 128 sequences on one H100 (0.6.6, vllm#12126); two A10 ran out with 256 (vllm#10034), and
    serve 16."""

    def found(model: str, gpu: str, tp: int, seqs: int) -> Estimate:
        asked: dict[str, Any] = {"engine_version": "0.6.6", "max_num_seqs": seqs, "enforce_eager": True}
        return answer(model, gpu, tp, max_model_len=8192, **asked)

    peak = lines(found("llama-3.2-11b-vision", "h100", 1, 128), "activations.profile_run")[0]
    assert peak.low_bytes < 36.63 * GIB < peak.high_bytes
    model = "llama-3.2-11b-vision-instruct"
    verdicts = [found(model, "a10:2", 2, seqs).verdict for seqs in (16, 256)]
    assert verdicts == ["fits", "does_not_fit"]


def test_b12x_keeps_a_set_of_buffers_a_layer_from_0_25_on() -> None:
    """Qwen3.6-35B in NVFP4 on an RTX PRO 6000: 52.89 GiB of cache with b12x, 64.36 with Marlin; on two RTX
    5070 Ti it ran out while it was profiled (vllm#49476)."""
    asked: dict[str, Any] = {
        "quantization": "nvfp4",
        "kv_cache_dtype": "fp8",
        "max_num_batched_tokens": 8192,
        "max_num_seqs": 8,
        "gpu_memory_utilization": 0.92,
    }
    pools = {
        (version, backend): answer(
            "qwen3.6-35b-a3b", "rtx-pro-6000-blackwell", moe_backend=backend, engine_version=version, **asked
        ).kv_cache.pool_bytes
        for version in ("0.24.0", "0.25.1")
        for backend in ("flashinfer_b12x", "marlin")
    }
    assert pools["0.24.0", "flashinfer_b12x"] == pools["0.24.0", "marlin"]
    less = pools["0.25.1", "marlin"] - pools["0.25.1", "flashinfer_b12x"]
    assert less == pytest.approx(11.47 * GIB, rel=0.05)


def test_the_warm_up_of_the_second_runner_is_profiled_from_0_33_on() -> None:
    """vllm#57926, Qwen2.5-0.5B on an L4 with 256 sequences: the pool that knows of it is 1.30 % smaller."""
    asked: dict[str, Any] = {"max_num_seqs": 256, "max_model_len": 2048, "gpu_memory_utilization": 0.98}
    blind, profiled = (
        answer("qwen2.5-0.5b", "l4", engine_version=version, **asked) for version in ("0.32.0", "0.33.0")
    )
    less = 1 - profiled.kv_cache.pool_bytes / blind.kv_cache.pool_bytes
    assert less == pytest.approx(0.013, rel=0.1)

    def warming(found: Estimate) -> list[int]:
        return [each.bytes for each in found.ranks[0].beside if each.what == "sampling of the warm-up"]

    assert warming(profiled) == []
    after_graphs = answer("qwen2.5-0.5b", "l4", engine_version="0.29.0", **asked)
    assert sum(warming(after_graphs)) == pytest.approx(blind.kv_cache.pool_bytes * less, rel=0.1)
    assert warming(answer("qwen2.5-0.5b", "l4", engine_version="0.29.0 (MRV1)", **asked)) == []


def test_v0_profiles_an_image_with_each_sequence_of_a_batch() -> None:
    """20 images of Gemma-3, 5,120 tokens, are more than its text, and no longer anything at all."""

    def activations(**asked: Any) -> list[Line]:
        found = answer("gemma-3-12b", "a100-80gb", engine_version="0.8.4 (V0)", max_model_len=4096, **asked)
        return [each for each in found.ledger.lines if each.category == "activations"]

    none, one, all_of_batch = (
        sum(each.bytes for each in activations(**asked))
        for asked in ({"images_per_prompt": 0}, {"max_num_seqs": 1}, {})
    )
    assert none < one < all_of_batch / 3
    assert sum(each.high_bytes for each in activations()) < 6 * GIB


def test_the_first_engine_scores_a_slice_of_minicpm_v_2_6_with_each_sequence() -> None:
    """48 slices run out on a 3090; 32 run where the whole card is the share: no request has so many."""
    asked: dict[str, Any] = {"engine_version": "0.5.4", "max_model_len": 3072}
    assert answer("minicpm-v-2.6", "rtx-3090", **asked).verdict == "does_not_fit"
    asked |= {"max_model_len": 4096, "max_num_seqs": 32, "gpu_memory_utilization": 1.0}
    assert answer("minicpm-v-2.6", "rtx-3090", **asked).verdict == "fits"


def test_the_first_engine_fills_a_batch_with_small_images_of_qwen2_vl_up_to_0_6_5() -> None:
    """An image is 1,280 tokens at most, and a sequence has room for a video beside it."""

    def activations(version: str, **asked: Any) -> Line:
        found = answer("qwen2-vl-7b", "a100-80gb", engine_version=version, **asked)
        return next(each for each in found.ledger.lines if each.category == "activations")

    blind, known = activations("0.5.0"), activations("0.6.3")
    assert known.high_bytes < 6 * GIB < blind.high_bytes
    assert "images of the profile run of V0 are not counted" not in known.formula
    tiles = answer("internvl2.5-8b", "a100-80gb", engine_version="0.6.4", max_model_len=32768)
    assert all(each.high_bytes < 6 * GIB for each in tiles.ledger.lines if each.category == "activations")
    few, many = (activations("0.6.3", max_model_len=8192, images_per_prompt=each) for each in (1, 4))
    assert few.bytes == pytest.approx(many.bytes, rel=0.2)  # three sequences of one image, one of four


def test_the_interval_of_sampling_reaches_as_far_as_that_of_the_forward_pass() -> None:
    """Where the two peaks are alike, the one with the wider spread says the upper end."""
    asked: dict[str, Any] = {"engine_version": "0.6.6", "max_num_batched_tokens": 32}
    ends = [
        answer("deepseek-v2-lite", "h200", max_num_seqs=each, **asked).ledger.high_bytes for each in (1, 16)
    ]
    assert ends[0] <= ends[1]


@pytest.mark.parametrize(("dtype", "more"), [("bfloat16", 4096 * 14336 * 2), ("float16", 16384 * 18432 * 2)])
def test_bitsandbytes_unpacks_a_part_and_casts_what_is_not_bf16(dtype: str, more: int) -> None:
    """Of the widest product: a part's matrix, or the inputs and the product once more."""
    asked: dict[str, Any] = {"engine_version": "0.9.2", "dtype": dtype, "max_num_batched_tokens": 16384}
    plain, packed = (
        sum(line.bytes for line in lines(found, "activations.profile_run"))
        for found in (
            answer("llama-3.1-8b", "a100-80gb", max_num_seqs=8, quantization=form, **asked)
            for form in (None, "bitsandbytes")
        )
    )
    assert packed - plain == pytest.approx(more, rel=0.01)
