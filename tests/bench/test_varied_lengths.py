"""The run behind reserved_share of lengths that vary: what is made is freed, and lengths leave blocks."""

import random

import pytest
from bench.varied_lengths import MICRO_BATCHES, drawn, events_of

from oomless.recording.replay import replay
from oomless.run.training import TrainingAsked


def test_lengths_that_vary_leave_blocks_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bench.varied_lengths.MICRO_BATCHES", 6)
    asked = TrainingAsked(framework="ms-swift", task="sft", method="lora", loss="plain", recompute="full")
    made = [events_of("smollm2-1.7b", "24GiB", asked, 512, random.Random(0)).computing for _ in range(2)]
    assert made[0].events == made[1].events
    alive: set[int] = set()
    for event in made[0].events:
        alive.remove(~event) if event < 0 else alive.add(event)
    assert not alive
    found = replay(made[0].events, made[0].sizes)
    assert 1.2 < found.peak_reserved / found.peak_allocated < 4


def test_one_micro_batch_is_as_long_as_the_limit() -> None:
    found = drawn(2048, 2, random.Random(1))
    assert (len(found), max(found)) == (MICRO_BATCHES, 2048)
    assert min(found) >= 16
