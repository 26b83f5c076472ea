"""A recorded run through the simulated allocator: peaks, fragmentation, the smallest device that runs it, and
where a smaller one fails."""

from collections.abc import Sequence
from typing import NamedTuple

from ..run.allocator import LARGE_ROUND, AllocatorSettings
from .allocator import Allocator, OutOfMemory
from .block import Block


class Failure(NamedTuple):
    """Where a run ends that does not fit: the event, the request, and the tensors alive then."""

    event: int
    size: int
    reserved_bytes: int
    allocated_bytes: int
    alive: tuple[int, ...]


class Replayed(NamedTuple):
    """What the allocator of one device went through. Peaks are those from the event `since` on."""

    peak_requested: int
    peak_allocated: int
    peak_reserved: int
    at_peak: int
    """The event that made the peak of what was allocated."""
    reserved_at_peak: int
    num_retries: int
    failure: Failure | None


def replay(
    events: Sequence[int],
    sizes: Sequence[int],
    settings: AllocatorSettings | None = None,
    capacity: int | None = None,
    since: int = 0,
    streams: dict[int, int] | None = None,
) -> Replayed:
    """Serve the events in order: n allocates tensor n, ~n frees it. `streams` names the tensors that are not
    of stream 0.

    >>> again = replay([0, 1, -1, 2], [600, 5 << 20, 30 << 20])
    >>> again.peak_requested, again.peak_allocated, again.peak_reserved
    (36700160, 36700160, 54525952)
    """
    allocator = Allocator(settings, capacity)
    return _serve(allocator, events, sizes, since, streams or {}, {})


def _serve(
    allocator: Allocator,
    events: Sequence[int],
    sizes: Sequence[int],
    since: int,
    streams: dict[int, int],
    held: dict[int, Block],
) -> Replayed:
    allocate, free = allocator.allocate, allocator.free
    failure: Failure | None = None
    highest = at_peak = reserved_at_peak = 0
    at = -1
    try:
        for at, event in enumerate(events):
            if at == since:
                highest = allocator.peak_allocated = allocator.allocated
                allocator.peak_requested, allocator.peak_reserved = allocator.requested, allocator.reserved
                at_peak, reserved_at_peak = max(at - 1, 0), allocator.reserved
            if event >= 0:
                held[event] = (
                    allocate(sizes[event], streams.get(event, 0)) if streams else allocate(sizes[event])
                )
                if allocator.allocated > highest:
                    highest, at_peak, reserved_at_peak = allocator.allocated, at, allocator.reserved
            else:
                free(held.pop(~event))
    except OutOfMemory as error:
        failure = Failure(at, error.size, allocator.reserved, allocator.allocated, tuple(held))
    return Replayed(
        allocator.peak_requested,
        allocator.peak_allocated,
        allocator.peak_reserved,
        at_peak,
        reserved_at_peak,
        allocator.num_retries,
        failure,
    )


def served(
    events: Sequence[int],
    sizes: Sequence[int],
    settings: AllocatorSettings | None = None,
    capacity: int | None = None,
) -> tuple[Allocator, dict[int, Block]]:
    """The allocator after all events, with its log, and the block of each tensor still alive: what a snapshot
    is made of."""
    allocator = Allocator(settings, capacity, keep_log=True)
    held: dict[int, Block] = {}
    _serve(allocator, events, sizes, 0, {}, held)
    return allocator, held


def smallest_capacity(
    events: Sequence[int],
    sizes: Sequence[int],
    settings: AllocatorSettings | None = None,
    known: Replayed | None = None,
) -> int:
    """The smallest device, in steps of 2 MiB, on which the run ends well: found by replaying it on ever
    closer sizes.

    Reserved memory without a limit overstates it, since a device that is full makes the allocator give back
    its caches.

    >>> smallest_capacity([0, ~0, 1], [30 << 20, 40 << 20]) >> 20
    40
    """
    free_run = known if known is not None else replay(events, sizes, settings)
    fraction = settings.memory_fraction if settings else 1.0
    highest = -(-int(free_run.peak_reserved / fraction) // LARGE_ROUND)
    high = max(highest, 1)
    low = min(free_run.peak_requested // LARGE_ROUND, high)
    while replay(events, sizes, settings, high * LARGE_ROUND).failure is not None:
        low, high = high, high + max(high // 64, 1)
    while low + 1 < high:
        middle = (low + high) // 2
        if replay(events, sizes, settings, middle * LARGE_ROUND).failure is None:
            high = middle
        else:
            low = middle
    if low and replay(events, sizes, settings, low * LARGE_ROUND).failure is None:
        high = low
    return high * LARGE_ROUND
