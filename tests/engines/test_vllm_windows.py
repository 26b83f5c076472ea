"""Sequences that run together: the blocks that a cache with windows needs, against a scheduler played out
step by step."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import oomless
from command import call
from oomless import UnsupportedError
from oomless.engines.rank import CacheGroup, CacheLayout
from oomless.engines.vllm.capacity import blocks_to_admit, blocks_together, needed_bytes, sequences
from oomless.run.serving import Layout, Resolved
from oomless.units import GIB

BLOCK_BYTES = 4096


def most_blocks(
    groups: tuple[CacheGroup, ...], length: int, concurrency: int, budget: int, decoded: int
) -> int:
    """The most blocks that are taken while `concurrency` prompts are read in chunks and then generate.

    A step has `budget` tokens: one for each sequence that generates, the rest for prompts in order. One step
    is scheduled while the one before it is under way, so what a window leaves behind is given back a step
    later.
    """
    computed = [0] * concurrency  # tokens whose step has ended
    under_way = [0] * concurrency
    most = 0
    while min(computed) < length:
        left, chunks = budget, [0] * concurrency
        done = [a + b for a, b in zip(computed, under_way, strict=True)]
        order = sorted(
            range(concurrency), key=lambda i: done[i] < length - decoded
        )  # those that generate come first
        for i in order:
            wanted = 1 if done[i] >= length - decoded else length - decoded - done[i]
            chunks[i] = min(wanted, left, length - done[i])
            left -= chunks[i]
        taken = 0
        for i in range(concurrency):
            end = done[i] + chunks[i]
            for group in groups:
                first = max(computed[i] - group.window + 1, 0) // group.block_size if group.window else 0
                taken += -(-end // group.block_size) - first if end else 0
        most = max(most, taken)
        computed, under_way = done, chunks
    return most


@given(
    st.sampled_from([(16, 128), (4, 8), (8, 128), (64, 128)]),
    st.integers(1, 6),
    st.integers(64, 1500),
    st.integers(64, 512),
    st.integers(1, 40),
)
@settings(max_examples=60, deadline=None)
def test_no_schedule_takes_more_blocks_than_are_counted(
    window: tuple[int, int], concurrency: int, prompt: int, budget: int, decoded: int
) -> None:
    groups = (
        CacheGroup("rows", 1, 32, BLOCK_BYTES),
        CacheGroup("window", 1, window[0], BLOCK_BYTES, window[1]),
    )
    layout = CacheLayout(groups, BLOCK_BYTES, 0, 0, BLOCK_BYTES, "", "")
    length = prompt + decoded
    asked = Resolved(
        max_model_len=length,
        context=length,
        concurrency=concurrency,
        max_num_batched_tokens=budget,
        layout=Layout(),
        engine_version="0.33.0",
    )
    assert (
        most_blocks(groups, length, concurrency, budget, decoded)
        <= needed_bytes(layout, asked) // BLOCK_BYTES
    )


@pytest.mark.parametrize(
    ("name", "padding"),
    [("deepseek-v4-flash", 1.3), ("deepseek-v4-pro", 1.3), ("gpt-oss-120b", 1.2), ("gemma-3-27b", 1.3)],
)
def test_a_further_sequence_takes_little_more_than_its_rows_and_windows(name: str, padding: float) -> None:
    """Counted by vLLM's own admission, each of 16 sequences of V4 Flash took 40 times its rows."""
    need = {}
    for concurrency in (16, 17):
        cache = oomless.infer(
            name, gpu="h200:8x2", tp=8, pp=2, max_model_len=32768, context=32768, concurrency=concurrency
        ).kv_cache
        need[concurrency] = cache.needed_bytes
    own = cache.bytes_per_token * 32768 + cache.fixed_bytes_per_sequence
    assert own <= need[17] - need[16] <= padding * own


@given(st.integers(1, 5000), st.integers(1, 40), st.integers(64, 4096))
@settings(deadline=None)
def test_what_is_said_to_run_at_once_is_what_the_pool_holds(
    num_blocks: int, length: int, budget: int
) -> None:
    groups = (CacheGroup("rows", 1, 32, BLOCK_BYTES), CacheGroup("window", 1, 16, BLOCK_BYTES, 128))
    layout = CacheLayout(groups, BLOCK_BYTES, 0, 0, BLOCK_BYTES, "", "")
    asked = Resolved(
        max_model_len=1,
        max_num_batched_tokens=budget,
        layout=Layout(),
        engine_version="0.28.0",
        context=64 * length,
    )
    found = int(sequences(layout, num_blocks * BLOCK_BYTES, 64 * length, asked))
    if found:
        assert needed_bytes(layout, asked._replace(concurrency=found)) <= num_blocks * BLOCK_BYTES
    assert needed_bytes(layout, asked._replace(concurrency=found + 1)) > num_blocks * BLOCK_BYTES


def test_without_windows_every_sequence_counts_alike() -> None:
    layout = CacheLayout((CacheGroup("latents", 61, 16, 1124352),), 1124352, 70272, 0, 1124352, "", "")
    asked = Resolved(
        max_model_len=4096, max_num_batched_tokens=8192, layout=Layout(), engine_version="0.33.0"
    )
    assert blocks_together(layout, 7, 4096, asked) == 7 * blocks_to_admit(layout, 4096, asked) == 7 * 256


@pytest.mark.parametrize(
    ("flag", "held"),
    [
        ("", 24_576),
        ("--disable-hybrid-kv-cache-manager", 49_152),
        ('--kv-transfer-config \'{"kv_connector": "LMCacheConnectorV1"}\'', 49_152),
        ("--no-disable-hybrid-kv-cache-manager", 24_576),
    ],
)
def test_windows_without_groups_are_cached_as_full_layers_are(flag: str, held: int) -> None:
    """config/vllm.py, disable_hybrid_kv_cache_manager; LMCacheConnectorV1 is no SupportsHMA."""
    words = ("--gpu", "h100", "--engine-version", "0.11.0", "--json")
    found = call("infer", "--command", f"vllm serve openai/gpt-oss-20b {flag}", *words)
    assert json.loads(found.out)["kv_cache"]["bytes_per_token"] == held


def gemma(version: str) -> oomless.ServingAnswer:
    asked: dict[str, Any] = {
        "tp": 2,
        "max_num_seqs": 48,
        "kv_cache_dtype": "int8_per_token_head",
        "max_model_len": 16384,
    }
    return oomless.infer("gemma-4-31b", gpu="a100-80gb:2", engine_version=version, **asked)


def test_uneven_pages_are_padded_to_the_largest_one() -> None:
    """Gemma-4-31B at TP2 logged 95,792 tokens in 10.54 GiB (vllm#50159)."""
    cache = gemma("0.26.0 (MRV1)").kv_cache
    assert cache.max_tokens / cache.pool_bytes == pytest.approx(95_792 / (10.54 * GIB), rel=1e-3)
    with pytest.raises(UnsupportedError, match="divide each other"):
        gemma("0.23.0")


def test_a_step_holds_the_longest_video_whose_frames_see_both_ways() -> None:
    """engine/arg_utils.py, _get_min_mm_batched_tokens: E4B's images see only what stands before them."""
    steps = [
        oomless.infer(model, gpu="a100-80gb", engine_version=version).request.max_num_batched_tokens
        for model, version in (
            ("gemma-4-31b", "0.21.0"),
            ("gemma-4-31b", "0.24.0"),
            ("gemma-4-e4b", "0.24.0"),
        )
    ]
    assert steps == [2048, 2496, 2048]
