"""SGLang: caches byte for byte, what each rank holds under its divisions, and the logs that configuration
alone predicts."""

import csv
from pathlib import Path
from typing import Any

import pytest

from oomless.api.serving import infer
from oomless.engines.rank import CacheLayout
from oomless.engines.sglang import SGLANG
from oomless.engines.sglang.release import RELEASES, shared_clones
from oomless.engines.sglang.share import default_share
from oomless.errors import UnsupportedError, UsageError
from oomless.estimate.allocator import place
from oomless.estimate.serving.estimate import Estimate, estimate_serving
from oomless.model.load import load
from oomless.run.hardware import parse_gpu
from oomless.run.serving import Asked, Layout, Resolved
from oomless.run.speculation import Speculation
from oomless.truth.tables import read_table
from oomless.truth.validate import score
from oomless.units import GIB

TABLE = Path(__file__).parents[1] / "tables" / "inference.csv"


def resolved(name: str, gpu: str = "h200:8", layout: Layout | None = None, **flags: object) -> Resolved:
    asked = Asked(engine="sglang", **flags)  # type: ignore[arg-type]  # flags of mixed types, by name
    return SGLANG.resolve(load(name), parse_gpu(gpu), asked, layout or Layout())


def cache(name: str, gpu: str = "h200:8", layout: Layout | None = None, **flags: object) -> CacheLayout:
    request = resolved(name, gpu, layout, **flags)
    return SGLANG.cache_layout(load(name), request, SGLANG.stages(load(name), request)[0])


def weights(estimate: Estimate) -> float:
    return (
        sum(line.bytes for line in estimate.ledger.lines if line.category in ("weights", "fragmentation"))
        / GIB
    )


# growth a token, all layers of one rank (knowledge: models.md 4.1 and 4.2)

CELLS = [
    ("deepseek-v3", "h200", "auto", 70_272),
    ("deepseek-r1", "h200", "fp8", 35_136),
    ("deepseek-v2", "h200", "auto", 69_120),
    ("deepseek-v2-lite", "h200", "auto", 31_104),
    ("deepseek-v3.2", "h200", "bfloat16", 78_324),
    ("deepseek-v3.2", "h200", "fp8_e4m3", 48_068),
    ("deepseek-v3.2", "b200", "fp8_e4m3", 61 * (576 + 132)),
    ("deepseek-v4-flash", "h200", "auto", 3_850.25),
    ("deepseek-v4-flash", "b200", "auto", 3_850.25),
    ("deepseek-v4-flash", "h200", "bfloat16", 6_229),
    ("deepseek-v4-pro", "h200", "auto", 5_511.4375),
    ("deepseek-v4-pro", "h200", "bfloat16", 8_918),
    ("deepseek-v4.1-flash", "b200", "auto", 890),
    ("deepseek-v4.1-flash", "h200", "auto", 1_630),
    ("glm-5", "h200", "bfloat16", 100_152),
    ("glm-5.2", "h200", "bfloat16", 92_628),
    ("deepseek-coder-1.3b", "h200", "auto", 196_608),
    ("deepseek-llm-67b", "h200", "auto", 389_120),
    ("deepseek-r1-distill-qwen-7b", "h200", "auto", 57_344),
    ("deepseek-ocr", "h200", "auto", 61_440),
]


@pytest.mark.parametrize(("name", "gpu", "dtype", "num_bytes"), CELLS)
def test_a_token_takes(name: str, gpu: str, dtype: str, num_bytes: float) -> None:
    assert cache(name, f"{gpu}:8", kv_cache_dtype=dtype).token_bytes == num_bytes


def test_rows_of_v41_are_its_own_where_no_ranks_divide_the_attention() -> None:
    """_default_dsv4_attention_backend of 0.5.23."""
    groups = Layout(tp=8, dp=8, enable_dp_attention=True)
    found = [cache("deepseek-v4.1-flash", "b200:8", each).token_bytes for each in (groups, Layout(tp=8))]
    assert found == [890, 1_630]


