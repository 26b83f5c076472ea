"""What tools said of planted leaks, and what a pipeline held, settles C18 and C19."""

import pytest

from oomless.claims import claim


def figures(name: str) -> dict[str, float]:
    return {each.what: each.value for each in claim(name).evidence.figures}


def test_the_recipe_of_the_guide_names_no_planted_leak() -> None:
    found = figures("C18")
    assert claim("C18").evidence.verdict == "does not hold"
    assert found["planted leaks"] == found["named by monitor with their line"] == 3
    assert found["named by memory_profiler with their line"] == 0
    assert found["bytes that empty_cache freed of them"] == 0


def test_a_pipeline_costs_the_batches_that_wait() -> None:
    found = figures("C19")
    assert claim("C19").evidence.verdict == "depends"
    assert found["difference"] == pytest.approx(found["10 batches"], rel=0.001)
