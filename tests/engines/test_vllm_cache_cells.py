"""vLLM's cache, byte for byte: a token's growth in every format, pages, and the capacities that logs of real
runs print."""

import pytest

import oomless
from oomless.engines.rank import CacheLayout
from oomless.engines.vllm import VLLM
from oomless.errors import UnsupportedError, UsageError
from oomless.model.load import load
from oomless.run.hardware import parse_gpu
from oomless.run.serving import Asked, Layout, Resolved
from oomless.run.speculation import Speculation
from oomless.units import GIB


def resolved(name: str, gpu: str = "h200:8", layout: Layout | None = None, **flags: object) -> Resolved:
    """The question with vLLM's defaults."""
    asked = Asked(**flags)  # type: ignore[arg-type]  # flags of mixed types, by name
    return VLLM.resolve(load(name), parse_gpu(gpu), asked, layout or Layout())


def caches(
    name: str, gpu: str = "h200:8", layout: Layout | None = None, **flags: object
) -> list[CacheLayout]:
    """One cache layout a pipeline stage."""
    request = resolved(name, gpu, layout, **flags)
    return [VLLM.cache_layout(load(name), request, stage) for stage in VLLM.stages(load(name), request)]


def cache(name: str, gpu: str = "h200:8", layout: Layout | None = None, **flags: object) -> CacheLayout:
    (one,) = caches(name, gpu, layout, **flags)
    return one


# growth a token, all layers of one rank, before page rounding

MLA_CELLS = [
    ("deepseek-v3", "auto", 61 * 1152, 70_272),
    ("deepseek-r1", "auto", 61 * 1152, 70_272),
    ("deepseek-v3", "fp8", 61 * 576, 35_136),
    ("deepseek-v2", "auto", 60 * 1152, 69_120),
    ("deepseek-v2.5", "auto", 60 * 1152, 69_120),
    ("deepseek-v2-lite", "auto", 27 * 1152, 31_104),
    ("deepseek-v3.2", "bfloat16", 61 * (1152 + 132), 78_324),
    ("deepseek-v3.2", "fp8_ds_mla", 61 * (656 + 132), 48_068),
    ("deepseek-v3.2", "fp8", 61 * (656 + 132), 48_068),
    ("glm-5", "bfloat16", 78 * (1152 + 132), 100_152),
    ("glm-5.2", "bfloat16", 78 * 1152 + 21 * 132, 92_628),
    ("glm-5.3", "bfloat16", 78 * 1152 + 21 * 132, 92_628),
]


@pytest.mark.parametrize(("name", "dtype", "terms", "num_bytes"), MLA_CELLS)
def test_a_token_of_mla_takes(name: str, dtype: str, terms: int, num_bytes: int) -> None:
    assert terms == num_bytes
    assert cache(name, kv_cache_dtype=dtype, engine_version="0.33.0").token_bytes == num_bytes


@pytest.mark.parametrize(("release", "row"), [("0.11.0", 656), ("0.11.1", 1152), ("0.13.0", 1152)])
def test_sparse_mla_is_packed_unasked_by_one_release(release: str, row: int) -> None:
    assert cache("deepseek-v3.2", engine_version=release).token_bytes == 61 * (row + 132)
    assert cache("deepseek-v3.2", engine_version=release, kv_cache_dtype="fp8").token_bytes == 61 * 788


def test_a_token_of_sparse_mla_in_fp4_takes() -> None:
    assert (
        cache("deepseek-v3.2", "b200:8", kv_cache_dtype="nvfp4_ds_mla").token_bytes
        == 61 * (352 + 132)
        == 29_524
    )
    with pytest.raises(UnsupportedError, match="does not run"):
        oomless.infer("deepseek-v3.2", "h200:8", kv_cache_dtype="nvfp4_ds_mla")


