"""Profile runs of vLLM that see no images: by a flag, or by the model runner that serves the model."""

from typing import Any

import pytest

from oomless.estimate.serving.estimate import Estimate, estimate_serving
from oomless.model.load import load
from oomless.run.hardware import parse_gpu
from oomless.run.serving import Asked, Layout


def answer(model: str, release: str, **asked: Any) -> Estimate:
    question = Asked(layout=Layout(), engine_version=release, max_model_len=32768)._replace(**asked)
    return estimate_serving(load(model), question, parse_gpu("l40s"))


def left_by_images(model: str, release: str) -> int:
    """Bytes that a pool has more where the profile run sees no images."""
    return answer(model, release, skip_mm_profiling=True).pools[0] - answer(model, release).pools[0]


@pytest.mark.parametrize("release", ["0.20.0", "0.28.0"])
def test_flag_leaves_images_out(release: str) -> None:
    assert left_by_images("qwen3.5-9b", release) > 0
    untried = answer("qwen3.5-9b", release, skip_mm_profiling=True)
    (images,) = (line for line in untried.ranks[0].beside if line.what.startswith("images"))
    assert images.bytes == 0
    assert images.high_bytes > left_by_images("qwen3.5-9b", release)


def test_second_runner_tries_images_from_0_27_on() -> None:
    """Dense models go to it from 0.25 on; its profile run has images since 0.27 (gpu/model_runner.py)."""
    releases = ("0.24.0", "0.25.1", "0.26.0", "0.27.1")
    untried = [release for release in releases if not left_by_images("qwen2.5-vl-7b", release)]
    assert untried == ["0.25.1", "0.26.0"]


def test_a_gemma_4_without_a_tower_has_no_places_to_fit() -> None:
    """12B projects patches as they are; it has run since 0.22.1 (club-3090)."""
    assert answer("gemma-4-12b", "0.22.1", dtype="bfloat16").starts
