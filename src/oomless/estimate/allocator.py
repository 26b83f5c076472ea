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


def allocated_bytes(sizes: Iterable[int]) -> int:
    """Bytes that torch.cuda.memory_allocated shows after these tensors were made, in this order, and none was freed.

    >>> allocated_bytes([1]), allocated_bytes([32256 * 2048 * 2])  # the embedding of deepseek-coder-1.3b is 126 MiB exactly
    (512, 132120576)
    >>> allocated_bytes([(100 << 20) - 512])  # a remainder of 512 B is not split off
    104857600
    """
    free: list[int] = []  # remainders of large segments, sorted: best fit takes the smallest that holds the tensor
    total = 0
    for size in sizes:
        rounded = -(-size // ROUND) * ROUND
        if rounded <= SMALL:
            total += rounded
            continue
        found = bisect_left(free, rounded)
        if found < len(free):
            block = free.pop(found)
        elif rounded < MEDIUM:
            block = MEDIUM_SEGMENT
        else:
            block = -(-rounded // LARGE_ROUND) * LARGE_ROUND
        remainder = block - rounded
        if remainder > SMALL:
            insort(free, remainder)
            total += rounded
        else:
            total += block
    return total


SMALL_SEGMENT = 2 << 20


def reserved_bytes(sizes: Iterable[int]) -> int:
    """Bytes of the segments that hold these tensors, made in this order: what the card misses once caches are emptied.

    >>> reserved_bytes([512]), reserved_bytes([5 << 20]), reserved_bytes([(16 << 20) + 512])
    (2097152, 20971520, 18874368)
    """
    free: list[int] = []
    small = total = 0
    for size in sizes:
        rounded = -(-size // ROUND) * ROUND
        if rounded <= SMALL:
            small += rounded
            continue
        found = bisect_left(free, rounded)
        if found < len(free):
            block = free.pop(found)
        else:
            block = MEDIUM_SEGMENT if rounded < MEDIUM else -(-rounded // LARGE_ROUND) * LARGE_ROUND
            total += block
        if block - rounded > SMALL:
            insort(free, block - rounded)
    return total + -(-small // SMALL_SEGMENT) * SMALL_SEGMENT