V4_CELLS = [
    ("deepseek-v4-flash", "auto", "auto", 3_850.25),
    ("deepseek-v4-flash", "fp8", "fp8", 3_850.25),
    ("deepseek-v4-flash", "auto", "mxfp4", 3_514.25),
    ("deepseek-v4-flash", "bfloat16", "auto", 6_229),
    ("deepseek-v4-flash-0731", "auto", "auto", 3_850.25),
    ("deepseek-v4-pro", "auto", "auto", 5_511.4375),
    ("deepseek-v4-pro", "auto", "mxfp4", 5_031.4375),
    ("deepseek-v4-pro", "bfloat16", "auto", 8_918),
    ("deepseek-v4-pro-0813", "auto", "auto", 5_511.4375),
]


@pytest.mark.parametrize(("name", "dtype", "index", "num_bytes"), V4_CELLS)
@pytest.mark.parametrize("version", ["0.21.0", "0.25.0", "0.33.0"])
def test_a_token_of_v4_takes(name: str, dtype: str, index: str, num_bytes: float, version: str) -> None:
    found = cache(name, kv_cache_dtype=dtype, indexer_kv_dtype=index, engine_version=version)
    assert found.token_bytes == num_bytes


@pytest.mark.parametrize(
    ("gpu", "dtype", "index", "num_bytes"),
    [
        ("b200:8", "nvfp4_ds_mla", "mxfp4", 890),
        ("b200:8", "auto", "mxfp4", 1_490),
        ("h200:8", "auto", "mxfp4", 1_630),
        ("h200:8", "auto", "auto", 1_790),
    ],
)
def test_a_token_of_v41_takes(gpu: str, dtype: str, index: str, num_bytes: int) -> None:
    assert (
        cache("deepseek-v4.1-flash", gpu, kv_cache_dtype=dtype, indexer_kv_dtype=index).token_bytes
        == num_bytes
    )


GQA_CELLS = {
    "deepseek-coder-1.3b": 196_608,
    "deepseek-coder-6.7b": 524_288,
    "deepseek-coder-33b": 253_952,
    "deepseek-llm-67b": 389_120,
    "deepseek-r1-distill-qwen-7b": 57_344,
    "deepseek-r1-distill-llama-8b": 131_072,
    "profile-deepseek-pro-13b": 819_200,
    "profile-deepseek-lite-0.7b": 49_152,
    "deepseek-vl2-tiny": 61_440,
    "deepseek-ocr": 61_440,
}


@pytest.mark.parametrize("name", GQA_CELLS)
@pytest.mark.parametrize("version", ["0.6.6", "0.11.0", "0.19.0", "0.33.0"])
def test_a_token_of_grouped_query_attention_takes(name: str, version: str) -> None:
    found = cache(name, engine_version=version)
    assert found.token_bytes == GQA_CELLS[name]
    assert found.block_bytes == 16 * GQA_CELLS[name]
    assert found.fixed_bytes == 0


# what tensor parallelism divides


@pytest.mark.parametrize("tp", [2, 4, 8])
@pytest.mark.parametrize(
    "name", ["deepseek-v3", "deepseek-v2-lite", "deepseek-v3.2", "deepseek-v4-flash", "deepseek-v4.1-flash"]
)
def test_every_tensor_parallel_rank_holds_the_whole_latent(name: str, tp: int) -> None:
    assert cache(name, layout=Layout(tp=tp)) == cache(name)


@pytest.mark.parametrize("tp", [1, 2, 4, 8])
def test_key_and_value_heads_are_divided_down_to_one_a_rank(tp: int) -> None:
    assert cache("llama-3.1-8b", layout=Layout(tp=tp)).token_bytes * tp == 131_072
    assert cache("deepseek-r1-distill-qwen-7b", layout=Layout(tp=4)).token_bytes * 4 == 57_344


def test_heads_fewer_than_ranks_are_repeated() -> None:
    assert (
        cache("qwen2.5-72b", layout=Layout(tp=16), gpu="h200:16").token_bytes
        == cache("qwen2.5-72b", layout=Layout(tp=8)).token_bytes
    )


