"""Rules of vLLM that public cases showed: each question got the other verdict, or stopped, before its rule
was known."""

from typing import Any

import pytest

import oomless
from oomless import UnsupportedError
from oomless.ledger import Line
from oomless.units import GIB


def line_bytes(answer: oomless.ServingAnswer, key: str) -> int:
    return sum(line.bytes for line in answer.ledger.lines if line.key == key)


@pytest.mark.parametrize(("version", "sequences"), [("0.8.3", 1024), ("0.8.4", 256)])
def test_the_second_engine_began_with_1024_sequences(version: str, sequences: int) -> None:
    """vllm#16158."""
    answer = oomless.infer("deepseek-r1-distill-qwen-1.5b", gpu="rtx-4090", engine_version=version)
    assert answer.request.max_num_seqs == sequences


def test_a_window_is_not_cached_in_full_from_0_9_1_on() -> None:
    """gpt-oss-120b serves 131,072 tokens on one A100 with 0.10.2 (vLLM recipes)."""
    asked: dict[str, Any] = {"gpu": "a100-80gb", "max_model_len": 131072}
    later = oomless.infer("gpt-oss-120b", engine_version="0.10.2", **asked)
    earlier = oomless.infer("gemma-3-12b", gpu="a100-80gb", engine_version="0.8.5")
    assert later.kv_cache.fixed_bytes_per_sequence
    assert not earlier.kv_cache.fixed_bytes_per_sequence


def test_graphs_of_states_need_a_block_a_sequence() -> None:
    """Qwen3.6-27B-FP8 on one H100 at 0.95: `max_num_seqs (1024) exceeds available Mamba cache blocks (856)`
    (vLLM recipes#551)."""
    asked: dict[str, Any] = {
        "gpu": "h100",
        "engine_version": "0.20.0",
        "gpu_memory_utilization": 0.95,
        "context": 1024,
    }
    refused = oomless.infer("qwen3.6-27b-fp8", **asked)
    assert refused.verdict == "does_not_fit"
    blocks = refused.kv_cache.pool_bytes // (refused.kv_cache.needed_bytes // 1024)
    assert 800 < blocks < 920
    assert oomless.infer("qwen3.6-27b-fp8", max_num_seqs=512, **asked).verdict == "fits"
    assert oomless.infer("qwen3.6-27b-fp8", enforce_eager=True, **asked).verdict == "fits"


@pytest.mark.parametrize(
    ("model", "gpu", "version", "gib"),
    [
        ("qwen3-8b", "a100-40gb", "0.9.2 (driver 535.247)", 2.24),
        ("deepseek-r1-distill-qwen-1.5b", "rtx-4090", "0.8.1 (driver 565)", 0.45),
    ],
)
def test_graphs_hold_less_under_newer_drivers(model: str, gpu: str, version: str, gib: float) -> None:
    """CUDA 12.4 (driver 550) took 1.14 GiB where 12.2 and 12.3 took 3.8 (vllm#5517)."""

    def graphs(version: str) -> Line:
        lines = oomless.infer(model, gpu=gpu, engine_version=version).ledger.lines
        return next(line for line in lines if line.key == "runtime.cuda_graphs")

    said, unsaid = graphs(version), graphs(version.partition(" ")[0])
    assert unsaid.low_bytes <= said.low_bytes < gib * GIB < min(said.high_bytes, unsaid.high_bytes)
    assert 1.3 * (said.high_bytes - said.low_bytes) < unsaid.high_bytes - unsaid.low_bytes


@pytest.mark.parametrize(
    ("model", "gpu", "version", "gib"),
    [
        ("llama-2-7b", "h100", "0.9.1 (driver 550)", 0.61),
        ("qwen2.5-7b-instruct", "rtx-4090", "0.9.2 (driver 550)", 0.51),
        ("llama-2-70b", "h100:8", "0.9.1 (driver 550)", 1.35),
        ("llama-3-70b", "l40s:2", "0.16.0 (driver 580)", 1.22),
        ("qwen2.5-72b-instruct", "l40s:4", "0.19.0", 2.62),
        ("llama-3.3-70b", "h100:4", "0.19.0", 1.66),
        ("deepseek-v2-lite", "h100", "0.19.0", 1.57),
    ],
)
def test_graphs_are_counted_by_pieces(model: str, gpu: str, version: str, gib: float) -> None:
    """vllm#19579, code index ids 39769618681, 10876549642 and 53041548781, and one cluster's logs:
    pieces, whole steps, reductions by NCCL and attention's splits."""
    tp = int(gpu.partition(":")[2] or 1)
    lines = oomless.infer(model, gpu=gpu, tp=tp, engine_version=version, max_model_len=4096).ledger.lines
    graphs = next(line for line in lines if line.key == "runtime.cuda_graphs")
    assert graphs.bytes == pytest.approx(gib * GIB, rel=0.18)


