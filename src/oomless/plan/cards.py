"""What a plan asks of a card beyond its memory: its short name, its power, what it can compute."""

from functools import cache

from .. import facts
from ..run.cards import Card, cards


@cache
def _short_names() -> dict[str, str]:
    return {each.name: short for short, each in cards().items()}


def short_name(card: Card) -> str:
    """The name of a card that `--gpu` takes; "" for a card that is only a size.

    >>> from ..run.hardware import parse_gpu
    >>> short_name(parse_gpu("h100").card)
    'h100-80gb-sxm5'
    """
    return _short_names().get(card.name, "")


@cache
def _rows() -> dict[str, dict[str, str]]:
    return {row["short_name"]: row for row in facts.table("hardware")}


def row_of(short: str) -> dict[str, str]:
    """The row of hardware.csv; {} for a card that is only a size."""
    return _rows().get(short, {})


def watts(short: str) -> float:
    """Power of a card at its limit; 0 where it is not known. Of a range, the higher end.

    >>> watts("h100-80gb-sxm5"), watts("ascend-910b")
    (700.0, 400.0)
    """
    text = row_of(short).get("tdp_w", "")
    numbers = [float(part) for part in text.replace("-", " ").split() if part.replace(".", "").isdecimal()]
    return max(numbers, default=0.0)