@pytest.mark.parametrize(
    ("release", "asked", "expected"),
    [
        ("0.5.2", "auto", "auto"),
        ("0.5.4", "auto", "fp8_e4m3"),
        ("0.5.4", "bfloat16", "bfloat16"),
    ],
)
def test_a_checkpoint_says_the_type_of_its_cache(release: str, asked: str, expected: str) -> None:
    found = resolved("qwen3-32b-nvfp4", "b200", engine_version=release, kv_cache_dtype=asked)
    assert found.kv_cache_dtype == expected


@pytest.mark.parametrize(
    ("name", "dtype", "length", "gib"),
    [
        ("deepseek-v3", "auto", 32 << 10, 2.145),
        ("deepseek-v3", "fp8", 128 << 10, 4.289),
        ("deepseek-v3.2", "bfloat16", 128 << 10, 9.561),
        ("deepseek-v3.2", "fp8_e4m3", 32 << 10, 1.467),
    ],
)
def test_one_sequence_takes(name: str, dtype: str, length: int, gib: float) -> None:
    assert cache(name, kv_cache_dtype=dtype).token_bytes * length / GIB == pytest.approx(gib, abs=0.0006)


def test_latents_are_not_divided_over_tensor_ranks_and_heads_are() -> None:
    assert cache("deepseek-v3", layout=Layout(tp=8)).token_bytes == 70_272
    assert cache("llama-3.1-8b", layout=Layout(tp=8)).token_bytes == 131_072 / 8
    attention = Layout(tp=8, dp=8, enable_dp_attention=True)
    assert cache("llama-3.1-8b", layout=attention).token_bytes == 131_072


def test_the_window_pool_of_v4_follows_the_running_requests() -> None:
    few, many = (cache("deepseek-v4.1-flash", max_num_seqs=requests) for requests in (64, 256))
    assert many.set_aside_bytes > 3 * few.set_aside_bytes
    assert many.block_bytes == few.block_bytes
    by_tokens = cache("deepseek-v4-flash", swa_full_tokens_ratio=0.1)
    assert by_tokens.block_bytes > cache("deepseek-v4-flash").block_bytes
    assert by_tokens.set_aside_bytes < cache("deepseek-v4-flash").set_aside_bytes


@pytest.mark.parametrize(
    ("version", "name", "logged"),
    [
        ("0.5.12", "deepseek-v4-flash", 15_955.85),  # a log of 2026-05-15
        ("0.5.12", "deepseek-v4-pro", 23_749.84),  # sglang#24523
        ("0.5.18", "deepseek-v4-flash", 7_705.45),  # a log of 2026-08-07
    ],
)
def test_v4_counts_a_token_with_a_tenth_of_its_windows_before_0_5_21(
    version: str, name: str, logged: float
) -> None:
    asked = infer(name, "h200:8", engine="sglang", engine_version=version, tp=8)
    assert asked.request.swa_full_tokens_ratio == 0.1
    found = cache(name, engine_version=version, swa_full_tokens_ratio=0.1)
    assert found.block_bytes == pytest.approx(256 * logged, abs=2)
    assert (found.set_aside_bytes > 0) == (version == "0.5.18")  # the states of C128, by requests


def test_windows_of_v4_follow_the_requests_since_0_5_21_unless_a_share_is_asked() -> None:
    for version, share in (("0.5.20", 0.1), ("0.5.21", None)):
        asked = infer("deepseek-v4-pro", "h200:8", engine="sglang", engine_version=version, tp=8)
        assert asked.request.swa_full_tokens_ratio == share


def test_the_draft_s_pool_of_v4_before_it_was_loaded_first() -> None:
    """sglang#28620: the same cards hold 73,472 tokens with MTP and 120,576 without, in pages of 256."""
    plain, drafted = (
        cache("deepseek-v4-flash", engine_version="0.5.13", swa_full_tokens_ratio=0.1, speculation=each)
        for each in (None, Speculation("mtp"))
    )
    share = plain.block_bytes / drafted.block_bytes
    assert 73_472 / (120_576 + 256) < share < (73_472 + 256) / 120_576


def test_a_draft_raises_the_price_of_a_token() -> None:
    assert cache("deepseek-v3", speculation=Speculation("mtp")).token_bytes == 62 * 1152
    assert (
        cache("deepseek-v3", speculation=Speculation("mtp"), engine_version="0.5.3").token_bytes == 61 * 1152
    )
    assert (
        cache("deepseek-v4-flash", speculation=Speculation("mtp")).block_bytes
        > cache("deepseek-v4-flash").block_bytes
    )


