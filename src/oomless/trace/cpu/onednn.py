"""Blocks that oneDNN packs for a product of 16-bit matrices on a CPU: chosen so that threads have equal work,
and allocated while it runs.

Read in oneDNN 3.12 (src/cpu/x64/matmul/brgemm_matmul_utils.cpp, compute_blocking_heuristic_avx512), the
release that torch 2.13 is built with, for AVX-512 with bfloat16. Processors with AMX take other blocks, which
are not followed.
"""

from functools import lru_cache
from struct import pack, unpack
from typing import NamedTuple

COLUMNS, MAX_ROWS, LEAST_ROWS, FEWEST_ROWS = 64, 256, 32, 16
"""Columns of a block, and rows: at most, at least, and at least where threads would have nothing to do."""
DEPTH, GREAT_DEPTH, DEPTH_STEP = 512, 1024, 32
"""Depth of a block, and of blocks of deeper products; the right side's is rounded up."""
MOST_CHUNKS = 16
"""Blocks of columns that one copy of a left side serves."""
SHARED_DEPTH, MOST_SHARES = 2048, 4
"""From here on, powers of two are divided by depth among threads if the left side is turned."""
COPIED_ROWS, COPIED_DEPTH = 1024, 4096
"""Rows and depth, a power of two, from which on a left side is copied though it is not turned."""
ALIGNMENT, A_THREAD = 128, 640
"""Bytes beside each buffer, and of each thread's list of blocks."""


class Blocks(NamedTuple):
    """How a product is cut: rows, columns in blocks at once, and threads that share its depth."""

    rows: int
    chunks: int
    shares: int


def scratchpad(rows: int, depth: int, columns: int, turned: bool, stack: int, threads: int) -> int:
    """Bytes that a product of `stack` pairs of matrices (rows x depth, depth x columns) takes beside its
    result.

    For each thread an F32 block of the result, a block of the right side, and one of the left side where it
    is turned.

    >>> scratchpad(300, 128, 1000, False, 1, 2), scratchpad(64, 7, 128, True, 1, 2)
    (111232, 30464)
    """
    copied = turned or (is_power_of_two(depth) and depth >= COPIED_DEPTH and rows >= COPIED_ROWS)
    deep = block_depth(rows, depth, turned)
    blocks = best_blocks(rows, depth, columns, turned, copied, stack, threads)
    pieces = blocks.chunks if deep < depth else 1
    result = 4 * (columns * rows if blocks.shares > 1 else min(columns, COLUMNS) * blocks.rows * pieces)
    right = 2 * COLUMNS * rounded_up(deep, DEPTH_STEP)
    left = 2 * blocks.rows * padded(deep) if copied else 0
    return ALIGNMENT * (4 if copied else 3) + threads * (A_THREAD + result + right + left)


def block_depth(rows: int, depth: int, turned: bool) -> int:
    """Depth of a block; a single row counts as turned here."""
    return min(depth, GREAT_DEPTH if depth > GREAT_DEPTH and rows > 1 and not turned else DEPTH)


def padded(deep: int) -> int:
    """Values of a row of the copied left side: whole cache lines, and one more where rows would lie powers of
    two apart."""
    length = rounded_up(deep, DEPTH_STEP)
    return length + DEPTH_STEP if length >= DEPTH and is_power_of_two(length) else length


@lru_cache(maxsize=4096)
def best_blocks(
    rows: int, depth: int, columns: int, turned: bool, copied: bool, stack: int, threads: int
) -> Blocks:
    """The first of the ways to cut, largest blocks first, that leaves least of the threads' work uneven."""
    most_rows, wide = min(MAX_ROWS, rows), -(-columns // COLUMNS)
    idle = threads > stack * wide
    least_rows = min(FEWEST_ROWS if idle else LEAST_ROWS, rows)
    deep = block_depth(rows, depth, turned)
    most_shares = 1
    if idle and stack == 1 and turned and is_power_of_two(depth) and depth >= SHARED_DEPTH:
        most_shares = min(threads, MOST_SHARES)
    best, lowest = Blocks(1, 1, 1), 1.0
    for shares in range(most_shares, 0, -1):
        found = False
        for chunks in range(min(MOST_CHUNKS if copied else 1, wide), 0, -1):
            for block in range(most_rows, least_rows - 1, -1):
                blocks = Blocks(block, chunks, shares)
                work, left = stack * -(-rows // block) * -(-wide // chunks), threads // shares
                if most_shares == 1 and work < 3 * left and work % left:
                    continue
                uneven = unevenness(blocks, rows, depth, wide, deep, work, threads)
                if uneven < lowest:
                    best, lowest, found = blocks, uneven, True
        if not found:
            blocks = Blocks(least_rows, 1, shares)
            work = stack * -(-rows // least_rows) * wide
            uneven = unevenness(blocks, rows, depth, wide, deep, work, threads)
            if uneven < lowest:
                best, lowest = blocks, uneven
    return best


def unevenness(blocks: Blocks, rows: int, depth: int, wide: int, deep: int, work: int, threads: int) -> float:
    """Mean of five shares of work that is lost: of the threads, rows, columns, threads without a share,
    and depth. In F32, as ties are broken by what is rounded."""
    left = threads // blocks.shares
    chunked = -(-wide // blocks.chunks) * blocks.chunks
    shares = (
        leftover(work, left),
        single(blocks.rows * -(-rows // blocks.rows) % rows / rows),
        single((chunked - wide) / wide),
        single((threads - left * blocks.shares) / threads),
        leftover(depth, blocks.shares * deep),
    )
    total = 0.0
    for share in shares:
        total = single(total + share)
    return single(total / len(shares))


def leftover(work: int, workers: int) -> float:
    """How far work is from a multiple of the workers, of which each takes one."""
    rest = work % workers
    return single((workers - rest if work < workers else min(workers - rest, rest)) / workers)


def single(value: float) -> float:
    """A number rounded to F32."""
    rounded: float = unpack("f", pack("f", value))[0]
    return rounded


def rounded_up(length: int, step: int) -> int:
    return -(-length // step) * step


def is_power_of_two(number: int) -> bool:
    return number.bit_count() == 1