@pytest.mark.parametrize(
    ("model", "gpu", "version", "tp", "gib"),
    [
        ("qwen2.5-coder-7b", "rtx-6000-ada:2", "0.8.3 (driver 550)", 2, 0.46),
        ("qwen3-32b-fp8", "h100:2", "0.10.0 (driver 570)", 2, 1.30),
        ("qwen3-32b", "rtx-pro-6000:2", "0.10.0", 2, 1.21),
        ("qwen3-235b-a22b-fp8", "l40s:8", "0.10.2", 8, 3.45),
        ("qwen3-30b-a3b", "rtx-4090:4", "0.11.0", 4, 1.88),
    ],
)
def test_graphs_of_ranks_are_as_logs_have_them(
    model: str, gpu: str, version: str, tp: int, gib: float
) -> None:
    """Code index ids 20870019826, 7292846353 and 38962983769; vllm#22746, #22479 and #27782. Experts take
    more in each piece than dense layers."""
    asked: dict[str, Any] = {"gpu": gpu, "tp": tp, "max_model_len": 32768}
    lines = oomless.infer(model, engine_version=version, **asked).ledger.lines
    graphs = next(line for line in lines if line.key == "runtime.cuda_graphs")
    assert graphs.low_bytes < gib * GIB < graphs.high_bytes


@pytest.mark.parametrize(
    ("version", "model", "gpu", "free", "non_torch"),
    [
        ("0.10.2", "qwen3-235b-a22b-fp8", "l40s:8", 0.49, 0.21),
        ("0.10.2", "qwen3-32b", "h200:2", 0.60, 1.38),
        ("0.11.0", "qwen3-32b", "h100:2", None, 0.54),
    ],
)
def test_what_ranks_talk_through_is_counted_once(
    version: str, model: str, gpu: str, free: float | None, non_torch: float
) -> None:
    """NCCL starts after counting does up to 0.10.2, and is no part of what comes beside the budget
    (vllm#25359); what is free at the start, less than the card, says so in two logs."""
    asked: dict[str, Any] = {"gpu": gpu, "tp": int(gpu.rpartition(":")[2]), "max_model_len": 32768}
    lines = {line.key: line for line in oomless.infer(model, engine_version=version, **asked).ledger.lines}
    context, outside = lines["runtime.context"], lines["runtime.non_torch"]
    assert outside.low_bytes <= non_torch * GIB * 1.001
    assert non_torch * GIB <= outside.high_bytes * 1.001
    if free is None:
        assert context.low_bytes > GIB
    else:
        assert context.low_bytes < free * GIB < context.high_bytes < GIB


@pytest.mark.parametrize(("gpu", "taken"), [("rx-7900-xtx:4", 0.07), ("radeon-ai-pro-r9700:4", 0.63)])
def test_ranks_of_radeons_take_little_at_the_start(gpu: str, taken: float) -> None:
    """23.91 of 23.98 GiB are free and 31.23 of 31.86 (code index ids 68919694914 and 68935864207). It was 0
    to 4.2 GiB, as twice of Hopper's."""
    asked: dict[str, Any] = {"gpu": gpu, "tp": int(gpu[-1]), "engine": "vllm", "max_model_len": 4096}
    lines = oomless.infer("qwen3-8b", engine_version="0.20.0", **asked).ledger.lines
    context = next(line for line in lines if line.key == "runtime.context")
    assert context.low_bytes < taken * GIB < context.high_bytes < GIB


def test_drivers_of_blackwell_are_new() -> None:
    def graphs(version: str) -> list[tuple[int, int]]:
        lines = oomless.infer("qwen3-8b", gpu="rtx-5090", engine_version=version).ledger.lines
        return [(line.low_bytes, line.high_bytes) for line in lines if line.key == "runtime.cuda_graphs"]

    assert graphs("0.9.2") == graphs("0.9.2 (driver 570)") != graphs("0.9.2 (driver 535)")


