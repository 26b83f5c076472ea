"""Buy or rent, under the flags' names as keywords."""

from collections.abc import Iterable
from typing import Any

from ..plan.cost import Cost, CostFlags
from ..plan.cost import cost as cost_of
from ..plan.prices import Price
from ..run.options import given


def cost(gpu: str, *, prices: Iterable[str] = (), **flags: Any) -> Cost:
    """Return what cards cost bought and rented, and when one overtakes the other. The flags are those of
    `oomless cost`.

    >>> answer = cost("a100-80gb:8", buy_usd=80000, rent_usd_per_hour=25)
    >>> round(answer.break_even["hardware"], 1)
    4.4
    """
    table, notes = price_table(tuple(prices))
    return cost_of(CostFlags(gpu, **given("cost", flags)), table, notes)


def price_table(words: tuple[str, ...]) -> tuple[tuple[Price, ...] | None, list[str]]:
    """Return the prices that count, and what was left out of the user's files; None: those of the tables."""
    if not words:
        return None, []
    from ..plan.price_files import STALE_DAYS, age_days, read_prices

    found: list[Price] = []
    notes: list[str] = []
    for word in words:
        imported = read_prices(word)
        found += imported.prices
        notes += [f"left out: {each}" for each in imported.dropped]
        if imported.unknown_cards:
            notes.append(f"{word}: cards that are not known here: {', '.join(imported.unknown_cards)}")
        age = age_days(imported.prices[0].date)
        if age is not None and age > STALE_DAYS:
            notes.append(f"{word}: the prices are {age} days old")
    return tuple(found), notes
