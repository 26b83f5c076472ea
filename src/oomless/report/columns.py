"""Tables as plain lines: columns as wide as they must be, numbers at the right."""

from collections.abc import Sequence


def columns(rows: Sequence[Sequence[str]], right: frozenset[int] = frozenset()) -> list[str]:
    """Return rows as lines; the columns of `right` end together.

    >>> columns([("line", "bytes"), ("train.py:1", "12")], frozenset({1}))
    ['line        bytes', 'train.py:1     12']
    """
    if not rows:
        return []
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if at in right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], num: int = 60) -> str:
    """Return values as a row of bars, from the smallest to the largest; several values a bar where there are
    many.

    >>> sparkline([1, 2, 3]), sparkline([5, 5])
    ('▁▅█', '▁▁')
    """
    if not values:
        return ""
    each = -(-len(values) // num)
    highest = [max(values[at : at + each]) for at in range(0, len(values), each)]
    low, high = min(highest), max(highest)
    span = high - low or 1
    return "".join(
        BARS[round((value - low) / span * (len(BARS) - 1))] if high > low else BARS[0] for value in highest
    )
