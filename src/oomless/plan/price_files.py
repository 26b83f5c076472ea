"""Prices of the user's own: a CSV in SkyPilot's schema, or what gpuhunt (extra `prices`) fetches. Whole or
not at all."""

import math
from pathlib import Path
from typing import NamedTuple

from ..errors import MissingExtra, OomlessError, UsageError
from ..files import read_whole_text
from ..limits import PRICES, parse_csv
from ..units import GIB, MIB
from .prices import Price, Tier, card_sold_as, judged

COLUMNS = ("InstanceType", "AcceleratorName", "AcceleratorCount", "Price", "Region")
"""What a price needs of SkyPilot's schema; SpotPrice, GpuInfo, Currency and others may stand beside it."""
SYMBOLS = {
    "$": "USD",
    "US$": "USD",
    "€": "EUR",
    "£": "GBP",
    "¥": "CNY",
    "￥": "CNY",
    "CN¥": "CNY",
    "₹": "INR",
}


class Imported(NamedTuple):
    """Prices of a file, and which rows were left out and why."""

    prices: tuple[Price, ...]
    dropped: tuple[str, ...]
    unknown_cards: tuple[str, ...]
    """Names of accelerators that no card of the catalogue bears."""


def read_prices(word: str, date: str = "") -> Imported:
    """`PATH`, `PROVIDER=PATH` or `gpuhunt`. The date is the file's, unless it is given."""
    if word == "gpuhunt":
        return from_gpuhunt()
    provider, named, rest = word.partition("=")
    path = Path(rest if named and provider.isidentifier() else word)
    text = read_whole_text(
        path, PRICES.num_bytes, "give a CSV file in SkyPilot's schema, with the cards that matter"
    )
    if not date:
        from datetime import UTC, datetime

        date = datetime.fromtimestamp(path.stat().st_mtime, UTC).date().isoformat()
    if not named or not provider.isidentifier():
        provider = path.parent.resolve().name if path.stem in ("vms", "instances") else path.stem
    return read_rows(text, str(path), provider, date)


def read_rows(text: str, where: str, provider: str, date: str) -> Imported:
    """The prices of a table in SkyPilot's schema.

    >>> header = "InstanceType,AcceleratorName,AcceleratorCount,Price,SpotPrice,Region"
    >>> table = f"{header}\\ngpu8,H100,8,23.60,10.00,eu-north1\\n"
    >>> [
    ...     (each.tier, each.usd_per_gpu_hour)
    ...     for each in read_rows(table, "vms.csv", "nebius", "2026-05-01").prices
    ... ]
    [('on-demand', 2.95), ('spot', 1.25)]
    """
    found: list[Price] = []
    unknown: dict[str, None] = {}
    currencies: dict[str, int] = {}
    for number, row in parse_csv(text, where, PRICES, COLUMNS):
        if not (name := row["AcceleratorName"].strip()):
            continue
        amounts = {
            tier: _amount(row.get(column) or "", f"{where}:{number}: {column}")
            for tier, column in AMOUNTS
            if row.get(column)
        }
        for currency, _ in amounts.values():
            currencies.setdefault((row.get("Currency") or currency or "USD").strip().upper(), number)
        need_one(currencies, where)
        count = _count(row["AcceleratorCount"], f"{where}:{number}: AcceleratorCount")
        card = card_sold_as(name, _memory_gb(row.get("GpuInfo") or ""), row["InstanceType"])
        if not card:
            unknown[name] = None
            continue
        sold = (card, provider, row["Region"], row["InstanceType"])
        found += [
            Price(*sold, tier, tier, price / count, count, date, where)
            for tier, (_, price) in amounts.items()
        ]
    if currencies and "USD" not in currencies:
        raise OomlessError(
            f"{where}: prices in {next(iter(currencies))}", "convert the table to US dollars first"
        )
    if not found:
        raise OomlessError(
            f"{where}: no price of any card that is known here", "`oomless gpus` lists the cards"
        )
    sound, dropped = judged(found)
    if not sound:
        raise OomlessError(
            f"{where}: no price is left: {dropped[0]}", "write dollars an hour of the whole machine: 23.60"
        )
    return Imported(tuple(sound), tuple(f"{where}: {each}" for each in dropped), tuple(unknown))


