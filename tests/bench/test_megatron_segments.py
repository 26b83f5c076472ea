"""What a caching allocator cannot give back of a pipeline's stage lies within kept_share and kept_slack."""

import pytest
from bench.megatron_segments import runs, step

from oomless import facts
from oomless.frameworks.megatron.placement import chunks
from oomless.recording.replay import replay, smallest_capacity
from oomless.run.allocator import AllocatorSettings
from oomless.units import GIB


@pytest.mark.parametrize(("number", "rank"), [(1, 3), (4, 1), (14, 0), (14, 7)])
def test_a_stage_needs_no_more_than_is_said(number: int, rank: int) -> None:
    _, run, _ = runs()[number]
    events, steady = step(run, chunks(run)[rank], rank, 0.1 if run.experts else 0.0)
    settings = AllocatorSettings(expandable_segments=False)
    found = replay(events.events, events.sizes, settings)
    least = smallest_capacity(events.events, events.sizes, settings, found)
    share, slack = (
        facts.constant("training", name, (0,), "distopt", "piped") for name in ("kept_share", "kept_slack")
    )
    passing = found.peak_allocated - steady
    assert least - found.peak_allocated <= (share.high - 1) * passing + slack.high * GIB