@pytest.mark.parametrize(
    ("version", "said", "low", "high"),
    [
        ("0.8.5", "no FlashInfer", 5.2, 5.9),
        ("0.8.5", "FlashInfer", 1.4, 2.2),
        ("0.11.0", "FlashInfer", 1.4, 2.2),
    ],
)
def test_a_release_may_say_who_samples(version: str, said: str, low: float, high: float) -> None:
    """1,024 rows of 151,936 logits: a sort takes 38 B of each, FlashInfer 10 to 14; pip does not bring it."""

    def sampler(version: str) -> Line:
        lines = oomless.infer("qwen3-32b", gpu="h100", engine_version=version).ledger.lines
        return next(line for line in lines if line.key == "logits.sampler")

    found = sampler(f"{version} ({said})")
    assert low * GIB < found.low_bytes < found.high_bytes < high * GIB
    assert sampler("0.8.5").low_bytes <= found.low_bytes < found.high_bytes <= sampler("0.8.5").high_bytes
    assert sampler("0.19.0") == sampler(f"0.19.0 ({said})")


def test_small_images_leave_the_profile_run_little() -> None:
    """Qwen2.5-VL-72B on four A100 PCIe, eager, 0.95: 25,408 to 25,920 tokens with images of 1,024 pixels
    (0.8.4, vllm#16570); with the largest image it did not start."""
    asked: dict[str, Any] = {
        "gpu": "a100-40gb-pcie:4",
        "engine_version": "0.8.4",
        "tp": 4,
        "gpu_memory_utilization": 0.95,
        "max_num_seqs": 2,
        "max_model_len": 4096,
        "enforce_eager": True,
        "images_per_prompt": 1,
    }
    small = oomless.infer("qwen2.5-vl-72b", max_pixels=1024, **asked)
    assert small.kv_cache.max_tokens_low < 25408 < 25920 < small.kv_cache.max_tokens_high
    assert (small.verdict, small.starts) == ("fits", True)
    assert not oomless.infer("qwen2.5-vl-72b", **asked).starts
    assert (
        oomless.infer("qwen2.5-vl-72b", max_pixels=1 << 30, **asked).ledger
        == oomless.infer("qwen2.5-vl-72b", **asked).ledger
    )


def test_v0_captures_for_every_virtual_engine() -> None:
    """Four stages have four times the graphs, of a quarter of the layers."""
    asked: dict[str, Any] = {"gpu": "l40s:4", "engine_version": "0.6.6", "max_model_len": 4096}
    one = oomless.infer("qwen2.5-32b", tp=1, **asked)
    four = oomless.infer("qwen2.5-32b", pp=4, **asked)
    ratio = line_bytes(four, "runtime.cuda_graphs") / line_bytes(one, "runtime.cuda_graphs")
    assert ratio == pytest.approx(1)


def test_a_cache_that_a_release_cannot_lay_out_is_refused() -> None:
    """It was an internal error."""
    with pytest.raises(UnsupportedError, match="before 0"):
        oomless.infer(
            "deepseek-v4-flash", gpu="b200:2", engine_version="0.25.0", kv_cache_dtype="nvfp4_ds_mla"
        )


def test_sparse_rows_on_blackwell_are_plain() -> None:
    """GLM-5.2 on 0.26: 78 x 576 + 21 x 132 = 47,700 B a token, which gives its pool of
    50.62 GiB to the token."""
    asked: dict[str, Any] = {"engine_version": "0.26.0", "kv_cache_dtype": "fp8"}
    assert oomless.infer("deepseek-v3.2", gpu="b200:8", **asked).kv_cache.dtype == "fp8"
    assert oomless.infer("deepseek-v3.2", gpu="h200:8", **asked).kv_cache.dtype == "fp8_ds_mla"


def test_ranks_that_all_reach_each_other_take_more_beside_torch() -> None:
    """2.10 GiB on eight A100, 0.20 to 0.32 over PCIe or bridges (0.7 and 0.8)."""
    asked: dict[str, Any] = {"engine_version": "0.7.1", "tp": 8, "max_model_len": 8192}
    meshed = oomless.infer("deepseek-v2-lite", gpu="a100-40gb:8", **asked)
    apart = oomless.infer("deepseek-v2-lite", gpu="rtx-3090:8", **asked)
    assert line_bytes(meshed, "runtime.non_torch") > 4 * line_bytes(apart, "runtime.non_torch")


