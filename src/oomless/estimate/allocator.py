"""What PyTorch's caching allocator counts as allocated for a sequence of tensors that stay.

The rules are those of run/allocator.py; recording/allocator.py follows tensors that come and go. A free
remainder of at most 1 MiB is not split off: it counts as allocated with the tensor before it.
"""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Sequence

from ..records import Record
from ..run.allocator import ROUND, SMALL, SMALL_SEGMENT, fresh_segment


class Segments(Record):
    """What tensors that stay have taken: bytes of the small ones, of the segments of the others, and
    remainders free in those."""

    small_bytes: int
    segment_bytes: int
    free: list[int]

    @property
    def allocated_bytes(self) -> int:
        """What torch.cuda.memory_allocated shows."""
        return self.small_bytes + self.segment_bytes - sum(self.free)

    @property
    def reserved_bytes(self) -> int:
        """What the card misses once caches are emptied."""
        return self.segment_bytes + -(-self.small_bytes // SMALL_SEGMENT) * SMALL_SEGMENT


def place(runs: Iterable[tuple[Sequence[int], int]], after: Segments | None = None) -> Segments:
    """Serve lists of sizes in order, each as often in a row as it says: a model repeats its layers.
    `after`: what was served before.

    Once a list is served as it was the time before, and leaves at least the remainders that it found, it
    always will be: the remainders that came in between were no better fit then, and further ones of the same
    sizes are none later.

    >>> place([([1], 1)]).allocated_bytes, place([([32256 * 2048 * 2], 1)]).allocated_bytes
    (512, 132120576)
    >>> place([([(100 << 20) - 512], 1)]).allocated_bytes  # a remainder of 512 B is not split off
    104857600
    >>> [place([([size], 1)]).reserved_bytes for size in (512, 5 << 20, (16 << 20) + 512)]
    [2097152, 20971520, 18874368]
    >>> place([([3 << 20], 400)]) == place([([3 << 20] * 400, 1)])
    True
    >>> place([([3 << 20], 200)], place([([3 << 20], 200)])) == place([([3 << 20], 400)])
    True
    """
    free = after.free.copy() if after else []  # sorted: best fit takes the smallest that holds the tensor
    small, segments = (after.small_bytes, after.segment_bytes) if after else (0, 0)
    for sizes, times in runs:
        served: list[int] = []
        for turn in range(times):
            at_small, at_segments, found = small, segments, free.copy()
            before, served = served, []
            for size in sizes:
                needed = (size + ROUND - 1) // ROUND * ROUND
                if needed <= SMALL:
                    small += needed
                    continue
                if free and needed <= free[-1]:
                    block = free.pop(bisect_left(free, needed))
                    served.append(block)
                else:
                    block = fresh_segment(needed)
                    segments += block
                    served.append(0)
                if block - needed > SMALL:
                    insort(free, block - needed)
            left = times - turn - 1
            if not left or not turn or served != before:
                continue
            more = Counter(free)
            more.subtract(found)
            if min(more.values(), default=0) >= 0:
                small += left * (small - at_small)
                segments += left * (segments - at_segments)
                free = sorted(free + left * list(more.elements()))
                break
    return Segments(small, segments, free)
