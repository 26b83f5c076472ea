"""What a plan asks of a card beyond its memory: its short name and its power."""

from ..facts.hardware import cards_by_full_name, cards_by_short_name
from ..run.cards import Card


def short_name(card: Card) -> str:
    """The name of a card that `--gpu` takes; "" for a card that is only a size.

    >>> from ..run.hardware import parse_gpu
    >>> short_name(parse_gpu("h100").card)
    'h100-80gb-sxm5'
    """
    return cards_by_full_name().get(card.name, {}).get("short_name", "")


def watts(short: str) -> float:
    """Power of a card at its limit; 0 where it is not known. Of a range, the higher end.

    >>> watts("h100-80gb-sxm5"), watts("ascend-910b")
    (700.0, 400.0)
    """
    text = cards_by_short_name().get(short, {}).get("tdp_w", "")
    numbers = [float(part) for part in text.replace("-", " ").split() if part.replace(".", "").isdecimal()]
    return max(numbers, default=0.0)