@pytest.mark.parametrize(
    ("tp", "share", "verdict"),
    [(4, 0.85, "does_not_fit"), (4, 0.75, "fits"), (8, 0.8, "does_not_fit")],
)
def test_ascend_allocated_the_pool_of_states_twice(tp: int, share: float, verdict: str) -> None:
    """Qwen3-Coder-Next on 910B with 0.14: what ran and what did not (vllm-ascend#6572)."""
    answer = oomless.infer(
        "qwen3-coder-next",
        gpu="ascend-910b:8",
        engine="vllm-ascend",
        engine_version="0.14.0",
        tp=tp,
        max_model_len=262144,
        gpu_memory_utilization=share,
        max_num_batched_tokens=4096,
    )
    assert answer.verdict == verdict


@pytest.mark.parametrize(("engine", "version"), [("vllm", "0.2.7"), ("sglang", "0.3.1"), ("trtllm", "0.4")])
def test_a_release_before_all_that_were_read_takes_the_first_rules_and_says_so(
    engine: str, version: str
) -> None:
    answer = oomless.infer("deepseek-coder-1.3b", gpu="h100", engine=engine, engine_version=version)
    assert any(f"{version} is earlier than" in each for each in answer.warnings)


@pytest.mark.parametrize(("version", "share"), [("0.19.1", 0.9), ("0.20.0", 0.92), ("0.33.0", 0.92)])
def test_the_share_of_the_card_rose_with_0_20(version: str, share: float) -> None:
    """vllm/config/cache.py of 0.19.1 and 0.20.0."""
    found = oomless.infer("qwen3-8b", gpu="h100", engine_version=version)
    assert found.request.gpu_memory_utilization == share


@pytest.mark.parametrize(("version", "tokens"), [("0.27.0", 8192), ("0.28.0", 16384)])
def test_cards_of_160_gib_take_more_tokens_since_0_28(version: str, tokens: int) -> None:
    """vllm/engine/arg_utils.py of 0.27 and 0.28."""
    found = oomless.infer("qwen3-8b", gpu="b200", engine_version=version)
    assert found.request.max_num_batched_tokens == tokens


def test_a_video_fills_the_length_in_the_profile_run() -> None:
    """Qwen2.5-VL-3B on 0.8.5 finds no memory for its cache at 0.3 of an A100 (vllm#18124)."""
    asked: dict[str, Any] = {"gpu": "a100-80gb", "engine_version": "0.8.5", "gpu_memory_utilization": 0.3}
    assert oomless.infer("qwen2.5-vl-3b", **asked).verdict == "tight"
    assert oomless.infer("qwen2.5-vl-3b", max_model_len=16384, **asked).verdict == "fits"


def test_drafts_are_tried_beside_the_sampler() -> None:
    """v1/sample/rejection_sampler.py; the second model runner of 0.29 tries none."""

    def sampled(version: str, **asked: Any) -> int:
        answer = oomless.infer("qwen3.6-27b-fp8", gpu="a100-80gb", engine_version=version, **asked)
        return line_bytes(answer, "logits.sampler")

    rows = 256 * 248320
    assert sampled("0.27.1", speculation="mtp") - sampled("0.27.1") == 12 * rows
    assert sampled("0.29.0", speculation="mtp") == sampled("0.29.0")


def test_bridges_have_no_buffers_of_multicast() -> None:
    """V4-Flash on two H200 NVL under 0.23 leaves 32.08 GiB for its cache at 0.78; the walk over its tensors
    and 0.35 GiB of non-torch 0.3 less. A constant was fitted to that pool before."""
    answer = oomless.infer(
        "deepseek-v4-flash",
        gpu="h200-nvl:2",
        tp=2,
        engine_version="0.23.0",
        gpu_memory_utilization=0.78,
        kv_cache_dtype="fp8",
        max_model_len=131072,
        enforce_eager=True,
    )
    assert line_bytes(answer, "runtime.non_torch") < 2**30
    assert answer.kv_cache.pool_bytes / 2**30 == pytest.approx(32.08, rel=0.01)