# what a rank holds


def test_shared_experts_are_cloned_by_0_4_5_post2_and_divided_since_0_4_7() -> None:
    r1, asked = load("deepseek-r1"), Resolved(layout=Layout(tp=8))
    assert [
        shared_clones(r1, asked, parse_gpu("h200:8"), RELEASES.at("0." + v))
        for v in ("4.5.post1", "4.5.post2", "4.6", "5.3")
    ] == [0, 8, 8, 1]
    assert shared_clones(r1, asked, parse_gpu("a100-80gb:8"), RELEASES.at("0.4.6")) == 0
    assert (
        shared_clones(r1, asked._replace(moe_a2a_backend="deepep"), parse_gpu("h200:8"), RELEASES.at("0.5.3"))
        == 0
    )
    assert shared_clones(load("deepseek-v2"), asked, parse_gpu("h200:8"), RELEASES.at("0.5.3")) == 0
    cloned, divided = (
        weights(infer("deepseek-r1", "h200:8", engine="sglang", tp=8, engine_version=v).estimate)
        for v in ("0.4.6", "0.5.3")
    )
    assert cloned - divided == pytest.approx(
        2.1 - 0.12, abs=0.15
    )  # clones, less BF16 copies of kv_b_proj since 0.5


def test_data_parallel_attention_keeps_attention_and_embedding_whole() -> None:
    whole = infer("deepseek-r1", "h200:8", engine="sglang", tp=8, dp=8, enable_dp_attention=True)
    cut = infer("deepseek-r1", "h200:8", engine="sglang", tp=8)
    assert whole.ledger.num_ranks == cut.ledger.num_ranks == 8
    parts = [{line.key: line.bytes for line in each.ledger.lines} for each in (whole, cut)]
    assert parts[0]["weights.embedding"] == 8 * parts[1]["weights.embedding"]
    assert parts[0]["weights.output_head"] == parts[1]["weights.output_head"]
    assert parts[0]["weights.routed_experts"] == parts[1]["weights.routed_experts"]
    assert parts[0]["weights.attention"] > 4 * parts[1]["weights.attention"]


def test_deepep_divides_experts_and_keeps_shared_ones_whole() -> None:
    flags: dict[str, Any] = {
        "engine": "sglang",
        "tp": 8,
        "dp": 8,
        "enable_dp_attention": True,
        "moe_a2a_backend": "deepep",
        "engine_version": "0.4.6",
    }
    plain = infer("deepseek-r1", "h200:8", **flags).estimate
    more = infer("deepseek-r1", "h200:8", num_redundant_experts=32, **flags).estimate
    assert weights(more) - weights(plain) == pytest.approx(
        9.5, abs=0.1
    )  # 4 experts a layer and rank: serving_memory.md, SGLang


def test_a_draft_lies_beside_the_pool_of_old_releases_and_in_the_budget_since() -> None:
    pools = {}
    for version in ("0.5.3", "0.5.23"):
        for draft in ("", "EAGLE"):
            flags: dict[str, Any] = {"speculative_config": draft} if draft else {}
            answer = infer(
                "deepseek-r1",
                "h200:8",
                engine="sglang",
                tp=8,
                engine_version=version,
                mem_fraction_static=0.85,
                **flags,
            )
            pools[version, draft] = answer.kv_cache.pool_bytes
    assert pools["0.5.3", ""] == pools["0.5.3", "EAGLE"]
    assert pools["0.5.23", ""] - pools["0.5.23", "EAGLE"] > GIB


def test_an_old_draft_has_rows_for_as_many_tokens_as_are_asked() -> None:
    """It has no more slots than the model that it drafts for (--max-total-tokens)."""
    flags: dict[str, Any] = {"engine": "sglang", "engine_version": "0.5.3", "speculative_config": "EAGLE"}
    whole, capped = (
        infer("deepseek-r1", "h200:8", tp=8, max_total_tokens=tokens, **flags).ledger
        for tokens in (None, 8_192)
    )
    drafts = [next(line for line in each.lines if "draft" in line.key).bytes for each in (whole, capped)]
    assert drafts[0] > drafts[1]


