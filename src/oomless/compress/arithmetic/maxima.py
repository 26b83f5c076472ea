"""The largest magnitude, or the bounds, of each group of a block: what scales are made from."""

from .scratch import Array, Scratch, numpy

TREE_UP_TO = 64
"""Groups of a power of two up to this size are reduced by halves of the whole block: numpy's own reduction
spends its time between rows of so few values."""

HALVES = ("halves of even levels", "halves of odd levels")


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
    level, size, turn = values.reshape(-1), values.size, 0
    while size > rows * groups:
        size //= 2
        half = scratch.take(HALVES[turn], values.dtype, size)
        ufunc(level[0::2], level[1::2], out=half)
        level, turn = half, 1 - turn
    return level.reshape(rows, groups).copy()


def block_maxima(values: Array, block: tuple[int, int], scratch: Scratch) -> Array:
    """Return the maximum of each block of rows x columns; the last ones of either direction may be partial.

    >>> import numpy
    >>> block_maxima(numpy.arange(12, dtype=numpy.float32).reshape(3, 4), (2, 3), Scratch())
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
