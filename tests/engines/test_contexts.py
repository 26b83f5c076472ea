"""Contexts of cards: what is taken of one before an engine counts, as logs have it."""

from functools import partial

import pytest

import oomless
from oomless.units import GIB


@pytest.mark.parametrize(
    ("gpu", "version", "taken"),
    [
        ("l4", "0.30.0", 0.19),
        ("a10", "0.29.0", 0.23),
        ("rtx-a6000", "0.15.0", 0.34),
        ("a100-80gb", "0.31.0", 0.41),
        ("rtx-4090", "0.11.0", 0.45),
        ("l40s", "0.17.0", 0.49),
        ("rtx-5090", "0.28.0", 0.50),
        ("h100", "0.10.2", 0.53),
        ("rtx-pro-6000", "0.29.0", 0.56),
        ("rtx-3090:2", "0.27.0", 0.53),
        ("rtx-pro-6000:4", "0.27.1", 0.96),
        ("rtx-5090:2", "0.25.0", 1.0),
    ],
)
def test_contexts_are_as_logs_have_them(gpu: str, version: str, taken: float) -> None:
    """Totals less what is free on startup, each of two decimals."""
    ranks = int(gpu.partition(":")[2] or 1)
    answer = oomless.infer("qwen3-4b", gpu=gpu, engine_version=version, tp=ranks, max_model_len=4096)
    line = next(line for line in answer.ledgers[0].lines if line.key == "runtime.context")
    assert line.low_bytes / GIB - 0.01 <= taken <= line.high_bytes / GIB + 0.01
    assert line.bytes / GIB == pytest.approx(taken, abs=0.1)


def test_llama_cpp_leaves_as_much_unaccounted_for() -> None:
    """0.44 GiB on an RTX 4090 (llama.cpp#15860), 0.69 on an RTX PRO 6000; a Mac keeps its row."""
    for gpu, left in (("rtx-4090", 0.44), ("rtx-pro-6000", 0.69), ("m2-max-64gb", 0.4)):
        answer = oomless.infer("qwen3-4b", gpu=gpu, engine="llamacpp", quantization="Q4_K_M", context=4096)
        line = next(line for line in answer.ledgers[0].lines if line.key == "runtime.context")
        assert line.bytes / GIB == pytest.approx(left, abs=0.06)


@pytest.mark.parametrize(
    ("day", "cells"),
    [("2024-01-05", 65536), ("2024-02-01", 40960), ("2024-05-03", 65536), ("0.9.2", 65536), ("0.9.3", 40960)],
)
def test_ollama_makes_no_context_that_is_longer_than_the_models(day: str, cells: int) -> None:
    """ollama eaed6f8c4, #3988, #11175; what is cut is said whether it is made or not."""
    of_day = partial(oomless.infer, "qwen3-14b", "h200", engine="ollama", engine_version=day)
    for found in (of_day(context=65536), of_day(max_model_len=65536)):
        assert (found.request.context, found.request.max_model_len) == (cells, cells)
        assert any("65,536 are not served" in note for note in found.warnings)