@pytest.mark.parametrize(("version", "graphs"), [("0.27.0", 102), ("0.28.0", 166)])
def test_larger_steps_are_captured_on_blackwell_since_0_28(version: str, graphs: int) -> None:
    """vllm/config/vllm.py of 0.28: sizes to 1,024 on compute capability 10."""
    answer = oomless.infer("qwen3-8b", gpu="b200", engine_version=version)
    assert any(f" {graphs} graphs" in line.formula for line in answer.ledger.lines)


def test_times_of_videos_were_cached_to_0_12() -> None:
    """Qwen3-VL-30B-A3B on four RTX 3090 under 0.11.0: "a budget of 153600 tokens", a pool of 2.31 GiB (the
    log of a public readme); 4.00 before the rule. 0.15 GiB more is taken off than was, and never less: what
    deepstack layers add is exact in the weights of the same log, what lies outside of torch is not known."""
    asked: dict[str, Any] = {"gpu": "rtx-3090:4", "tp": 4, "max_model_len": 65536}
    found = oomless.infer("qwen3-vl-30b-a3b", engine_version="0.11.0", **asked)
    assert 0.93 * 2.31 < found.kv_cache.pool_bytes / 2**30 < 2.31
    later = oomless.infer("qwen3-vl-30b-a3b", engine_version="0.13.0", **asked)
    assert later.kv_cache.pool_bytes / 2**30 > 4


def test_stages_of_the_first_engine_share_no_blocks() -> None:
    """QwQ-32B in 4 bits on two RTX 5090 by stages: 50,000 tokens of a pool for twice as many ran, 60,000 did
    not (vllm#14452)."""

    def needed(version: str, **asked: Any) -> int:
        return oomless.infer(
            "qwen2.5-32b-instruct", gpu="h100:2", engine_version=version, max_model_len=32768, **asked
        ).kv_cache.needed_bytes

    assert needed("0.8.5 (V0)", pp=2) == needed("0.8.5 (V0)", tp=2) * 2
    assert needed("0.8.5 (V0)", pp=2, concurrency=2) == needed("0.8.5 (V0)", pp=2)
    assert needed("0.8.5 (V0)", pp=2, context=1024) == needed("0.8.5 (V0)", pp=2)
    assert needed("0.7.2", pp=2, context=1024) == needed("0.7.2", tp=2, context=1024)
    assert needed("0.9.2", pp=2) == needed("0.9.2", tp=2)


def test_ranks_of_data_parallelism_gather_their_tokens_for_the_experts() -> None:
    """fused_moe/layer.py of 0.10.2: dispatch hands 8 x 8,192 tokens to each rank's experts, which take 32,768
    at once."""

    def activations(dp: int) -> int:
        answer = oomless.infer(
            "deepseek-r1",
            gpu="h200:8",
            tp=8 // dp,
            dp=dp,
            enable_expert_parallel=True,
            engine_version="0.10.2",
            max_num_seqs=16,
        )
        return line_bytes(answer, "activations.profile_run")

    buffers, gathered = 2 * (32768 - 8192) * 8 * (7168 + 2048), 2 * 65536 * 7168
    assert buffers + gathered < activations(8) - activations(1) < 1.3 * (buffers + gathered)


def test_graphs_of_states_take_gigabytes_on_consumer_blackwell() -> None:
    """Qwen3.8-27B-FP8 stops at 939 of 1,024 blocks on an RTX PRO 6000, 45 GiB (vLLM recipes#831); an H100 and
    earlier releases capture the same in less."""
    asked: dict[str, Any] = {"model": "qwen3.8-27b-fp8", "context": 1024}
    key = "runtime.cuda_graphs"
    here = oomless.infer(gpu="rtx-pro-6000", engine_version="0.27.0", **asked)
    graphs = line_bytes(here, key)
    assert 5 * GIB < graphs < 10 * GIB
    assert abs(here.kv_cache.pool_bytes / GIB - 45) < 4
    assert 3 * line_bytes(oomless.infer(gpu="h100", engine_version="0.27.0", **asked), key) < graphs
    assert 4 * line_bytes(oomless.infer(gpu="rtx-pro-6000", engine_version="0.24.0", **asked), key) < graphs


