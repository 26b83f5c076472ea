"""The shares of a machine's rates that software reaches, and its latencies: rows of efficiencies.csv by class
of device, engine and condition."""

from functools import cache

from ..facts import ConditionalRow, select


class Efficiencies:
    """The efficiencies that one answer stands on: rows of an overlay, such as a user's own measurements or
    the values of a refit, before those of the table."""

    def __init__(self, overlay: tuple[ConditionalRow, ...] = ()) -> None:
        self.overlay: dict[str, tuple[ConditionalRow, ...]] = {}
        """By quantity."""
        for row in overlay:
            self.overlay[row.where[0]] = (*self.overlay.get(row.where[0], ()), row)
        self.used: dict[tuple[str, str, str, frozenset[str]], ConditionalRow] = {}
        """What was asked for, with the row that was found: looked up once, and named in answers."""

    def row(
        self, quantity: str, device: str = "", engine: str = "", conditions: frozenset[str] = frozenset()
    ) -> ConditionalRow:
        """Return the row whose class and conditions all hold: of those the most particular."""
        asked = (quantity, device, engine, conditions)
        found = self.used.get(asked)
        if found is None:
            where, own = (quantity, engine, device), self.overlay.get(quantity, ())
            found = self.used[asked] = select("efficiencies", where, conditions, overlay=own)
        return found

    def value(
        self, quantity: str, device: str = "", engine: str = "", conditions: frozenset[str] = frozenset()
    ) -> float:
        """Return the value of the row alone.

        >>> SHIPPED.value("weights", "gddr", "llamacpp") > SHIPPED.value("weights", "hbm", "llamacpp")
        True
        """
        return self.row(quantity, device, engine, conditions).constant.value

    def cite(self, *quantities: str) -> str:
        """Return the source of what was used of some quantities: the table, and each row of the overlay that
        counted.

        >>> SHIPPED.cite("matrix", "unpack")
        'efficiencies.csv: matrix, unpack'
        """
        table = cited(quantities)
        if not self.overlay:
            return table
        own = dict.fromkeys(
            row.constant.source
            for (quantity, *_), row in self.used.items()
            if quantity in quantities and row.from_overlay
        )
        return "; ".join((table, *own))


@cache
def cited(quantities: tuple[str, ...]) -> str:
    """Return the table with some of its quantities: each pass names the same."""
    return f"efficiencies.csv: {', '.join(quantities)}"


SHIPPED = Efficiencies()
"""The table as it comes with oomless."""