def need_one(currencies: dict[str, int], where: str) -> None:
    """Refuse a table in more than one currency; each is named with the row where it is first met."""
    if len(currencies) > 1:
        said = ", ".join(f"{currency} (row {first})" for currency, first in currencies.items())
        raise OomlessError(
            f"{where}: prices in several currencies: {said}", "convert the table to US dollars first"
        )


AMOUNTS: tuple[tuple[Tier, str], ...] = (("on-demand", "Price"), ("spot", "SpotPrice"))


def _amount(text: str, where: str) -> tuple[str, float]:
    """(currency, amount) of a cell: 23.60, $23.60 or CNY 172.9.

    >>> _amount("$1,023.60", "row 2"), _amount("CNY 172.9", "row 3")
    (('USD', 1023.6), ('CNY', 172.9))
    """
    cell = text.strip()
    digits = cell.lstrip("".join(SYMBOLS) + "ABCDEFGHIJKLMNOPQRSTUVWXYZ ")
    currency = cell[: len(cell) - len(digits)].strip()
    try:
        value = float(digits.replace(",", ""))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise OomlessError(f"{where} {text!r} is no price", "write dollars an hour: 23.60")
    return SYMBOLS.get(currency, currency), value


def _count(text: str, where: str) -> int:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (value == value and 1 <= value <= MAX_COUNT and value == int(value)):
        raise OomlessError(f"{where} {text!r} is no number of cards", "write a whole number")
    return int(value)


MAX_COUNT = 1 << 16


def _memory_gb(info: str) -> str:
    """Marketed gigabytes of SkyPilot's GpuInfo, which gives the driver's MiB of each card; "" without it.

    >>> _memory_gb("{'Gpus': [{'Name': 'V100', 'MemoryInfo': {'SizeInMiB': 32768}}]}")
    '32'
    """
    _, found, rest = info.partition("SizeInMiB")
    digits = "".join(char for char in rest.lstrip("'\": ")[:9] if char.isdecimal())
    return str(int(digits) * MIB // GIB) if found and digits else ""


def from_gpuhunt() -> Imported:
    """What gpuhunt's catalogues list now. Needs the network and the extra `prices`."""
    try:
        import gpuhunt  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError:
        raise MissingExtra(
            "--prices gpuhunt needs the package gpuhunt", "pip install 'oomless[prices]'"
        ) from None
    from datetime import UTC, datetime

    today = datetime.now(UTC).date().isoformat()
    try:
        items = gpuhunt.query(min_gpu_count=1)
    except Exception as error:
        raise OomlessError(
            f"gpuhunt found no catalogue ({error})",
            "it reads them from the network: check it, or give a file",
        ) from None
    found: list[Price] = []
    unknown: dict[str, None] = {}
    for item in items:
        name, memory = str(item.gpu_name or ""), f"{item.gpu_memory or 0:g}"
        card = card_sold_as(name, memory, str(item.instance_name))
        if not card:
            unknown[name] = None
            continue
        tier: Tier = "spot" if item.spot else "on-demand"
        each = float(item.price) / item.gpu_count
        source = f"gpuhunt {getattr(gpuhunt, '__version__', '')}".strip()
        found.append(
            Price(
                card,
                str(item.provider),
                str(item.location),
                str(item.instance_name),
                tier,
                tier,
                each,
                item.gpu_count,
                today,
                source,
            )
        )
    if not found:
        raise UsageError("gpuhunt lists no card that is known here", "`oomless gpus` lists the cards")
    sound, dropped = judged(found)
    return Imported(tuple(sound), tuple(dropped), tuple(unknown))


def age_days(date: str) -> int | None:
    """Days since a date, None where it is no day."""
    from datetime import UTC, datetime
    from datetime import date as day

    try:
        return (datetime.now(UTC).date() - day.fromisoformat(date)).days
    except ValueError:
        return None


STALE_DAYS = 180
