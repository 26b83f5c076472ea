"""Laws of the simulated allocator: blocks do not overlap; segments are the sum of their blocks; reserved >=
allocated >= requested; what all tensors gave back can be given back to the device; the smallest capacity
runs, and what runs there runs on more.
"""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from oomless.recording.allocator import Allocator, OutOfMemory
from oomless.recording.block import Block
from oomless.recording.replay import replay, smallest_capacity
from oomless.run.allocator import parse_settings
from oomless.units import MIB

SETTINGS = st.sampled_from(
    (
        "",
        "expandable_segments:True",
        "max_split_size_mb:24",
        "expandable_segments:True,max_split_size_mb:24",
        "roundup_power2_divisions:4",
        "roundup_power2_divisions:[16:4,64:8,>:2],max_split_size_mb:32",
        "garbage_collection_threshold:0.5",
        "large_segment_size_mb:12,expandable_segments:True",
    )
)
SIZES = st.one_of(
    st.integers(1, 4096),
    st.integers(1, 3 * MIB),
    st.integers(1, 90 * MIB),
    st.sampled_from([512, MIB, MIB + 1, 10 * MIB, 24 * MIB]),
)
STEPS = st.lists(
    st.tuples(st.sampled_from("aaafffsey"), SIZES, st.integers(0, 1 << 16), st.integers(0, 1)), max_size=60
)
EVENTS = st.lists(st.tuples(st.booleans(), SIZES, st.integers(0, 1 << 16)), min_size=1, max_size=60)


def check(allocator: Allocator, held: list[Block]) -> None:
    """No overlap, chains that belong together, and sums that agree."""
    allocator.live = [*held, *(block for blocks in allocator.waiting.values() for block in blocks)]
    blocks = allocator.blocks()
    for before, after in itertools.pairwise(blocks):
        assert before.address + before.size <= after.address
    for block in blocks:
        if block.next is not None:
            assert block.next.previous is block
            assert block.address + block.size == block.next.address
    assert sum(block.size for block in blocks) == allocator.reserved
    assert sum(block.size for block in held) == allocator.allocated
    assert allocator.reserved >= allocator.allocated >= sum(block.requested for block in held)
    assert allocator.reserved <= allocator.capacity


@given(SETTINGS, STEPS, st.sampled_from([None, 64 * MIB, 256 * MIB]))
def test_whatever_is_asked_blocks_lie_apart_and_sums_agree(
    text: str, steps: list[tuple[str, int, int, int]], limit: int | None
) -> None:
    allocator, held = Allocator(parse_settings(text), limit), []
    for action, size, choice, stream in steps:
        match action:
            case "a":
                try:
                    held.append(allocator.allocate(size, stream))
                except OutOfMemory:
                    assert limit is not None
            case "f" if held:
                allocator.free(held.pop(choice % len(held)))
            case "s" if held:
                allocator.record_stream(held[choice % len(held)], 1 - held[choice % len(held)].pool.stream)
            case "e":
                allocator.empty_cache()
            case "y":
                allocator.synchronize(stream)
            case _:
                pass
        check(allocator, held)
    for block in held:
        allocator.free(block)
    allocator.empty_cache()
    assert (allocator.allocated, allocator.requested, allocator.reserved) == (0, 0, 0)


def events_of(steps: list[tuple[bool, int, int]]) -> tuple[list[int], list[int]]:
    events: list[int] = []
    sizes: list[int] = []
    alive: list[int] = []
    for free, size, choice in steps:
        if free and alive:
            events.append(~alive.pop(choice % len(alive)))
        else:
            alive.append(len(sizes))
            events.append(len(sizes))
            sizes.append(size)
    return events, sizes


@given(SETTINGS, EVENTS)
def test_the_smallest_capacity_runs_and_holds_what_is_alive(
    text: str, steps: list[tuple[bool, int, int]]
) -> None:
    settings = parse_settings(text)
    events, sizes = events_of(steps)
    free_run = replay(events, sizes, settings)
    smallest = smallest_capacity(events, sizes, settings)
    assert replay(events, sizes, settings, smallest).failure is None
    assert free_run.peak_allocated <= smallest
    assert free_run.peak_reserved >= free_run.peak_allocated >= free_run.peak_requested


@given(EVENTS, st.integers(1, 7))
def test_without_settings_reserved_never_falls_with_more_at_the_end(
    steps: list[tuple[bool, int, int]], more: int
) -> None:
    events, sizes = events_of(steps)
    longer = [*events, len(sizes)]
    assert replay(longer, [*sizes, more * MIB]).peak_reserved >= replay(events, sizes).peak_reserved
