"""A sum that every Python gives the same."""

from collections.abc import Iterable
from functools import reduce
from operator import add


def added(values: Iterable[float]) -> float:
    """Add numbers from the first to the last, each sum rounded once: `sum` carries what rounding loses since
    Python 3.12, so that last digits of an answer hung on the Python that gave it.

    >>> added([0.1] * 10), added([])
    (0.9999999999999999, 0)
    """
    return reduce(add, values, 0)
