"""The largest magnitude, or the bounds, of each group of a block: what scales are made from."""

from collections.abc import Callable

from .scratch import Array, Scratch, numpy

TREE_UP_TO = 64
"""Groups of a power of two up to this size are reduced by halves of the whole block: numpy's own reduction
spends its time between rows of so few values."""

WIDE = "complex128"
"""numpy's widest item: every second one of a block is copied at the cost of one value."""
WIDE_BYTES = 16
TURNS = ("even", "odd")


def reduced(values: Array, group: int, operation: str, scratch: Scratch) -> Array:
    """Return the maximum (or minimum) of each `group` columns of a contiguous block, rows x groups; 0 = the
    whole row.

    The groups divide the columns.
    """
    np = numpy()
    ufunc = getattr(np, operation)
    rows, columns = values.shape
    if group in (0, columns):
        return np.asarray(ufunc.reduce(values, axis=1)).reshape(rows, 1)
    groups = columns // group
    if group > TREE_UP_TO or group & (group - 1):
        starts = np.arange(0, rows * columns, group)
        return np.asarray(ufunc.reduceat(values.reshape(-1), starts)).reshape(rows, groups)
    lanes = min(WIDE_BYTES // values.dtype.itemsize, group)
    level = halved(values.reshape(-1), group // lanes, ufunc, scratch)
    return slid(level, lanes, ufunc, scratch)[::lanes].reshape(rows, groups).copy()


def halved(level: Array, items: int, ufunc: Callable[..., Array], scratch: Scratch) -> Array:
    """Return one wide item for each `items` of a flat block (a power of two): its lanes hold the result of
    their own places."""
    np = numpy()
    for turn in range(items.bit_length() - 1):
        wide = level.view(WIDE)
        halves = [scratch.take(f"{each} items", WIDE, wide.size // 2) for each in TURNS]
        for half, first in zip(halves, (0, 1), strict=True):
            np.copyto(half, wide[first::2])
        found = scratch.take(f"halves of {TURNS[turn % 2]} levels", level.dtype, level.size // 2)
        level = ufunc(*(half.view(level.dtype) for half in halves), out=found)
    return level


def slid(level: Array, lanes: int, ufunc: Callable[..., Array], scratch: Scratch) -> Array:
    """Return a flat block in which each value has met the `lanes` - 1 behind it (a power of two), by moving
    the whole block; the last ones have met fewer."""
    for turn in range(lanes.bit_length() - 1):
        found = scratch.take(f"moved {TURNS[turn % 2]} times", level.dtype, level.size)
        step = 1 << turn
        ufunc(level[:-step], level[step:], out=found[:-step])
        level = found
    return level


def block_maxima(values: Array, block: tuple[int, int]) -> Array:
    """Return the maximum of each block of rows x columns; the last ones of either direction may be partial.

    >>> import numpy
    >>> block_maxima(numpy.arange(12, dtype=numpy.float32).reshape(3, 4), (2, 3))
    array([[ 6.,  7.],
           [10., 11.]], dtype=float32)
    """
    np = numpy()
    rows, columns = values.shape
    block_rows, block_columns = block[0] or rows, block[1] or columns
    parts = [values[row : row + block_rows].max(axis=0) for row in range(0, rows, block_rows)]
    by_row = np.stack(parts)
    starts = np.arange(0, columns, block_columns)
    return np.asarray(np.maximum.reduceat(by_row, starts, axis=1))


def spread(scales: Array, group: int, columns: int) -> Array:
    """Return a value for each column from one for each group: numpy multiplies long rows several times faster
    than groups."""
    if scales.shape[1] == 1:
        return scales
    return numpy().repeat(scales, group, axis=1)[:, :columns]


def spread_pairs(scales: Array, group: int, columns: int) -> Array:
    """Return the same for columns that stand in two halves, the even and the odd ones: a group of both shares
    a scale, so that one array serves either half."""
    return spread(scales, group // 2, columns // 2)
