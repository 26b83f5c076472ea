"""A power or a logarithm that every machine gives the same."""

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
