"""transformers: the cache that is asked for and no pool; expanded MLA in 4.x, latent in 5.x; layers over
cards."""

from typing import Any

import pytest

from oomless.api.serving import infer
from oomless.engines.rank import CacheLayout
from oomless.engines.transformers import TRANSFORMERS
from oomless.engines.transformers.cache import one
from oomless.errors import UnsupportedError, UsageError
from oomless.model.load import load
from oomless.run.hardware import parse_gpu
from oomless.run.serving import Asked, Layout
from oomless.units import GIB


def cache(name: str, version: str) -> CacheLayout:
    asked = Asked(engine="transformers", engine_version=version)
    request = TRANSFORMERS.resolve(load(name), parse_gpu("h200:8"), asked, Layout())
    return TRANSFORMERS.cache_layout(load(name), request, TRANSFORMERS.stages(load(name), request)[0])


CELLS = [
    ("deepseek-v3", "4.57", 61 * 81_920),
    ("deepseek-v3", "5.24", 61 * 1152),
    ("deepseek-v2-lite", "4.57", 276_480),
    ("deepseek-v2-lite", "5.24", 31_104),
    ("deepseek-v3.2", "5.24", 61 * (1152 + 256)),
    ("deepseek-v4-flash", "5.24", 6_880),
    ("deepseek-v4-pro", "5.24", 9_848),
    ("deepseek-coder-1.3b", "5.24", 196_608),
    ("deepseek-llm-67b", "4.57", 389_120),
]


@pytest.mark.parametrize(("name", "version", "num_bytes"), CELLS)
def test_a_token_takes(name: str, version: str, num_bytes: float) -> None:
    assert cache(name, version).token_bytes == num_bytes


@pytest.mark.parametrize(
    ("name", "version", "length", "gib"),
    [
        ("deepseek-v3", "4.57", 32 << 10, 152.5),
        ("deepseek-v3", "4.57", 128 << 10, 610),
        ("deepseek-v3", "5.24", 32 << 10, 2.145),
        ("deepseek-v2-lite", "5.24", 128 << 10, 3.797),
        ("deepseek-v4-flash", "5.24", 32 << 10, 0.227),
        ("deepseek-v4-flash", "5.24", 128 << 10, 0.856),
        ("deepseek-v4-flash", "5.24", 1 << 20, 6.735),
        ("deepseek-v4-pro", "5.24", 1 << 20, 9.642),
    ],
)
def test_one_sequence_takes(name: str, version: str, length: int, gib: float) -> None:
    assert one(cache(name, version), length) / GIB == pytest.approx(gib, rel=0.0004, abs=0.001)


def test_v4_keeps_windows_beside_its_rows() -> None:
    layout = cache("deepseek-v4-flash", "5.24")
    states = 21 * 8 * 4 * (512 + 128) * 4 + 20 * 128 * 2 * 512 * 4
    assert (
        layout.fixed_bytes == 127 * 1024 * (43 + 2) + states
    )  # two layers have a window alone, and keep keys and values apart


def test_layers_lie_on_cards() -> None:
    one = infer("deepseek-v2-lite", "h100:2", engine="transformers", pp=1, max_model_len=4096)
    two = infer("deepseek-v2-lite", "h100:2", engine="transformers", pp=2, max_model_len=4096)
    weights = [ledger.by_category()["weights"] for ledger in two.ledgers]
    assert sum(weights) == one.ledger.by_category()["weights"]
    assert two.kv_cache.bytes_per_token < one.kv_cache.bytes_per_token == 31_104


def test_only_the_last_position_has_logits_from_4_45_on() -> None:
    old, new = (
        infer(
            "deepseek-llm-7b", "h100", engine="transformers", engine_version=version, context=2048
        ).ledger.by_category()["logits"]
        for version in ("4.44", "4.57")
    )
    assert old == 2048 * new


def test_a_static_cache_is_made_for_the_longest_sequence() -> None:
    asked: dict[str, Any] = {"engine": "transformers", "max_model_len": 4096, "context": 1024}
    dynamic = infer("deepseek-llm-7b", "h100", **asked)
    static = infer("deepseek-llm-7b", "h100", cache_implementation="static", **asked)
    assert static.kv_cache.needed_bytes == 4 * dynamic.kv_cache.needed_bytes


