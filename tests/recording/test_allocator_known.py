"""The simulated allocator gives the answers that torch's own tests ask of the real one (test/test_cuda.py,
AllocatorConfig_test.cpp)."""

import pytest

from oomless.errors import UsageError
from oomless.recording.allocator import Allocator, OutOfMemory
from oomless.recording.replay import replay, served, smallest_capacity
from oomless.run.allocator import AllocatorSettings, parse_settings
from oomless.units import MIB


def power2_div(size: int, divisions: int) -> int:
    """The reference of test_cuda.py: the next step, with so many steps between powers of two."""
    power = 1
    while power < size:
        power *= 2
    if power == size:
        return power
    step, found = power // 2 // divisions, power // 2
    while found < size:
        found += step
    return found


SMALL_BIG = (4 * 21 * MIB, 4 * 100 * MIB)


def test_divisions_round_as_torch_does() -> None:
    small, big = SMALL_BIG
    assert parse_settings("").rounded(small) == small
    assert parse_settings("roundup_power2_divisions:4").rounded(small) == power2_div(small, 4)
    listed = parse_settings(
        "garbage_collection_threshold:0.5,roundup_power2_divisions:[64:8,128:2,256:2,512:2,1024:1,>:1]"
    )
    assert listed.rounded(small) == power2_div(small, 8)
    assert listed.rounded(big) == power2_div(big, 2)
    none = parse_settings("roundup_power2_divisions:[128:1,256:0,512:4]")
    assert none.rounded(268 * MIB) == 268 * MIB
    assert none.rounded(520 * MIB) == power2_div(520 * MIB, 4) == 640 * MIB
    size = 4 * 21 * 125 * 125
    assert parse_settings("roundup_power2_divisions:1").rounded(size) == -(-size // 512) * 512


def divisions(text: str, *mebibytes: int) -> list[int]:
    return [
        parse_settings(f"roundup_power2_divisions:{text}").divisions[min(m.bit_length() - 1, 15)]
        for m in mebibytes
    ]


def test_lists_of_divisions_are_read_as_torch_does() -> None:
    assert divisions("[64:8,128:2,256:4,512:2,1024:4,>:1]", 32, 64, 128, 256, 512, 1024, 2048, 4096) == [
        8,
        8,
        2,
        4,
        2,
        4,
        1,
        1,
    ]
    assert divisions("[128:8,256:16,512:1,2048:8,>:2]", 64, 128, 256, 512, 1024, 2048, 4096) == [
        8,
        8,
        16,
        1,
        0,
        8,
        2,
    ]
    assert divisions("4", 64, 256, 2048) == [4, 4, 4]


def test_other_settings_are_read_as_torch_does() -> None:
    found = parse_settings(
        "max_split_size_mb:40,max_non_split_rounding_mb:30,garbage_collection_threshold:0.5,expandable_segments:True,"
        "pinned_use_background_threads:True"
    )
    assert found == AllocatorSettings(True, 40 * MIB, 30 * MIB, 20 * MIB, 0.5)
    found = parse_settings(
        "large_segment_size_mb:15,max_split_size_mb:20,max_non_split_rounding_mb:40,garbage_collection_threshold:0.8"
    )
    assert (found.large_segment_size, found.max_split_size) == (15 * MIB, 20 * MIB)
    assert parse_settings("expandable_segments:False,") == AllocatorSettings()


@pytest.mark.parametrize(
    "text",
    [
        "foo:1,bar:2",
        "garbage_collection_threshold:1.2",
        "max_split_size_mb:2",
        "max_split_size_mb:20,large_segment_size_mb:25",
        "max_split_size_mb",
        "max_split_size_mb:",
        "roundup_power2_divisions:[64:8",
        "garbage_collection_threshold:",
        "roundup_power2_divisions:3",
        "expandable_segments:1",
        "backend:cudaMallocAsync",
    ],
)
def test_what_torch_refuses_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_settings(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "max_split_size_mb:64",
        "expandable_segments:True",
        "roundup_power2_divisions:[64:8,128:2,>:4]",
        "per_process_memory_fraction:0.5",
    ],
)
def test_settings_survive_their_spelling(text: str) -> None:
    assert parse_settings(parse_settings(text).text()) == parse_settings(text)


