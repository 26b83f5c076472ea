"""Two kinds of work that hide behind each other in part."""

from .steady import steady


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
