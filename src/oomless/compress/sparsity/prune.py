"""Which two of each four stay: by magnitude, by what they are fed with (Wanda), or with the others moved to
make the loss good (SparseGPT)."""

from ..arithmetic.scratch import Array, numpy
from ..calibration.solve import BLOCK, Moments, Solved
from ..codecs.codec import Steps
from ..codecs.pruned import OF, Pruned, kept_of_four


def no_steps(values: Array) -> Steps:
    """Return the steps of a format that has none."""
    nothing = numpy().zeros((values.shape[0], 0), numpy().float32)
    return Steps(nothing, nothing)


def by_wanda(codec: Pruned, values: Array, moments: Moments, known: Array | None) -> Solved:
    """Return a matrix with the two of each four whose magnitude times the root mean square of the input is
    highest."""
    np = numpy()
    kept = kept_of_four(np.abs(values) * np.sqrt(moments.diagonal))
    return Solved(np.where(kept, values, np.float32(0)), no_steps(values))


def by_sparsegpt(codec: Pruned, values: Array, moments: Moments, known: Array | None) -> Solved:
    """Return a matrix pruned four columns at a time, what is lost made good by the columns that follow."""
    np = numpy()
    upper = moments.plain_factor
    left = np.ascontiguousarray(values.T)
    columns, rows = left.shape
    for begin in range(0, columns, BLOCK):
        end = min(begin + BLOCK, columns)
        errors = np.empty((end - begin, rows), np.float32)
        for column in range(begin, end):
            if column % OF == 0:
                four = slice(column, column + OF)
                scores = np.square(left[four]) / np.square(np.diagonal(upper)[four])[:, None]
                kept = kept_of_four(scores.T).T
            found = np.where(kept[column % OF], left[column], np.float32(0))
            errors[column - begin] = (left[column] - found) / upper[column, column]
            left[column] = found
            if column + 1 < end:
                left[column + 1 : end] -= np.outer(upper[column, column + 1 : end], errors[column - begin])
        if end < columns:
            left[end:] -= upper[begin:end, end:].T @ errors
    return Solved(np.ascontiguousarray(left.T), no_steps(values))