@pytest.mark.parametrize(
    ("size", "segment"),
    [
        (1, 2 * MIB),
        (MIB, 2 * MIB),
        (MIB + 1, 20 * MIB),
        (10 * MIB - 512, 20 * MIB),
        (10 * MIB, 10 * MIB),
        (10 * MIB + 1, 12 * MIB),
        (11 * MIB, 12 * MIB),
        (85 * MIB + 1, 86 * MIB),
    ],
)
def test_segments_have_torchs_sizes(size: int, segment: int) -> None:
    assert replay([0], [size]).peak_reserved == segment


def test_small_tensors_share_a_segment() -> None:
    """test_mempool_with_allocator: two of 1 MiB in a buffer of 2 MiB, a third needs another."""
    assert [replay(range(count), [MIB] * count).peak_reserved for count in (1, 2, 3)] == [
        2 * MIB,
        2 * MIB,
        4 * MIB,
    ]


def test_max_split_with_expandable_segments_switched_on_and_off() -> None:
    """test_max_split_expandable: three of 40 MiB fit into 120, a fourth does not; once they are gone, one of
    120 does."""
    allocator = Allocator(parse_settings("max_split_size_mb:40"), 120 * MIB)
    held = [allocator.allocate(40 * MIB)]
    allocator.configure(parse_settings("expandable_segments:True,max_split_size_mb:40"))
    held.append(allocator.allocate(40 * MIB))
    allocator.configure(parse_settings("max_split_size_mb:40"))
    held.append(allocator.allocate(40 * MIB))
    with pytest.raises(OutOfMemory):
        allocator.allocate(40 * MIB)
    for block in held:
        allocator.free(block)
    assert allocator.allocate(120 * MIB).size == 120 * MIB


def test_garbage_collection_with_expandable_segments() -> None:
    """test_garbage_collect_expandable: collecting meets blocks of expandable segments in the free list and
    leaves them."""
    allocator = Allocator(parse_settings("garbage_collection_threshold:0.5"), 120 * MIB)
    first = allocator.allocate(40 * MIB)
    allocator.configure(parse_settings("expandable_segments:True,garbage_collection_threshold:0.5"))
    second = allocator.allocate(40 * MIB)
    allocator.free(first)
    allocator.free(second)
    assert allocator.allocate(80 * MIB).size == 80 * MIB
    assert allocator.reserved <= 120 * MIB


def test_a_stream_that_works_on_a_block_delays_its_reuse_until_memory_is_short() -> None:
    """test_caching_allocator_record_stream_oom: blocks that wait for a stream are freed before an allocation
    fails."""
    allocator = Allocator(capacity=400 * MIB)
    for _ in range(100):
        block = allocator.allocate(40 * MIB)
        allocator.record_stream(block, 1)
        allocator.free(block)
    assert allocator.reserved <= 400 * MIB
    assert allocator.num_retries > 0


def test_streams_do_not_share_blocks() -> None:
    freed_elsewhere = replay([0, ~0, 1], [30 * MIB, 30 * MIB], streams={1: 7})
    assert freed_elsewhere.peak_reserved == 60 * MIB


def test_a_failure_names_the_event_and_what_was_alive() -> None:
    failure = replay([0, 1, ~0, 2], [30 * MIB, 30 * MIB, 50 * MIB], capacity=70 * MIB).failure
    assert failure is not None
    assert (failure.event, failure.size, failure.alive) == (3, 50 * MIB, (1,))


def test_expandable_segments_map_what_is_needed() -> None:
    """30 MiB after 30 MiB freed and 50 asked for: the segment grows where a fixed one would be made anew."""
    events, sizes = [0, ~0, 1], [30 * MIB, 50 * MIB]
    assert replay(events, sizes).peak_reserved == 80 * MIB
    assert replay(events, sizes, parse_settings("expandable_segments:True")).peak_reserved == 60 * MIB
    assert smallest_capacity(events, sizes, parse_settings("expandable_segments:True")) == 60 * MIB
    assert smallest_capacity(events, sizes) == 50 * MIB


def test_the_log_has_torchs_words() -> None:
    allocator, held = served([0, ~0, 1], [30 * MIB, 20 * MIB])
    assert allocator.log is not None
    assert [action for action, *_ in allocator.log] == [
        "segment_alloc",
        "alloc",
        "free_requested",
        "free_completed",
        "alloc",
    ]
    assert list(held) == [1]
