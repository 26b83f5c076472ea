"""Prices with a provider, a tier, a region and a date: never a bare number. From facts/prices.csv, or from a
file of the user's."""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Literal, NamedTuple

from .. import facts
from ..errors import UsageError, did_you_mean

Tier = Literal["on-demand", "reserved", "spot", "community"]
TIERS: tuple[Tier, ...] = ("on-demand", "reserved", "spot", "community")
TIER_OF: dict[str, Tier] = {
    "on-demand": "on-demand",
    "secure": "on-demand",
    "1-yr reserved": "reserved",
    "capacity block": "reserved",
    "spot": "spot",
    "spot (interruptible)": "spot",
    "marketplace (interruptible)": "spot",
    "community": "community",
}
"""How a provider calls what it sells -> what may happen to it: reserved is paid whether used or not, spot and
marketplaces are taken away, community machines belong to strangers."""


class Price(NamedTuple):
    """What one provider asks for one card an hour."""

    card: str
    """Short name of the catalogue."""
    provider: str
    region: str
    sku: str
    tier: Tier
    tier_word: str
    """The tier as the provider calls it."""
    usd_per_gpu_hour: float
    gpus_per_instance: int
    """Cards that come together; 0: any number of them, at so much each."""
    date: str
    """As the source dates it: a day, a half year, or "undated"."""
    source: str
    note: str = ""

    def usd_per_hour(self, num_gpus: int) -> float:
        """Rent of `num_gpus` cards: whole instances where they come in instances.

        >>> cheapest("a100-80gb-sxm4", 8, providers=("AWS",), regions=("us-east-1",)).usd_per_hour(
        ...     8
        ... ).__round__(2)
        27.45
        """
        if not self.gpus_per_instance:
            return self.usd_per_gpu_hour * num_gpus
        return self.usd_per_gpu_hour * self.gpus_per_instance * -(-num_gpus // self.gpus_per_instance)

    @property
    def label(self) -> str:
        """What must stand beside every number: "verda on-demand 2026-05-24"."""
        region = f" {self.region}" if self.region else ""
        return f"{self.provider}{region} {self.tier_word} {self.date}"


@cache
def _names() -> dict[str, tuple[tuple[str, str, str], ...]]:
    """Lower-case name of a card as sellers write it -> (memory in GB, part of the SKU, short name), most
    particular first."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    for row in facts.table("price_cards"):
        found.setdefault(row["name"].lower(), []).append((row["mem_gb"], row["sku_has"].lower(), row["card"]))
    return {
        name: tuple(sorted(rows, key=lambda row: (not row[0], not row[1]))) for name, rows in found.items()
    }


def card_sold_as(name: str, mem_gb: str, sku: str) -> str:
    """Short name of the card that a seller means; "" if it is none of ours.

    >>> (
    ...     card_sold_as("A100", "80", "NVIDIA A100 PCIe"),
    ...     card_sold_as("A100-80GB", "", ""),
    ...     card_sold_as("abacus", "", ""),
    ... )
    ('a100-80gb-pcie', 'a100-80gb-sxm4', '')
    """
    for size, part, card in _names().get(name.lower(), ()):
        if (not size or size == mem_gb) and part in sku.lower():
            return card
    return ""


def judged(rows: Iterable[Price]) -> tuple[list[Price], list[str]]:
    """The rows that can be meant, and why the others cannot: knowledge of how such tables lie.

    Dropped: prices of nothing or less, sentinels (500 and more a card-hour), interruptible machines dearer
    than the same provider's on-demand price for the same card.
    """
    kept, dropped = [], []
    for row in rows:
        if not 0 < row.usd_per_gpu_hour < MAX_USD_PER_GPU_HOUR:
            dropped.append(
                f"{row.provider} {row.sku or row.card} {row.tier_word}: "
                f"{row.usd_per_gpu_hour:g} USD a card-hour is no price"
            )
        else:
            kept.append(row)
    firm: dict[tuple[str, str, str], float] = {}
    for row in kept:
        if row.tier == "on-demand":
            key = (row.provider, row.region, row.card)
            firm[key] = max(firm.get(key, 0.0), row.usd_per_gpu_hour)
    sound = []
    for row in kept:
        ceiling = firm.get((row.provider, row.region, row.card))
        if row.tier == "spot" and ceiling is not None and row.usd_per_gpu_hour > ceiling:
            dropped.append(
                f"{row.provider} {row.sku or row.card}: spot at {row.usd_per_gpu_hour:g} is "
                f"above on-demand at {ceiling:g}"
            )
        else:
            sound.append(row)
    return sound, dropped


MAX_USD_PER_GPU_HOUR = 500.0
"""No card costs that an hour: catalogues write 700 where nothing is for sale (hardware_prices, SkyPilot's
asia-east1 TPU rows)."""


@cache
def known_prices() -> tuple[Price, ...]:
    """Rents of facts/prices.csv for cards of the catalogue, junk left out, the newest of each offer."""
    rows = []
    for row in facts.table("prices"):
        card = card_sold_as(row["gpu"], row["mem_gb"], row["sku"])
        if (
            row["kind"] != "rent"
            or row["tier"] not in TIER_OF
            or not row["price_per_gpu_hour_usd"]
            or not card
        ):
            continue
        if not any(char.isdigit() for char in row["snapshot_date"]) or STALE in row["note"]:
            continue  # a price of no known year is no price
        rows.append(
            Price(
                card=card,
                provider=PROVIDER_NAMES.get(row["provider"], row["provider"]),
                region=row["region"],
                sku=row["sku"],
                tier="community" if row["note"].startswith(CHEAPEST_HOST) else TIER_OF[row["tier"]],
                tier_word=row["tier"],
                usd_per_gpu_hour=float(row["price_per_gpu_hour_usd"]),
                gpus_per_instance=0 if row["sold"] == "gpu" else int(row["n_gpus"]),
                date=row["snapshot_date"],
                source=row["source"],
                note=row["note"],
            )
        )
    newest: dict[tuple[object, ...], Price] = {}
    for price in judged(rows)[0]:
        key = (price.card, price.provider, price.region, price.sku, price.tier_word)
        if key not in newest or year_of(price) >= year_of(newest[key]):
            newest[key] = price
    latest = max(year_of(price) for price in newest.values())
    return tuple(price for price in newest.values() if latest - year_of(price) <= MAX_AGE_YEARS)


CHEAPEST_HOST = "Marketplace min price"
"""How the source marks the price of the one cheapest host of a marketplace: whoever owns it, it is no offer
for a node."""
PROVIDER_NAMES = {"lambda": "Lambda", "runpod": "RunPod"}
"""One provider, two spellings in two sources."""
STALE = "prices may be stale"
"""How the source marks a seller whose own page is of an earlier year than the snapshot."""
MAX_AGE_YEARS = 1
"""Older prices are another market: A100 rents halved between 2024 and 2026."""


@cache
def known_prices_by_card() -> dict[str, tuple[Price, ...]]:
    """Return the known prices of each card, by its short name.

    >>> {price.card for price in known_prices_by_card()["h100-80gb-sxm5"]}
    {'h100-80gb-sxm5'}
    """
    found: dict[str, list[Price]] = {}
    for price in known_prices():
        found.setdefault(price.card, []).append(price)
    return {card: tuple(prices) for card, prices in found.items()}


def year_of(price: Price) -> int:
    """The last year that a date names.

    >>> [
    ...     year_of(known_prices()[0]._replace(date=date))
    ...     for date in ("2026-05-24", "undated 2025-26", "2024-H2 (valid until 2025-01-01)")
    ... ]
    [2026, 2026, 2024]
    """
    start = price.date.partition("(")[0]
    years = [word for word in start.replace("-", " ").replace("_", " ").split() if word.isdigit()]
    whole = [int(word) for word in years if len(word) == 4]
    if not whole:
        return 0
    after = years[years.index(str(whole[-1])) + 1 :]
    if "undated" in start and after and len(after[0]) == 2:
        return whole[-1] // 100 * 100 + int(after[0])
    return whole[-1]


def cheapest(
    card: str,
    num_gpus: int,
    tier: str = "on-demand",
    providers: Sequence[str] = (),
    regions: Sequence[str] = (),
    table: Sequence[Price] | None = None,
) -> Price | None:
    """The lowest rent of `num_gpus` cards together; None if nobody in the table offers it."""
    rows = [
        price
        for price in (known_prices_by_card().get(card, ()) if table is None else table)
        if price.card == card
        and tier in (price.tier, "any")
        and (not providers or price.provider.lower() in {name.lower() for name in providers})
        and (
            not regions
            or not price.region
            or price.region.lower() in {"all", *(name.lower() for name in regions)}
        )
        and (price.gpus_per_instance != 1 or num_gpus == 1)
    ]
    return min(rows, key=lambda price: (price.usd_per_hour(num_gpus), price.label), default=None)


def check_provider(name: str, table: Sequence[Price] | None = None) -> None:
    """Refuse a provider that no price is known of."""
    known = sorted({price.provider for price in (known_prices() if table is None else table)})
    if name.lower() not in {provider.lower() for provider in known}:
        raise UsageError(
            f"unknown provider {name!r}: it sells nothing here",
            did_you_mean(name, known, "oomless cost --list-prices"),
        )


def check_region(name: str, table: Sequence[Price] | None = None) -> None:
    """Refuse a region that no price names: offers that say none would answer for it."""
    known = sorted({price.region for price in (known_prices() if table is None else table) if price.region})
    if name.lower() not in {region.lower() for region in known}:
        raise UsageError(
            f"unknown region {name!r}: no price names it",
            did_you_mean(name, known, "oomless cost --list-prices"),
        )


class Purchase(NamedTuple):
    """What a card or machine costs to buy, as a range, and who says so."""

    what: str
    card: str
    num_gpus: int
    low_usd: float
    high_usd: float
    date: str
    source: str


def purchases(card: str) -> tuple[Purchase, ...]:
    """Purchase prices of a card.

    >>> [(each.low_usd, each.high_usd) for each in purchases("a100-80gb-sxm4")]
    [(8000.0, 15000.0)]
    """
    found = []
    for row in facts.table("prices"):
        if (
            row["kind"] != "buy"
            or card_sold_as(row["gpu"], row["mem_gb"], row["sku"]) != card
            or not dated(row["snapshot_date"])
        ):
            continue
        low, _, high = row["price"].partition("-")
        found.append(
            Purchase(
                row["sku"],
                card,
                int(row["n_gpus"]),
                float(low),
                float(high or low),
                row["snapshot_date"],
                row["source"],
            )
        )
    return tuple(found)


def dated(text: str) -> bool:
    """Whether a date names a year at all."""
    return any(char.isdigit() for char in text)


class Rate(NamedTuple):
    """A running cost with its source: electricity, PUE, colocation."""

    value: float
    unit: str
    where: str
    date: str
    source: str


def rate(sku: str, where: str) -> Rate:
    """A row of kind "operate".

    >>> rate("PUE", "world average (weighted)").value
    1.54
    """
    row = next(
        row
        for row in facts.table("prices")
        if (row["kind"], row["sku"], row["provider"]) == ("operate", sku, where)
    )
    return Rate(float(row["price"]), row["unit"], where, row["snapshot_date"], row["source"])