def test_a_checkpoint_in_mxfp8_is_asked_by_its_form() -> None:
    """MiniMax-M3-MXFP8 has 444 GB (InferenceX)."""
    answer = oomless.infer(
        "minimax-m3", quantization="mxfp8", gpu="h100:8", engine_version="0.23.0", tp=8, context=1024
    )
    weights = sum(line.bytes for line in answer.ledger.lines if line.key.startswith("weights."))
    assert abs(8 * weights / 444e9 - 1) < 0.02


def test_a_tower_without_flash_attn_makes_scores_of_all_its_patches() -> None:
    """Kimi-VL runs out of two A800 in its tower (vllm#17952), from 0.14 on no more (vllm#31738)."""
    asked: dict[str, Any] = {"gpu": "a800:2", "tp": 2, "images_per_prompt": 2, "context": 1024}
    most = []
    for version in ("0.8.5", "0.14.0"):
        lines = oomless.infer("kimi-vl-a3b", engine_version=version, **asked).ledger.lines
        most.append(sum(line.high_bytes for line in lines))
    assert most[0] > most[1] + 64 * GIB


def test_a_release_may_say_whether_flash_attn_is_installed() -> None:
    """64 images run on eight A100 with it (Kimi-VL#54); 24 GB are too little without (Kimi-VL#57)."""
    many = oomless.infer(
        "kimi-vl-a3b", gpu="a100-80gb:8", tp=8, images_per_prompt=64, max_num_batched_tokens=32768,
        engine_version="0.9.1 (flash_attn)", context=32768,
    )  # fmt: skip
    assert many.verdict == "fits"
    asked: dict[str, Any] = {"gpu": "rtx-4090:2", "tp": 2, "enforce_eager": True}
    said = oomless.infer("kimi-vl-a3b", engine_version="0.9.2 (no flash_attn)", **asked)
    assert said.verdict == "does_not_fit"
    assert oomless.infer("kimi-vl-a3b", engine_version="0.9.2", **asked).verdict == "tight"


def test_what_inferact_left_in_16_bit_is_known() -> None:
    """12.02 GiB a rank of two (vLLM recipes#810); in_proj of linear attention, head, drafts and tower."""
    answer = oomless.infer(
        "qwen3.8-27b-nvfp4-inferact", gpu="rtx-5090:2", tp=2, engine_version="0.26.1", context=1024
    )
    weights = sum(line.bytes for line in answer.ledger.lines if line.key.startswith("weights."))
    assert round(weights / GIB, 2) == 12.02
    assert not [line for line in answer.ledger.lines if line.key == "weights.unquantized"]


@pytest.mark.parametrize(
    ("model", "gpu", "version", "length", "gib"),
    [
        ("qwen2-vl-7b", "rtx-4090", "0.6.6", 8192, 1.16),
        ("qwen2.5-vl-3b", "rtx-5090", "0.7.3", 32768, 4.06),
        ("qwen2.5-vl-7b", "rtx-3090", "0.8.4 (V0)", 8192, 5.35),
    ],
)
def test_the_first_engine_tries_one_sequence_with_images(
    model: str, gpu: str, version: str, length: int, gib: float
) -> None:
    """Peaks of logs (code index ids 61933690157 and 13138011193), and what a pool of 2,400 tokens leaves
    (gpustack#1800): up to 0.7.3 a text in place of images that a batch is too short for."""
    answer = oomless.infer(model, gpu=gpu, engine_version=version, max_model_len=length)
    tried = [
        line for line in answer.ledger.lines if line.key in ("activations.profile_run", "logits.sampler")
    ]
    assert sum(line.low_bytes for line in tried) < gib * GIB < sum(line.high_bytes for line in tried)
    assert sum(line.high_bytes - line.low_bytes for line in tried) < 2.5 * GIB
    assert not any("not counted" in line.formula for line in tried)


def test_the_first_engine_tries_images_where_the_batch_holds_them() -> None:
    asked: dict[str, Any] = {"gpu": "h100", "engine_version": "0.7.3", "max_model_len": 65536}
    lines = oomless.infer("qwen2.5-vl-7b", limit_mm_per_prompt="image=1", **asked).ledger.lines
    [tried] = [line for line in lines if line.key == "activations.profile_run"]
    assert tried.high_bytes > 1.15 * tried.bytes
    lines = oomless.infer("mistral-small-3.1-24b", gpu="h100", engine_version="0.8.5 (V0)").ledger.lines
    assert any("images of the profile run of V0 are not counted" in line.formula for line in lines)


