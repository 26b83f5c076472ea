"""The card that a log names, as drivers and programs print it -> the catalogue's."""

from ...errors import OomlessError
from ...run.cards import Card, find_card

FAMILIES = ("nvidia ", "geforce ", "tesla ", "quadro ", "apple ", "amd ", "instinct ")
"""Words of a maker in front of a card's own name."""


def logged_card(printed: str) -> Card | None:
    """Return the card; None where the catalogue has none of that name.

    >>> [
    ...     card.name
    ...     for text in ("Tesla T4", "Tesla V100-SXM2-32GB", "AMD Instinct MI300X", "NVIDIA GeForce RTX 4090")
    ...     if (card := logged_card(text))
    ... ]
    ['T4', 'V100 SXM2 32GB', 'Instinct MI300X', 'RTX 4090']
    >>> logged_card("NVIDIA GeForce RTX 3060 Laptop GPU"), logged_card("")
    (None, None)
    """
    own = printed.lower().replace("_", " ").strip()
    while any(own.startswith(word) for word in FAMILIES):
        own = own.partition(" ")[2]
    for word in (printed, own, f"nvidia {own}") if own else ():
        try:
            return find_card(word)[0]
        except OomlessError:
            continue
    return None
