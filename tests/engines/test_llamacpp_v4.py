"""DeepSeek-V4 in llama.cpp: compressed rows of two ratios, windows and states of every slot, files of its own
names."""

from typing import Any

import pytest

import oomless
from oomless.errors import OomlessError
from oomless.model.gguf_model import file_bytes, pieces
from oomless.model.gguf_types import TYPES
from oomless.model.load import load
from oomless.units import GIB, MIB


def test_a_file_has_the_tensors_of_a_published_one() -> None:
    """A public reader counts 1,328 tensors in V4-Flash: 43 x 23, compressors in 41 layers, an indexer in 21,
    3 tables, 6 outside."""
    found = [piece.name for piece in pieces(load("deepseek-v4-flash"))]
    assert len(found) == len(set(found)) == 1328
    assert {
        "blk.2.indexer_compressor_ape.weight",
        "blk.0.ffn_gate_tid2eid.weight",
        "output_hc_head_fn.weight",
    } <= set(found)


def test_a_published_file_of_known_types() -> None:
    """153.3 GiB: Q4_K experts, Q8_0 attention, shared experts and output, F16 for the rest of the matrices
    (antirez/deepseek-v4-gguf)."""
    total = 0
    for piece in pieces(load("deepseek-v4-flash")):
        eighth = "shexp" in piece.name or piece.name == "output.weight"
        eighth |= any(
            f".attn_{part}.weight" in piece.name for part in ("q_a", "q_b", "kv", "output_a", "output_b")
        )
        kind = (
            "Q4_K"
            if "_exps" in piece.name
            else "Q8_0"
            if eighth
            else "F32"
            if len(piece.shape) < 2 or "tid2eid" in piece.name
            else "F16"
        )
        total += TYPES[kind].num_bytes(piece.shape)
    assert total / GIB == pytest.approx(153.3, rel=1e-3)


def test_experts_are_repacked_as_they_are() -> None:
    """About 144 GiB, as a file of 4 bits is called in unslothai/unsloth#6940."""
    assert file_bytes(load("deepseek-v4-flash"), "MXFP4") / GIB == pytest.approx(144.4, abs=0.1)


@pytest.mark.parametrize(("context", "cells", "few"), [(65536, 16384, 512), (1_048_576, 262144, 8192)])
def test_one_slot(context: int, cells: int, few: int) -> None:
    found = oomless.infer(
        "deepseek-v4-flash", "h200:2", engine="llamacpp", pp=1, context=context, max_num_seqs=1, cpu_moe=True
    )
    rows = 21 * cells * (512 + 128) * 2 + 20 * few * 512 * 2
    windows = 43 * 768 * 512 * 2  # 128 and a micro-batch of 512, in multiples of 256
    states = 21 * (2 * 8 * 1024 * 4 + 2 * 8 * 256 * 4) + 20 * 2 * 128 * 512 * 4
    assert found.kv_cache.needed_bytes == rows + windows + states
    assert found.kv_cache.bytes_per_token == 6880


def test_slots_that_share_a_cache_have_rows_of_their_own() -> None:
    """src/llama-kv-cache-dsv4.cpp keeps streams apart even where the cache is unified: four slots take four
    times as much."""
    one, four, said = (
        oomless.infer(
            "deepseek-v4-flash",
            "h200:2",
            engine="llamacpp",
            pp=1,
            cpu_moe=True,
            context=context,
            max_num_seqs=slots,
            concurrency=at_once,
        ).kv_cache.needed_bytes
        for context, slots, at_once in ((65536, 1, None), (65536, None, None), (16384, 4, 4))
    )
    assert four == 4 * one
    assert said < four / 3


def test_the_scores_of_all_heads_were_there_once() -> None:
    """unslothai/unsloth#6940: 67,094.6 MiB at 1,048,576 tokens in July 2026."""
    flags: dict[str, Any] = {
        "engine": "llamacpp",
        "context": 1_048_576,
        "cpu_moe": True,
        "max_num_seqs": 1,
        "pp": 1,
    }
    before, after = (
        oomless.infer("deepseek-v4-flash", "h200:2", engine_version=at, **flags)
        for at in ("2026-07", "2026-08")
    )
    found = [
        next(line for line in each.ledger.lines if line.key == "activations.compute_buffer")
        for each in (before, after)
    ]
    assert found[0].low_bytes < 67094.6 * MIB < found[0].high_bytes
    assert found[1].bytes < found[0].bytes / 10
    assert found[0].bytes / MIB == pytest.approx(67094.6, rel=0.01)
    assert found[1].kind == "fitted"


@pytest.mark.parametrize(("build", "logged"), [("b10567", 2366.28), ("b10568", 2570.28)])
def test_a_large_micro_batch(build: str, logged: float) -> None:
    """ggml-org/llama.cpp#27680; 4,352 cells of the window say micro-batches of 4,096."""
    found = oomless.infer(
        "deepseek-v4-flash-0731",
        "rtx-4090",
        engine="llamacpp",
        engine_version=build,
        context=64000,
        ubatch_size=4096,
        max_num_seqs=1,
        flash_attn=True,
        cpu_moe=True,
    )
    line = next(line for line in found.ledger.lines if line.key == "activations.compute_buffer")
    assert line.low_bytes < logged * MIB < line.high_bytes


@pytest.mark.parametrize(
    "flags",
    [
        {"engine_version": "2026-02"},
        {"engine": "ik-llamacpp"},
        {"model": "deepseek-v4.1-flash"},
        {"engine": "ollama", "mla_attn": 2},
    ],
)
def test_what_does_not_serve_it_is_named(flags: dict[str, str]) -> None:
    asked: dict[str, Any] = {"model": "deepseek-v4-flash", "gpu": "h200:2", "engine": "llamacpp", **flags}
    with pytest.raises(OomlessError):
        oomless.infer(**asked)


def test_a_card_with_half_of_the_layers_and_no_experts() -> None:
    """11,432 MiB of each RTX 3090 before a draft is loaded, 204,800 cells and 4,096 tokens at once, b10236
    (noonghunna/club-3090, models/deepseek-v4-flash-0731/llama-cpp)."""
    found = oomless.infer(
        "deepseek-v4-flash-0731",
        "rtx-3090:2",
        engine="llamacpp",
        engine_version="b10236",
        quantization="UD-Q8_K_XL",
        override_tensor="exps=CPU",
        max_model_len=204800,
        max_num_seqs=1,
        ubatch_size=4096,
        fit=False,
    )
    assert found.ledgers[0].total_bytes / MIB == pytest.approx(11432, rel=0.05)
