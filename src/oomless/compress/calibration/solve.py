"""Scales by the diagonal of the Hessian, and GPTQ: what rounding a matrix does to what it gives out.

The error of a linear layer's output is the trace of E H E^T, with E the error of the weights and H the second
moments of the inputs. Least squared error of the weights alone is no goal: measured, it made a model worse.
"""

from functools import cached_property
from typing import NamedTuple

from ..arithmetic.scratch import Array, numpy
from ..codecs.codec import Steps
from .grid import Adjustable, group_of, rounded, shrinks, steps_of

ROWS = 256
"""Rows that are searched at once."""
BLOCK = 128
"""Columns after which GPTQ brings errors to all columns that follow."""
DAMPING = 0.01
"""Share of the mean of H's diagonal that is added to it."""


class Moments:
    """Second moments of what a matrix is fed with, X^T X / tokens, and what GPTQ needs of them: worked out
    once for all matrices that are fed with the same."""

    def __init__(self, array: Array) -> None:
        self.array = array

    @property
    def diagonal(self) -> Array:
        """Return the mean square of each column."""
        return numpy().diagonal(self.array)

    @cached_property
    def order(self) -> Array:
        """Return the columns from the most fed to the least."""
        return numpy().argsort(-self.diagonal, kind="stable")

    @cached_property
    def factor(self) -> Array:
        """Return the factor of the inverse, with columns in that order."""
        return inverse_factor(self.array[numpy().ix_(self.order, self.order)])

    @cached_property
    def plain_factor(self) -> Array:
        """Return the factor of the inverse, with columns as they stand."""
        return inverse_factor(self.array)


class Solved(NamedTuple):
    """A matrix as its codes give it back, and the steps that they count in."""

    values: Array
    steps: Steps


def search(codec: Adjustable, values: Array, importance: Array, known: Array | None) -> Steps:
    """Return the steps with the least error of each group, weighted by the importance of each column."""
    np = numpy()
    rows, columns = values.shape
    group = group_of(codec, columns)
    grouped = values.reshape(rows, columns // group, group)
    weight = importance.reshape(1, columns // group, group)
    best: Steps | None = None
    least = np.empty(0)
    for shrink in shrinks(codec):
        steps = steps_of(codec, grouped, float(shrink), known)
        zeros = None if steps.zeros is None else steps.zeros[:, :, None]
        error = rounded(codec, grouped, steps.scales[:, :, None], zeros)
        np.subtract(error, grouped, out=error)
        np.square(error, out=error)
        sums = (error * weight).sum(axis=2)
        if best is None:
            best, least = Steps(*(None if each is None else each.copy() for each in steps)), sums
            continue
        better = sums < least
        least = np.where(better, sums, least)
        for old, new in zip(best, steps, strict=True):
            if old is not None:
                np.copyto(old, new, where=better)
    assert best is not None
    return best


def joined(found: list[Steps]) -> Steps:
    """Return steps of rows below each other."""
    np = numpy()
    zeros = None if found[0].zeros is None else np.concatenate([each.zeros for each in found])
    return Steps(
        np.concatenate([each.stored for each in found]),
        np.concatenate([each.scales for each in found]),
        zeros,
    )


def spread_steps(codec: Adjustable, steps: Steps, columns: int) -> tuple[Array, Array | None]:
    """Return scale and zero of each column: rows x columns."""
    np = numpy()
    group = group_of(codec, columns)
    zeros = None if steps.zeros is None else np.repeat(steps.zeros, group, axis=1)
    return np.repeat(steps.scales, group, axis=1), zeros


def by_diagonal(codec: Adjustable, values: Array, moments: Moments, known: Array | None) -> Solved:
    """Return a matrix rounded to the nearest in steps chosen by the diagonal of the moments."""
    importance = importance_of(moments.diagonal)
    steps = joined(
        [
            search(codec, values[row : row + ROWS], importance, known)
            for row in range(0, values.shape[0], ROWS)
        ]
    )
    return Solved(rounded(codec, values, *spread_steps(codec, steps, values.shape[1])), steps)


def importance_of(diagonal: Array) -> Array:
    """Return weights of columns, of mean 1; a column that is never fed counts a little."""
    np = numpy()
    mean = float(diagonal.mean()) or 1.0
    return np.maximum(diagonal / np.float32(mean), np.float32(1e-6)).astype(np.float32)


def by_gptq(codec: Adjustable, values: Array, moments: Moments, known: Array | None) -> Solved:
    """Return a matrix rounded column by column, each error made good by the columns that follow (GPTQ).

    Steps are those of the diagonal, found before; columns go from the most fed to the least.
    """
    np = numpy()
    steps = by_diagonal(codec, values, moments, known).steps
    columns = values.shape[1]
    scales, zeros = spread_steps(codec, steps, columns)
    order, upper = moments.order, moments.factor
    left = np.ascontiguousarray(values.T[order])
    scales = np.ascontiguousarray(scales.T[order])
    zeros = None if zeros is None else np.ascontiguousarray(zeros.T[order])
    for begin in range(0, columns, BLOCK):
        end = min(begin + BLOCK, columns)
        errors = np.empty((end - begin, values.shape[0]), np.float32)
        for column in range(begin, end):
            zero = None if zeros is None else zeros[column]
            found = rounded(codec, left[column], scales[column], zero)
            errors[column - begin] = (left[column] - found) / upper[column, column]
            left[column] = found
            if column + 1 < end:
                left[column + 1 : end] -= np.outer(upper[column, column + 1 : end], errors[column - begin])
        if end < columns:
            left[end:] -= upper[begin:end, end:].T @ errors
    back = np.empty_like(order)
    back[order] = np.arange(columns)
    return Solved(np.ascontiguousarray(left[back].T), steps)


def inverse_factor(moments: Array) -> Array:
    """Return the upper Cholesky factor U of the inverse of damped moments (U^T U), as float32.

    Read backwards, the lower factor of the moments is an upper one, whose inverse is U.

    >>> import numpy
    >>> inverse_factor(numpy.diag([4.0, 4.0])).astype(float).round(3).tolist()
    [[0.498, 0.0], [0.0, 0.498]]
    """
    np = numpy()
    damped = moments.astype(np.float64)
    diagonal = np.einsum("ii->i", damped)
    mean = float(diagonal.mean()) or 1.0
    diagonal[diagonal == 0] = mean
    diagonal += DAMPING * mean
    upper = np.linalg.cholesky(damped[::-1, ::-1])[::-1, ::-1]
    return np.linalg.inv(upper).astype(np.float32)