def test_pipeline_stages_divide_the_layers() -> None:
    found = caches("deepseek-v3", layout=Layout(pp=4))
    assert [each.token_bytes for each in found] == [15 * 1152, 15 * 1152, 16 * 1152, 15 * 1152]


# pages and blocks


def test_pages_of_v4_are_rounded() -> None:
    assert (
        cache("deepseek-v4-pro", indexer_kv_dtype="mxfp4", engine_version="0.33.0").block_bytes == 1_315_008
    )


@pytest.mark.parametrize(
    ("name", "index", "a_token"),
    [
        ("deepseek-v4-flash", "auto", 3_915.0),
        ("deepseek-v4-flash", "mxfp4", 3_584.25),
        ("deepseek-v4-pro", "auto", 5_609.25),
        ("deepseek-v4-pro", "mxfp4", 5_136.75),
    ],
)
def test_growing_pages_of_v4_sum_to(name: str, index: str, a_token: float) -> None:
    found = cache(name, indexer_kv_dtype=index, engine_version="0.33.0")
    assert sum(group.page_bytes for group in found.groups if not group.window) == a_token * 256


def test_a_sequence_of_v4_holds_windows_and_states_whatever_its_length() -> None:
    states = 21 * 8 * (8192 + 2048) + 20 * 128 * 4096
    assert cache("deepseek-v4-flash").fixed_bytes == 43 * 128 * 584 + states
    assert 43 * 128 * 584 == 3_214_336


# what logs of real runs print


@pytest.mark.parametrize(
    ("pool_gib", "tokens", "length", "printed"),
    [(7.0065, 8_192, 912_128, 1_009_661), (7.71235, 16_384, 121_344, 150_992)],
)
def test_capacity_of_v4_flash_with_mtp_in_two_logs_of_025(
    pool_gib: float, tokens: int, length: int, printed: int
) -> None:
    """vllm#51041: pool, --max-num-batched-tokens and --max-model-len -> the capacity that the log prints."""
    flags = {
        "engine_version": "0.25.0",
        "max_model_len": length,
        "max_num_batched_tokens": tokens,
        "speculation": Speculation("mtp"),
    }
    found = cache("deepseek-v4-flash", **flags)  # type: ignore[arg-type]  # flags of mixed types, by name
    assert VLLM.max_tokens([found], [int(pool_gib * GIB)], resolved("deepseek-v4-flash", **flags)) == printed  # type: ignore[arg-type]  # flags of mixed types, by name


def test_what_one_sequence_needs_in_a_log_of_022() -> None:
    """A log of 0.22: 6.66 GiB needed for one sequence of 30,000 tokens with 16,384 tokens a step."""
    request = resolved(
        "deepseek-v4-flash", engine_version="0.22.0", max_model_len=30_000, max_num_batched_tokens=16384
    )
    found = cache(
        "deepseek-v4-flash", engine_version="0.22.0", max_model_len=30_000, max_num_batched_tokens=16384
    )
    assert round(VLLM.needed_bytes(found, request) / GIB, 2) == 6.66


# older releases


@pytest.mark.parametrize(
    ("release", "row"), [("0.7.1", 1152), ("0.7.2", 1280), ("0.7.3", 1280), ("0.8.5", 1152)]
)
def test_rows_of_072_and_later_are_aligned_to_256_bytes(release: str, row: int) -> None:
    assert cache("deepseek-v3", engine_version=release).token_bytes == 61 * row
    assert cache("deepseek-v2-lite", engine_version=release).token_bytes == 27 * row


def test_before_07_every_head_of_mla_was_stored() -> None:
    assert cache("deepseek-v2-lite", engine_version="0.6.6").token_bytes == 27 * 2 * 16 * 256 * 2 == 442_368
    assert cache("deepseek-v2-lite", engine_version="0.6.6", layout=Layout(tp=2)).token_bytes == 442_368 // 2


def test_070_stored_every_head_without_padding() -> None:
    found = cache("deepseek-v3", engine_version="0.7.0", layout=Layout(tp=8))
    assert found.token_bytes == 61 * 2 * 16 * 192 * 2


