"""Unified memory: what stays with the host lies in the same memory as what is on the card."""

from ...ledger import Line, exact
from ...run.cards import Card
from ...units import format_bytes


def on_shared_memory(card: Card, host_bytes: int) -> tuple[Line, ...]:
    """What the host's part takes of the memory that a card may have: all but what the card may not have
    anyway.

    host - (memory of the machine - memory of the card). Nothing where the host has memory of its own.
    Ignored: the system and its programs.

    >>> from ...run.cards import card
    >>> [
    ...     sum(line.bytes for line in on_shared_memory(card(name), 40_000_000_000))
    ...     for name in ("dgx-spark-gb10", "m3-ultra", "rtx-4090")
    ... ]
    [40000000000, 14230196224, 0]
    """
    spare = card.shared_bytes - card.memory_bytes
    if not card.shared_bytes or host_bytes <= spare:
        return ()
    formula = f"{format_bytes(host_bytes)} of the host" + (
        f" - {format_bytes(spare)} that the card may not take" if spare else ""
    )
    return (
        exact(
            "weights.on_host",
            "engine",
            "left to the host, which has no other memory",
            host_bytes - spare,
            formula,
            "run/hardware.py: unified memory",
        ),
    )
