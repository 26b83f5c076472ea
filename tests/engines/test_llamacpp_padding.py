"""Cells of a cache are padded as the build does it."""

import pytest

from oomless.engines.llamacpp.cache import window_cells
from oomless.engines.llamacpp.defaults import num_cells
from oomless.run.serving import Resolved


@pytest.mark.parametrize(
    ("engine", "release", "flash", "cells", "windows"),
    [
        ("llamacpp", "2024-12", False, 40128, 640),  # ggml-org/llama.cpp#11044 logs 40,128
        ("llamacpp", "2024-12", True, 40192, 768),
        ("llamacpp", "2024-03", False, 40192, 768),
        ("llamacpp", "2025-12", False, 40192, 768),
        ("ik-llamacpp", "2026-01", False, 40128, 640),
    ],
)
def test_without_flash_attention_builds_padded_less(
    engine: str, release: str, flash: bool, cells: int, windows: int
) -> None:
    asked = Resolved(
        engine=engine,
        engine_version=release,
        context=40100,
        concurrency=1,
        max_num_seqs=1,
        flash_attn=flash,
        kv_unified=True,
    )
    assert num_cells(asked) == cells
    assert window_cells(128, asked) == windows