@pytest.mark.parametrize("dcp", [2, 4, 8])
def test_decode_context_parallelism_divides_a_sequence(dcp: int) -> None:
    alone = resolved(
        "deepseek-v3", engine_version="0.19.0", layout=Layout(tp=8), context=65_536, max_model_len=65_536
    )
    shared = alone._replace(layout=Layout(tp=8, dcp=dcp))
    found = cache("deepseek-v3", engine_version="0.19.0", layout=Layout(tp=8, dcp=dcp))
    assert VLLM.needed_bytes(found, shared) * dcp == VLLM.needed_bytes(found, alone) == 65_536 * 70_272
    pool = 4096 * found.block_bytes
    assert (
        VLLM.max_tokens([found], [pool], shared)
        == dcp * VLLM.max_tokens([found], [pool], alone)
        == dcp * 65_536
    )


PACKED = [
    ("llama-3.1-70b", 2, "turboquant_3bit_nc", "0.20.0", 14.61, 400128),
    ("qwen3-8b", 2, "turboquant_k8v4", "0.20.0", 12.0, 387248),
    ("qwen3.6-27b", 1, "turboquant_k8v4", "0.21.0", 3.077, 116537),
]


@pytest.mark.parametrize(("model", "tp", "dtype", "version", "gib", "tokens"), PACKED)
def test_tokens_of_packed_caches(
    model: str, tp: int, dtype: str, version: str, gib: float, tokens: int
) -> None:
    """Logs of vllm#40798, #40706 and #43357: two layers at each end stay, not beside states."""
    found = oomless.infer(
        model,
        gpu=f"h200:{tp}",
        tp=tp,
        engine_version=version,
        kv_cache_dtype=dtype,
        max_model_len=114688 if model == "qwen3.6-27b" else 32768,
        enable_prefix_caching=True,
        kv_cache_memory_bytes=int(gib * GIB),
    )
    assert found.kv_cache.max_tokens == pytest.approx(tokens, rel=0.001)


@pytest.mark.parametrize(
    ("model", "dtype", "version"),
    [
        ("qwen3-8b", "turboquant_4bit_nc", "0.19.0"),
        ("qwen3.6-27b", "turboquant_4bit_nc", "0.20.0"),
        ("gpt-oss-20b", "turboquant_4bit_nc", "0.22.0"),
        ("deepseek-v2-lite", "int8_per_token_head", "0.22.0"),
    ],
)
def test_packed_caches_that_are_refused(model: str, dtype: str, version: str) -> None:
    with pytest.raises(UnsupportedError):
        cache(model, kv_cache_dtype=dtype, engine_version=version)


def test_a_nightly_between_two_releases_has_codes_beside_states() -> None:
    """Builds that called themselves 0.20.1 and 0.20.2 ran them (club-3090#32, #71): with a note."""
    found = oomless.infer(
        "qwen3.6-27b",
        gpu="rtx-3090",
        kv_cache_dtype="turboquant_3bit_nc",
        engine_version="0.20.1",
        max_model_len=8192,
    )
    assert any("0.20.1 runs qwen3.6-27b there is not known" in note for note in found.warnings)


def test_the_cache_that_a_checkpoint_says_is_taken() -> None:
    """ModelOpt's FP8 of R1's NVFP4 was kept in 16 bit, with half of the tokens (vllm#30785)."""
    sizes = [
        cache("deepseek-r1-nvfp4", "b200:8", Layout(tp=8), engine_version=release, **flags).token_bytes
        for release, flags in (("0.13.0", {}), ("0.15.0", {}), ("0.15.0", {"kv_cache_dtype": "bfloat16"}))
    ]
    assert sizes == [61 * 1152, 61 * 576, 61 * 1152]


def test_a_block_of_no_size_that_attention_has_is_refused() -> None:
    with pytest.raises(UsageError, match="--block-size 7 is none"):
        resolved("qwen3-8b", block_size=7)
    assert [resolved("qwen3-8b", block_size=size).block_size for size in (8, 528)] == [8, 528]