def test_activations_are_not_subtracted_from_the_pool() -> None:
    answers = [
        infer(
            "deepseek-r1",
            "h200:8",
            engine="sglang",
            tp=8,
            mem_fraction_static=0.85,
            max_num_batched_tokens=chunk,
        )
        for chunk in (2048, 16384)
    ]
    assert answers[0].kv_cache.pool_bytes == answers[1].kv_cache.pool_bytes
    assert answers[0].ledger.total_bytes < answers[1].ledger.total_bytes


# defaults


@pytest.mark.parametrize(
    ("gpu", "tp", "version", "share"),
    [
        ("h100:8", 8, "0.4.5", 0.81),
        ("h100:1", 1, "0.4.5", 0.88),
        ("b200:8", 8, "0.4.7", 0.79),
        ("h100:8", 8, "0.4.7", 0.81),
        ("mi300x:8", 8, "0.4.7", 0.906),
        ("h100:8", 8, "0.4.7.post1", 0.831),
        ("h200:8", 8, "0.5.0", 0.886),
        ("b200:8", 8, "0.5.2", 0.821),
        ("h200:8", 8, "0.5.3", 0.897),
        ("h100:8", 8, "0.5.10", 0.799),
        ("h200:8", 8, "0.5.23", 0.886),
    ],
)
def test_the_default_share(gpu: str, tp: int, version: str, share: float) -> None:
    asked = Resolved(layout=Layout(tp=tp), cuda_graph_max_bs=512)
    assert default_share(
        load("deepseek-r1"), asked, parse_gpu(gpu), RELEASES.at(version), 8192
    ) == pytest.approx(share, abs=0.001)