def test_later_releases_gather_them_too() -> None:
    """vllm#47127: FlashInfer asks for 26.21 GiB for the experts of GLM-5.2 on 0.23, of 16 ranks with 8,192
    tokens each."""
    answer = oomless.infer(
        "glm-5.2-fp8",
        gpu="h100:8x2",
        tp=1,
        dp=16,
        enable_expert_parallel=True,
        engine_version="0.23.0",
        max_num_batched_tokens=8192,
        max_num_seqs=128,
        max_model_len=202752,
    )
    assert 26.21 < line_bytes(answer, "activations.profile_run") / GIB < 1.2 * 26.21


@pytest.mark.parametrize("drafts", [False, True])
def test_a_draft_is_made_with_tables_of_its_own(drafts: bool) -> None:
    """vllm#53887: Qwen3.8-27B in INT4 on an RTX 3090 runs without MTP, and dies of the second of two tables
    of 2.37 GiB with it, though the draft then shares the target's."""
    mtp: dict[str, Any] = {"speculative_config": "mtp"} if drafts else {}
    answer = oomless.infer(
        "qwen3.8-27b",
        quantization="w4a16",
        gpu="22GiB",
        engine_version="0.27.1",
        max_model_len=4096,
        max_num_seqs=1,
        enforce_eager=True,
        gpu_memory_utilization=0.97,
        limit_mm_per_prompt="image=0",
        **mtp,
    )
    assert (answer.verdict == "does_not_fit") == drafts
    assert any("before the cache is made, 4.74 GiB more" in note for note in answer.warnings) == drafts


@pytest.mark.parametrize(("version", "verdict"), [("0.17.1", "does_not_fit"), ("0.19.0", "fits")])
def test_a_gated_delta_rule_once_tried_its_kernels_at_the_first_prompt(version: str, verdict: str) -> None:
    """vllm#36599: Qwen3.5-9B loads on an RTX 5090 and dies of the first prompt; from 0.18 on the profile run
    has tried them."""
    answer = oomless.infer(
        "qwen3.5-9b", gpu="rtx-5090", engine_version=version, enforce_eager=True, max_model_len=8192
    )
    assert answer.verdict == verdict


def test_rows_that_ascend_tries_once_leave_room_beside_its_pool() -> None:
    """vllm-ascend#2959 serves Qwen2.5-VL-72B on four cards of 64 GB with 2,048 sequences and all of the card:
    what the logits of so many rows took in the profile run is free for a load of one."""
    asked: dict[str, Any] = {"tp": 4, "max_model_len": 20000, "gpu_memory_utilization": 1.0}
    answer = oomless.infer(
        "qwen2.5-vl-72b",
        gpu="ascend-910b:4",
        engine="vllm-ascend",
        engine_version="0.10.1",
        max_num_seqs=2048,
        **asked,
    )
    assert answer.verdict != "does_not_fit"


def test_the_first_releases_charged_what_they_saw_of_the_card() -> None:
    """worker/worker.py: what torch gave out up to 0.2.4, all that is taken up to 0.3.0. Mistral-7B in AWQ ran
    in 0.7 of an RTX 2080 Ti under 0.2.1 (vllm#188), which has no graphs."""

    def of(version: str) -> oomless.ServingAnswer:
        asked: dict[str, Any] = {"gpu_memory_utilization": 0.7, "max_model_len": 4096, "dtype": "half"}
        return oomless.infer("mistral-7b", "rtx-2080-ti", quantization="awq", engine_version=version, **asked)

    def pool(version: str) -> float:
        return of(version).kv_cache.pool_bytes / GIB

    assert of("0.2.1").verdict == "fits"
    # 0.18 of context, 0.22 beside torch, and segments that torch holds for nothing
    assert pool("0.2.4") - pool("0.2.5") > 0.4
    assert pool("0.3.1") - pool("0.3.0") == pytest.approx(0.18, abs=0.01)
    assert line_bytes(of("0.2.6"), "runtime.cuda_graphs")
    assert not line_bytes(of("0.2.5"), "runtime.cuda_graphs")