def test_what_it_cannot_do_is_refused_by_name() -> None:
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"tp": 8}, "transformers has no --tp"),
        ({"gpu_memory_utilization": 0.9}, "transformers has no --gpu-memory-utilization"),
        ({"pp": 2, "device_map": "cuda"}, "--device-map cuda is one card"),
    )
    for flags, message in cases:
        with pytest.raises(UsageError, match=message):
            infer("deepseek-v2-lite", "h100:8", engine="transformers", **flags)
    with pytest.raises(UnsupportedError, match=r"before 5\.0"):
        infer("deepseek-v3.2", "h200:8", engine="transformers", engine_version="4.57")


# variants of vLLM


def test_ascend_and_gaudi_follow_vllm() -> None:
    ascend = infer(
        "deepseek-r1-distill-llama-70b",
        "64GiB:8",
        engine="vllm-ascend",
        tp=8,
        engine_version="0.9.0",
        max_model_len=32767,
    )
    held = sum(line.bytes for line in ascend.ledger.lines if line.category in ("weights", "fragmentation"))
    assert held / GIB == pytest.approx(16.461, abs=0.001)  # vllm-ascend#2235
    gaudi = infer(
        "deepseek-r1", "gaudi-2:8", engine="vllm-hpu", tp=8, engine_version="0.9.0", max_model_len=8192
    )
    held = sum(line.bytes for line in gaudi.ledger.lines if line.category in ("weights", "fragmentation"))
    assert held / GIB == pytest.approx(79.41, abs=0.06)
    sparse = infer(
        "deepseek-v3.2", "64GiB:16", engine="vllm-ascend", tp=16, engine_version="0.15.0", max_model_len=8192
    )
    assert sparse.kv_cache.bytes_per_token == 61 * 704 * 2


def test_bitsandbytes_quantises_matrices_and_nothing_else() -> None:
    """Qwen2.5-7B in NF4: 6.5 billion values of matrices at 4 bits and a F32 scale for 64; embedding, head and
    norms stay."""
    plain, quantised = (
        infer("qwen2.5-7b", "h100", engine="transformers", context=512, quantization=word)
        for word in (None, "bitsandbytes")
    )
    matrices = sum(t.num_parameters for t in plain.model.tensors if t.role != "plain")
    saved = [each.ledger.by_category()["weights"] for each in (plain, quantised)]
    assert saved[0] - saved[1] == matrices * 2 - matrices // 2 - matrices // 64 * 4
    with pytest.raises(UnsupportedError, match="stacked experts"):
        infer("qwen3-30b-a3b", "h100", engine="transformers", quantization="bitsandbytes")


@pytest.mark.parametrize(
    ("name", "release", "least"),
    [
        ("gemma-3-27b", "5.5", 42.8),
        ("gemma-3-27b", "4.52", 0),
        ("llama-3.1-8b", "5.5", 0),
        ("gemma-4-31b", "5.5", 57.1),
    ],
)
def test_windows_and_wide_heads_take_the_pairs_of_a_prompt(name: str, release: str, least: float) -> None:
    """Prompts of 123,821 tokens of Gemma ran out of four A100 (transformers#45229): masks were not seen."""
    found = infer(
        name,
        "a100-80gb:4",
        engine="transformers",
        engine_version=release,
        device_map="auto",
        context=123_821,
    ).estimate
    assert found.verdict == ("tight" if least == 42.8 else "does_not_fit" if least else "fits")
    lines = [line for line in found.ledgers[0].lines if line.what.startswith("masks")]
    assert sum(line.low_bytes for line in lines) / GIB == pytest.approx(least, abs=0.1)


@pytest.mark.parametrize(
    ("name", "release", "pairs"),
    [
        ("llama-7b", "4.31", (192, 256)),
        ("llama-7b", "4.40", (0, 0)),
        ("chatglm2-6b", "4.28", (0, 256)),
        ("chatglm3-6b-32k", "4.37", (0, 256)),
        ("chatglm3-6b-32k", "4.48", (0, 0)),
        ("gpt-oss-20b", "4.57", (0, 512)),
    ],
)
def test_eager_attention_takes_the_scores_of_all_heads(
    name: str, release: str, pairs: tuple[int, int]
) -> None:
    """7B models ran out of 80 GB with 20,000 tokens in 2023 (LongBench#17, ChatGLM2-6B#594),
    and classes of a checkpoint go by torch alone (ChatGLM3#1294, LongBench#44)."""
    found = infer(name, "a100-80gb", engine="transformers", engine_version=release, context=2048)
    lines = [line for line in found.ledgers[0].lines if line.what.startswith("masks")]
    ends = (sum(line.low_bytes for line in lines), sum(line.high_bytes for line in lines))
    assert ends == tuple(2048**2 * each for each in pairs)