def test_sparse_attention_of_0_5_3_divides_the_attention_by_itself() -> None:
    request = resolved("deepseek-v3.2", layout=Layout(tp=8), engine_version="0.5.3")
    assert request.layout == Layout(tp=8, dp=8, enable_dp_attention=True)
    assert (request.mem_fraction_static, request.block_size) == (0.8, 64)
    assert resolved("deepseek-v3.2", layout=Layout(tp=8)).layout == Layout(tp=8)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"gpu_memory_utilization": 0.9}, "sglang has no --gpu-memory-utilization"),
        ({"decode_context_parallel_size": 1, "indexer_kv_dtype": "mxfp4"}, "--indexer-kv-dtype"),
        ({"device_map": "cuda"}, "--device-map"),
        ({"tp": 8, "dp": 3, "enable_dp_attention": True}, "--dp 3 does not divide --tp 8"),
        ({"tp": 8, "ep_size": 3}, "--ep-size 3 does not divide --tp 8"),
        ({"mem_fraction_static": 1.5}, "--mem-fraction-static is 1.5"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(flags: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        infer("deepseek-v3", "h200:8", engine="sglang", **flags)


@pytest.mark.parametrize("engine", ["sglang", "trtllm"])
def test_ranks_of_experts_alone_ask_for_a_layout(engine: str) -> None:
    """`--ep-size 8` without `--tp` on eight cards is a question for the search, as expert parallelism is in
    vLLM; a size that no layout has is refused with the largest one."""
    found = infer("deepseek-v3", "h200:8", engine=engine, ep_size=8).request.layout
    assert (found.tp, found.ep_size) == (8, 8)
    with pytest.raises(UsageError, match="--ep-size 16 does not divide --tp 8"):
        infer("deepseek-v3", "h200:8", engine=engine, ep_size=16)


def test_groups_of_attention_alone_ask_for_a_layout() -> None:
    found = infer("deepseek-v3", "h200:8", engine="sglang", dp=8, enable_dp_attention=True).request.layout
    assert (found.tp, found.dp) == (8, 8)


@pytest.mark.parametrize("flag", ["mem_fraction_static", "swa_full_tokens_ratio", "free_gpu_memory_fraction"])
def test_vllm_refuses_the_shares_of_others(flag: str) -> None:
    with pytest.raises(UsageError, match=f"vllm has no --{flag.replace('_', '-')}"):
        estimate_serving(load("deepseek-v3"), Asked(**{flag: 0.9}), parse_gpu("h200:8"))  # type: ignore[arg-type]  # flags of mixed types, by name


def test_releases_before_a_kind_refuse_it() -> None:
    with pytest.raises(UnsupportedError, match=r"0\.5\.11"):
        resolved("deepseek-v4-flash", engine_version="0.5.3")


def test_reserved_memory_is_whole_segments() -> None:
    sizes = [3 << 20, 5 << 20, 700_000, 30 << 20]
    placed = place([(sizes, 1)])
    assert placed.reserved_bytes == (20 + 2 + 30) << 20
    assert placed.reserved_bytes >= placed.allocated_bytes


# measured rows, from their configuration alone

MEASURED = {"544": 0.001, "554": 0.0002, "558": 0.015, "563": 0.001, "564": 0.01}


def test_logs_are_predicted() -> None:
    rows = {row.id: row for row in read_table(TABLE)}
    with TABLE.open(encoding="utf-8", newline="") as file:
        assert set(MEASURED) <= {row["id"] for row in csv.DictReader(file)}
    for name, limit in MEASURED.items():
        scored = score(rows[name])
        if "not in the catalogue" in scored.reason:
            continue
        assert scored.rel_error is not None, scored
        assert abs(scored.rel_error) <= limit, scored


def test_v4_in_16_bit_takes_rows_of_16_bit_from_its_pool() -> None:
    """Compressed rows of 512 values; on Ascend, which has no FP8, the indexer's keys too."""
    asked, plain = cache("deepseek-v4-flash", kv_cache_dtype="bfloat16"), cache("deepseek-v4-flash")
    ascend = cache("deepseek-v4-flash", gpu="ascend-910b:8")
    assert (plain.token_bytes, asked.token_bytes, ascend.token_bytes) == (3850.25, 6229.0, 6880.0)
    for layout in (asked, ascend):
        assert layout.block_bytes == 256 * layout.token_bytes


def test_a_stage_of_windows_alone_limits_no_length() -> None:
    """The last ten layers of V4.1 keep windows and no row of older tokens."""
    found = infer("deepseek-v4.1-flash", "200GiB:8", engine="sglang", tp=2, pp=4, max_model_len=16384)
    assert found.kv_cache.max_tokens > 16384


def test_an_answer_is_the_same_when_it_is_asked_again() -> None:
    """What is kept does not grow: a draft's absorbed matrices were added to it each time."""
    first, second = (
        infer("deepseek-v3", "h200:8", engine="sglang", engine_version="0.4.4", tp=8, speculation="mtp")
        for _ in range(2)
    )
    assert first.ledgers == second.ledgers


def test_a_draft_had_a_pool_of_all_layers_before_its_last_post_release() -> None:
    """GLM-4.5-Air on four H100 ran out with the README's command of 2025-07-29 (zai-org/GLM-4.5#3)."""
    flags: dict[str, Any] = {
        "engine": "sglang",
        "tp": 4,
        "mem_fraction_static": 0.7,
        "speculation": "mtp",
    }
    old, new = (
        infer("glm-4.5-air", "h100:4", quantization="fp8", engine_version=f"0.4.9.post{post}", **flags)
        for post in (5, 6)
    )
    assert (old.verdict, new.verdict) == ("does_not_fit", "fits")
    assert old.ledgers[0].total_bytes > new.ledgers[0].total_bytes + 25 * GIB


@pytest.mark.parametrize(
    ("model", "version", "tokens"),
    [
        ("llama-4-scout", "0.4.5", 8192),
        ("llama-4-scout", "0.4.5.post1", 400_000),
        ("llama-4-scout", "0.4.6", 8192),
        ("qwen2.5-vl-7b", "0.4.6", 100_000),
        ("qwen2.5-vl-7b", "0.4.7", 8192),
    ],
)
def test_prompts_of_vision_models_were_once_read_whole(model: str, version: str, tokens: int) -> None:
    """sglang#5212: a prompt of 400,000 tokens on eight H100 dies, as chunks are turned off for Llama 4
    when it is of images, from 0.4.5.post1 to post2; sglang#6355 turned them on again."""
    asked: dict[str, Any] = {"engine": "sglang", "tp": 4, "context": 100_000}
    if model == "llama-4-scout":
        asked |= {"tp": 8, "max_model_len": 1_000_000, "context": 400_000}
    answer = infer(model, f"h100:{asked['tp']}", engine_version=version, **asked)
    (line,) = (each for each in answer.ledgers[0].lines if each.key == "activations.profile_run")
    assert line.formula.startswith(f"{tokens:,} tokens")


def test_positions_of_images_have_no_more_rows_than_the_model_has_positions() -> None:
    """8.62 GiB of Qwen3.5-4B as a log has it, where vLLM's table of four times the rows leaves 8.71 at
    least."""
    lines = infer("qwen3.5-4b", "rtx-4090", engine="sglang", engine_version="0.5.10").ledger.lines
    assert [line.bytes for line in lines if line.key == "weights.rotary_tables"] == [262_144 * 64 * 4]


def test_0_5_8_divides_the_pool_of_mimo_by_its_windows_twice() -> None:
    """375,360 tokens where 0.5.9 has 555,000 (sglang#18039)."""
    old, new = (cache("mimo-v2-flash", "h200:4", Layout(tp=4), engine_version=v) for v in ("0.5.8", "0.5.9"))
    assert old.block_bytes / new.block_bytes == pytest.approx(67_536 / 45_696, rel=1e-3)


@pytest.mark.parametrize(
    ("gpu", "flags", "named"),
    [
        ("mi300x:8", {"max_num_batched_tokens": 131_072, "mem_fraction_static": 0.94}, "activations of"),
        ("h200:8", {}, ""),
    ],
)
def test_a_wide_tight_answer_says_first_what_decides_it(gpu: str, flags: dict[str, Any], named: str) -> None:
    """What comes beside the pool, where the card may lack it: not what only moves the pool."""
    asked = flags | {"tp": 8, "max_prefill_tokens": 131_072, "context": 9216, "concurrency": 64}
    answer = infer("deepseek-r1-0528", gpu, engine="sglang", engine_version="0.5.12", **asked)
    assert bool(named) == repr(answer).splitlines()[1].startswith(f"most of the doubt: {named or '-'}")


def test_a_prefill_has_no_more_tokens_than_the_load() -> None:
    """No profile runs: R1 with chunks of 131,072 on MI300X served 9,216 tokens at a time (InferenceX)."""
    asked: dict[str, Any] = {
        "tp": 8,
        "mem_fraction_static": 0.94,  # AITER takes 0.8
        "context": 9216,
        "max_prefill_tokens": 131_072,
    }
    found = [
        infer(
            "deepseek-r1",
            "mi300x:8",
            engine="sglang",
            engine_version="0.5.12",
            max_num_batched_tokens=131_072,
            concurrency=num,
            **asked,
        )
        for num in (1, 64)
    ]
    assert [answer.verdict for answer in found] == ["fits", "tight"]


def test_aiter_pads_the_width_of_experts_in_fp4_on_amd() -> None:
    """V4-Pro at TP8: 2.105 GiB a layer with its shared expert, 1.592 from sglang#31450 on; V4.1-Flash at TP8:
    288 values become 384, 44.824218 GiB over 40 layers by a reading of 0.5.2x on MI3xx."""

    def experts(model: str, gpu: str, version: str) -> float:
        found = infer(model, gpu, engine="sglang", engine_version=version, tp=8, context=8192, offline=True)
        lines = [line for line in found.ledger.lines if line.key == "weights.routed_experts"]
        return sum(line.bytes for line in lines) / GIB

    plain = experts("deepseek-v4-pro", "b200:8", "0.5.14")
    assert experts("deepseek-v4-pro", "mi355x:8", "0.5.14") == pytest.approx(plain * 512 / 384)
    assert experts("deepseek-v4-pro", "mi355x:8", "0.5.23") == pytest.approx(plain)
    assert experts("deepseek-v4.1-flash", "mi355x:8", "0.5.23") == pytest.approx(44.824218, abs=1e-5)
    assert experts("deepseek-v4-flash", "mi355x:8", "0.5.14") == pytest.approx(
        experts("deepseek-v4-flash", "b200:8", "0.5.14")
    )


def test_data_parallel_attention_gathers_tokens_for_experts() -> None:
    """layers/dp_attention.py, SUM_LEN: experts see the chunks of all groups that have one, unless tokens are
    sent to them."""
    asked: dict[str, Any] = {
        "tp": 8,
        "dp": 8,
        "enable_dp_attention": True,
        "context": 8192,
        "engine": "sglang",
    }
    alone, busy, sent = (
        infer("deepseek-r1", "h200:8", engine_version="0.5.9", **asked, **more).ledger.lines
        for more in (
            {"concurrency": 1},
            {"concurrency": 64},
            {"concurrency": 64, "moe_a2a_backend": "deepep"},
        )
    )
    size = {"activations.profile_run"}
    one, eight, own = (sum(each.bytes for each in lines if each.key in size) for lines in (alone, busy, sent))
    assert eight > 3 * one
    assert own < 1.5 * one


def test_aiter_takes_less_of_the_share_above_8192_positions() -> None:
    """Whoever chose it, from 0.4.7 on; Triton, and latents of other heads than 16 or 128 a rank, do not
    (sglang#6564; the log of a Qwen3.8-27B on MI355X holds 0.85 * 0.85 of its card)."""

    def share(name: str, **flags: object) -> float:
        found = resolved(name, "mi355x:8", flags.pop("layout", None), mem_fraction_static=0.8, **flags)  # type: ignore[arg-type]
        return round(found.mem_fraction_static or 0, 4)

    assert [share("qwen3-32b", engine_version=each) for each in ("0.4.6", "0.4.7", "0.5.23")] == [
        0.8,
        0.68,
        0.68,
    ]
    assert share("qwen3-32b", max_model_len=8192) == 0.8
    assert share("qwen3-32b", attention_backend="triton") == 0.8
    tp8, tp4 = Layout(tp=8), Layout(tp=4)
    assert [share("deepseek-r1", layout=each) for each in (tp8, tp4)] == [0.68, 0.8]
    assert [share("kimi-k2", layout=each) for each in (tp8, tp4)] == [0.8, 0.68]
    drafts = Speculation("EAGLE")
    said = ("0.4.9", "0.5.12")
    assert [share("deepseek-r1", layout=tp8, speculation=drafts, engine_version=each) for each in said] == [
        0.8,
        0.68,
    ]


def test_printed_share_is_what_aiter_left() -> None:
    """ServerArgs of 0.5.4.post1 and later print the share already cut; before, the one that was asked."""
    asked = Asked(engine="sglang", engine_version="0.5.17", gpu_memory_utilization=0.7225)
    flags = ", ".join(SGLANG.rows.flags_of_log({}, {"attention_backend": "aiter"}.get, lambda _: ""))
    for version, share in (("0.5.17", 0.85), ("0.5.1", 0.7225)):
        found = SGLANG.rows.as_asked(asked._replace(engine_version=version), flags)
        assert found.attention_backend == "aiter"
        assert found.mem_fraction_static == pytest.approx(share)


def test_prefills_are_captured_in_pieces_beside_no_graphs_of_steps() -> None:
    """`--disable-cuda-graph` of 0.5.10 to 0.5.14 leaves them: 0.88 GiB of a Qwen3-30B-A3B (0.5.13)."""
    asked: dict[str, Any] = {"engine": "sglang", "enforce_eager": True}

    def graphs(version: str, **more: Any) -> list[float]:
        lines = infer("qwen3-30b-a3b", "rtx-pro-6000", engine_version=version, **asked, **more).ledger.lines
        return [each.high_bytes / GIB for each in lines if each.key == "runtime.cuda_graphs"]

    assert graphs("0.5.13")[0] > 0.88
    assert graphs("0.5.9") == graphs("0.5.15") == graphs("0.5.13", disable_prefill_cuda_graph=True) == []


def test_the_keys_that_pick_blocks_are_in_the_pool() -> None:
    """MiniMax-M3: one head of 128 in BF16 for each of 57 layers, on every rank (MiniMaxSparseKVPool)."""
    found = infer("minimax-m3", "h200:8", engine="sglang", tp=8)
    assert found.kv_cache.bytes_per_token == 60 * 512 + 57 * 256
