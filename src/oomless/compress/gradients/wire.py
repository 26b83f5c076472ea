"""Wire: the bytes that each way sends, from the rules of ring collectives."""

from math import ceil

BLOCK = 128
"""Values that share a scale in float32."""
INDEX_BYTES = 8


def all_reduce(num_bytes: float, world: int) -> float:
    """Return what each rank sends to sum a tensor: 2 (W - 1) / W of it.

    >>> all_reduce(1000, 4)
    1500.0
    """
    return 2 * (world - 1) / world * num_bytes


def plain_bytes(numel: int, world: int, item: int = 4) -> float:
    """Return what each rank sends for gradients as they are."""
    return all_reduce(numel * item, world)


def int8_bytes(numel: int, world: int) -> float:
    """Return what each rank sends for int8 blocks: its pieces to the others, the sums back; each padded to
    whole blocks of each rank.

    >>> int8_bytes(512, 4) / plain_bytes(512, 4)
    0.2578125
    """
    each = ceil(ceil(numel / world) / BLOCK)
    return 2 * (world - 1) * each * (BLOCK + 4)


def top_k_bytes(numel: int, world: int, density: float) -> float:
    """Return what each rank sends for its largest values: value and index, to all others.

    A sparse sum grows with the ranks: with 4 ranks and a density of 0.01 it is 2 % of the plain bytes.

    >>> top_k_bytes(10_000, 4, 0.01) / plain_bytes(10_000, 4)
    0.06
    """
    return (world - 1) * max(round(numel * density), 1) * (4 + INDEX_BYTES)


def power_sgd_bytes(shapes: list[tuple[int, ...]], world: int, rank: int) -> float:
    """Return what each rank sends for PowerSGD: two factors of each matrix, all else as it is. torch leaves a
    matrix alone whose factors are not at most half of it.

    >>> power_sgd_bytes([(512, 512)], 4, 2) / plain_bytes(512 * 512, 4)
    0.0078125
    """
    total = 0
    for shape in shapes:
        rows = shape[0] if shape else 1
        columns = 1
        for size in shape[1:]:
            columns *= size
        small = (rows + columns) * min(rank, rows, columns) * 2 < rows * columns
        total += (rows + columns) * min(rank, rows, columns) if small else rows * columns
    return all_reduce(4 * total, world)
