"""The runs behind kept_share of several models: what such a run keeps lies within its row."""

import pytest
from bench.several_models import Case, run

from oomless import facts
from oomless.recording.recording import curve
from oomless.recording.replay import smallest_capacity


@pytest.mark.slow
@pytest.mark.parametrize("task", ["dpo", "ppo"])
def test_what_is_not_given_back_is_within_its_share(task: str) -> None:
    found = run(Case("qwen2.5-0.5b", task, turns=1, decoded=2))
    alive = curve(found)
    still = alive[found.since - 1]
    needed = (smallest_capacity(found.events, found.tensors.sizes) - still) / (max(alive) - still)
    row = facts.constant("training", "kept_share", (0,), "several")
    assert row.low <= needed <= row.high
