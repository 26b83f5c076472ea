"""What PyTorch's caching allocator counts as allocated for a sequence of tensors that stay.

Rules (torch/csrc/cuda CUDACachingAllocator; knowledge of serving_memory.md section 1): sizes round up to 512 B. Up to 1 MiB they
come out of 2 MiB segments and are exact. From 1 MiB to 10 MiB they come out of 20 MiB segments, larger ones get a segment of their
own, a multiple of 2 MiB. A free remainder of at most 1 MiB is not split off: it counts as allocated with the tensor before it.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable

ROUND = 512
SMALL = 1 << 20
MEDIUM = 10 << 20
MEDIUM_SEGMENT = 20 << 20
LARGE_ROUND = 2 << 20
SMALL_SEGMENT = 2 << 20


def rounded(size: int) -> int:
    """A size as the allocator counts it at least."""
    return -(-size // ROUND) * ROUND


def fresh_segment(size: int) -> int:
    """Bytes of the segment that a rounded size above 1 MiB makes when no remainder holds it."""
    return MEDIUM_SEGMENT if size < MEDIUM else (size + LARGE_ROUND - 1) // LARGE_ROUND * LARGE_ROUND


def allocated_bytes(sizes: Iterable[int], small: int = 0) -> int:
    """Bytes that torch.cuda.memory_allocated shows after these tensors were made, in this order, and none was freed.

    `small` is the sum of rounded sizes of further tensors of up to 1 MiB.

    >>> allocated_bytes([1]), allocated_bytes([32256 * 2048 * 2])  # the embedding of deepseek-coder-1.3b is 126 MiB exactly
    (512, 132120576)
    >>> allocated_bytes([(100 << 20) - 512])  # a remainder of 512 B is not split off
    104857600
    """
    small_bytes, segments, free = place(sizes)
    return small + small_bytes + segments - sum(free)


def reserved_bytes(sizes: Iterable[int], small: int = 0) -> int:
    """Bytes of the segments that hold these tensors, made in this order: what the card misses once caches are emptied.

    >>> reserved_bytes([512]), reserved_bytes([5 << 20]), reserved_bytes([(16 << 20) + 512])
    (2097152, 20971520, 18874368)
    """
    small_bytes, segments, _ = place(sizes)
    return segments + -(-(small + small_bytes) // SMALL_SEGMENT) * SMALL_SEGMENT


def place(sizes: Iterable[int]) -> tuple[int, int, list[int]]:
    """(bytes of small tensors, bytes of the segments of the others, remainders that are still free in those segments)."""
    free: list[int] = []  # sorted: best fit takes the smallest that holds the tensor
    small = segments = 0
    for size in sizes:
        needed = (size + ROUND - 1) // ROUND * ROUND
        if needed <= SMALL:
            small += needed
            continue
        if free and needed <= free[-1]:
            block = free.pop(bisect_left(free, needed))
        else:
            block = fresh_segment(needed)
            segments += block
        if block - needed > SMALL:
            insort(free, block - needed)
    return small, segments, free
