"""What images of a sample take in training: a tower's work, what it keeps, and tokens that lengthen a
sequence."""

from typing import Any

import pytest

import oomless
from oomless.estimate.training.tower import tower_of
from oomless.model.load import load
from oomless.run.training import TrainingResolved
from oomless.units import GIB

ASKED: dict[str, Any] = {"framework": "ms-swift", "method": "lora", "seq_len": 2048, "max_pixels": 1003520}
EARLY = "transformers 4.49, ms-swift 3.4"
"""Towers mask patches, and images are inside a length."""


def high(model: str = "qwen2.5-vl-7b", **asked: Any) -> float:
    found = oomless.train(model, "a100-80gb", **(ASKED | asked)).groups[0].ledger
    return sum(line.high_bytes for line in found.lines) / GIB


def test_a_masked_tower_makes_scores_of_all_patches() -> None:
    """Traces ask for 23.41 GiB in its product (ms-swift#3456); flash attention, and 4.54, make none."""
    unsaid: dict[str, Any] = {"seq_len": 32768, "max_pixels": None, "framework_version": EARLY}
    assert high(**unsaid) > 500
    assert high(**unsaid, attention="flash") < 100
    assert high(**unsaid | {"framework_version": "transformers 4.54, ms-swift 3.7"}) < 100


def test_what_bounds_an_image() -> None:
    """A length from ms-swift 3.3.1 on, which earlier ones count without images; a limit of pixels."""
    unsaid: dict[str, Any] = {"framework_version": EARLY, "max_pixels": None}
    assert high(**unsaid) < high(**unsaid, seq_len=8192) - 10
    beside: dict[str, Any] = {"framework_version": "transformers 4.49, ms-swift 3.3.0"}
    assert high(**beside, images_per_sample=1) < high(**beside) - 100
    assert high(**beside, images_per_sample=1) > high(framework_version=EARLY, images_per_sample=1) + 1


@pytest.mark.parametrize("images", [1, 8])
def test_a_trained_tower_keeps_more_where_it_computes_nothing_again(images: int) -> None:
    """32 blocks x 5,120 patches of 1,280 values, or of 8 x 1,280 + 2 x 6,840."""
    asked: dict[str, Any] = {"method": "full", "images_per_sample": images, "attention": "flash", "zero": 3}
    kept = {}
    for recompute in ("full", "none"):
        found = [
            oomless.train(
                "qwen2.5-vl-7b", "h100:8", **(ASKED | asked), recompute=recompute, trained_tower=each
            )
            for each in (True, False)
        ]
        sizes = [each.groups[0].ledger.by_category()["activations"] for each in found]
        kept[recompute] = sizes[0] - sizes[1]
    patches = 32 * 5120 * 2 * images
    assert kept["full"] == pytest.approx(patches * 1280, rel=0.01)
    assert kept["none"] == pytest.approx(patches * (8 * 1280 + 2 * 6840), rel=0.01)


def test_a_frozen_tower_keeps_what_patches_need_since_transformers_5() -> None:
    """enable_input_require_grads takes the patches of a tower for embeddings."""
    asked = TrainingResolved(
        framework="trl", method="lora", recompute="full", images_per_sample=8, max_pixels=1003520
    )
    asked = asked._replace(seq_len=2048, lora_targets=("q_proj",), attention="flash")
    kept = [
        tower_of(load("qwen2.5-vl-7b"), asked._replace(framework_version=f"transformers {each}"), 2).kept
        for each in ("4.57", "5.1")
    ]
    assert kept == [(0, 0), (0, 32 * 8 * 5120 * 1280 * 2)]


def test_no_images_are_a_batch_of_text() -> None:
    found = oomless.train("qwen2.5-vl-7b", "a100-80gb", **ASKED, images_per_sample=0)
    assert not any("images" in note for note in found.warnings)
    assert high(images_per_sample=0) <= high()


def test_what_is_assumed_of_images_is_said() -> None:
    notes = oomless.train("qwen2.5-vl-7b", "a100-80gb", **ASKED).warnings
    assert (
        "no image a sample, or as many as 1, each of up to 1,280 tokens: --images and --max-pixels say "
        "otherwise" in notes
    )
