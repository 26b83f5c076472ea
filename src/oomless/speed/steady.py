"""Numbers that every machine and every Python give the same: sums, powers and logarithms, and of these work
that hides behind other work."""

from collections.abc import Iterable
from functools import reduce
from operator import add

UPPER_HALF = float((1 << 27) + 1)


def steady(value: float) -> float:
    """Return the upper half of a float's digits, 26 bits of 53, rounded (Dekker's split, which adds and
    multiplies alone).

    Powers, exponents and logarithms come from a library of C, and two of them, or one on a processor that
    multiplies and adds at once and on one that does not, differ in the last bit now and then: the page's
    Python and the command line then said the same but for a last digit. The half that is left out is 1e-8 of
    the value, where the measured shares it is made of have three digits.

    >>> steady(2**0.5), steady(2**0.5 + 4e-16), steady(8.0)
    (1.4142135679721832, 1.4142135679721832, 8.0)
    """
    product = value * UPPER_HALF
    return product - (product - value)


def added(values: Iterable[float]) -> float:
    """Add numbers from the first to the last, each sum rounded once: `sum` carries what rounding loses since
    Python 3.12, so that last digits of an answer hung on the Python that gave it.

    >>> added([0.1] * 10), added([])
    (0.9999999999999999, 0)
    """
    return reduce(add, values, 0)


def hidden(one_s: float, other_s: float, power: float) -> float:
    """Return the seconds of two kinds of work that run beside each other: (one^p + other^p)^(1/p), between
    the longer of them (p large: it hides the other) and their sum (p = 1).

    >>> round(hidden(3.0, 4.0, 2.0), 6), hidden(3.0, 4.0, 1.0), hidden(0.0, 4.0, 3.0)
    (5.0, 7.0, 4.0)
    """
    longer = max(one_s, other_s)
    if not longer:
        return 0.0
    return longer * steady((1 + (min(one_s, other_s) / longer) ** power) ** (1 / power))
