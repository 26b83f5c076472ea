"""`oomless cost`: from flags and tables to the question of buy_or_rent.py, and its answer with the source of
every number."""

from collections.abc import Sequence
from typing import NamedTuple

from .. import facts
from ..errors import UsageError
from ..facts.hardware import watts
from ..run.card_names import flag_name
from ..run.cards import Hardware
from ..run.hardware import parse_gpu
from ..run.option_values import value_of
from ..run.options import by_keyword
from .buy_or_rent import (
    Own,
    OwnOrRent,
    Rent,
    Scope,
    Swing,
    break_even_month,
    curve,
    hours_by,
    own_usd,
    rent_usd,
    saving,
    scopes_of,
    sensitivity,
    usd_per_million_tokens,
)
from .prices import Price, cheapest, check_provider, check_region, purchases, rate


class CostInput(NamedTuple):
    """An input of the calculation, and who says it."""

    what: str
    value: float
    unit: str
    low: float
    high: float
    """The range that the sensitivity moves it through."""
    source: str
    date: str


class Month(NamedTuple):
    """What has been paid by the end of a month."""

    month: int
    own_usd: float
    rent_usd: float
    saving: float


class Cost(NamedTuple):
    """The answer: buy or rent."""

    hardware: Hardware
    gpu_word: str
    question: OwnOrRent
    rent_price: Price | None
    inputs: tuple[CostInput, ...]
    months: tuple[Month, ...]
    scopes: tuple[Scope, ...]
    break_even: dict[Scope, float | None]
    savings: dict[Scope, tuple[float, ...]]
    """By the end of each month from 1 on, what owning saves, scope by scope."""
    tokens_per_s: float | None
    own_usd_per_million_tokens: float | None
    rent_usd_per_million_tokens: float | None
    swings: tuple[Swing, ...]
    swing_month: int
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """The object that `cost --json` prints."""
        from .cost_json import cost_json  # most ask for the numbers alone

        return cost_json(self)

    def __repr__(self) -> str:
        months = ((scope, self.break_even[scope]) for scope in self.scopes)
        said = [f"{scope} {'never' if value is None else f'{value:.1f}'}" for scope, value in months]
        return f"{self.gpu_word}: owning overtakes renting in month: {', '.join(said)}"


class CostFlags(NamedTuple):
    """Flags of `oomless cost`; None: look it up."""

    gpu: str
    buy_usd: float | None = None
    buy_usd_per_gpu: float | None = None
    server_usd: float = 0.0
    network_usd: float = 0.0
    rent_usd_per_hour: float | None = None
    provider: str | None = None
    region: str | None = None
    tier: str = "on-demand"
    power_kw: float | None = None
    pue: float | None = None
    usd_per_kwh: float | None = None
    colocation_usd_per_kw_month: float | None = None
    staff_usd_per_month: float = 0.0
    utilization: float = 1.0
    resale: float = 0.0
    discount_rate: float = 0.0
    months: int = 36
    tokens_per_s: float | None = None
    spread: float = 0.25
    """Share by which the sensitivity moves an input whose range no table gives."""


GIVEN = "given"
CENTS = 100.0


def cost(given: CostFlags, table: Sequence[Price] | None = None, notes: Sequence[str] = ()) -> Cost:
    """Buy or rent the cards of `--gpu`.

    >>> answer = cost(CostFlags("a100-80gb:8", buy_usd=80_000, rent_usd_per_hour=25))
    >>> [round(month, 1) for month in answer.break_even.values()]
    [4.4, 4.5, 4.9]
    """
    known = by_keyword("cost")
    for name, value in given._asdict().items():
        if value is not None:
            value_of(known[name], value, known[name].flag)
    hardware = parse_gpu(given.gpu)
    inputs, rent_price = inputs_of(given, hardware, table)
    question = question_of(given, {each.what: each.value for each in inputs}, rent_price)
    question.check()
    scopes = tuple(scopes_of(question.own))
    owned, rented = curve(question, given.months, own_usd), curve(question, given.months, rent_usd)
    months = range(given.months + 1)
    swing_month = min(SWING_MONTH, given.months)
    ranges = {each.what: (each.low, each.high) for each in inputs if each.low != each.high and each.value}
    return Cost(
        hardware=hardware,
        gpu_word=given.gpu,
        question=question,
        rent_price=rent_price,
        inputs=inputs,
        months=tuple(
            Month(month, owned[month], rented[month], saving(question, month) if month else 0.0)
            for month in months
        ),
        scopes=scopes,
        break_even={scope: break_even_month(question, scope) for scope in scopes},
        savings={
            scope: tuple(saving(question, month, scope) for month in months if month) for scope in scopes
        },
        tokens_per_s=given.tokens_per_s,
        own_usd_per_million_tokens=_of_tokens(owned[-1], given),
        rent_usd_per_million_tokens=_of_tokens(rented[-1], given),
        swings=sensitivity(question, ranges, swing_month),
        swing_month=swing_month,
        warnings=(*notes, *_left_out(given, rent_price)),
    )


def inputs_of(
    given: CostFlags, hardware: Hardware, table: Sequence[Price] | None
) -> tuple[tuple[CostInput, ...], Price | None]:
    """Return every input, given or looked up, in the order of the answer, and the price of the rent."""
    if hardware.mixed:
        raise UsageError(
            "a price is of one kind of card, --gpu names several", "ask for each kind by itself", "gpu"
        )
    card, spread = flag_name(hardware.card), given.spread
    rented, rent_price = _rent(given, hardware, card, table)
    inputs = [
        _purchase(given, hardware, card),
        rented,
        _power(given, hardware, card),
        _rate(given.pue, "pue", "PUE", *WHERE["pue"], spread=spread),
        _rate(given.usd_per_kwh, "usd_per_kwh", "electricity", *WHERE["usd_per_kwh"], spread=spread),
        _rate(
            given.colocation_usd_per_kw_month,
            "colocation_usd_per_kw_month",
            "colocation",
            *WHERE["colocation"],
            spread=spread,
        ),
    ]
    if given.staff_usd_per_month:
        inputs.append(_given("staff_usd_per_month", given.staff_usd_per_month, "USD/month", spread))
    used = _given("utilization", given.utilization, "share of hours", spread)
    if given.utilization == CostFlags._field_defaults["utilization"]:
        used = used._replace(source="default")
    return (*inputs, used._replace(high=min(used.high, 1.0))), rent_price


def question_of(given: CostFlags, values: dict[str, float], rent_price: Price | None) -> OwnOrRent:
    """Return the question of buy_or_rent.py: what owning costs beside what renting costs."""
    own = Own(
        cards_usd=values["cards_usd"],
        server_usd=given.server_usd,
        network_usd=given.network_usd,
        power_kw=values["power_kw"],
        pue=values["pue"],
        usd_per_kwh=values["usd_per_kwh"],
        colocation_usd_per_kw_month=values["colocation_usd_per_kw_month"],
        staff_usd_per_month=given.staff_usd_per_month,
        resale_after_a_year=given.resale,
    )
    reserved = (rent_price or given).tier == "reserved"
    return OwnOrRent(own, Rent(values["usd_per_hour"], reserved), given.utilization, given.discount_rate)


def _of_tokens(usd: float, given: CostFlags) -> float | None:
    """Return dollars a million tokens over all months, if a rate is given."""
    if not given.tokens_per_s:
        return None
    return usd_per_million_tokens(usd, given.tokens_per_s, hours_by(given.months) * given.utilization)


def _left_out(given: CostFlags, rent_price: Price | None) -> list[str]:
    """Return what the answer does not count, and what is said of the price of the rent."""
    found = []
    if not (given.server_usd or given.network_usd):
        found.append("cards alone: no server and no network are counted; give --server-usd and --network-usd")
    if rent_price and rent_price.note:
        found.append(f"{rent_price.provider}: {rent_price.note}")
    return found


SWING_MONTH = 12
WHERE = {
    "pue": ("world average (weighted)", "ratio", 1.0),
    "usd_per_kwh": ("USA Middle Atlantic industrial", "USD/kWh", 1 / CENTS),
    "colocation": ("North America primary markets, 250-500 kW", "USD/kW/month", 1.0),
}
"""Which row of prices.csv stands in where a running cost is not given, its unit, and how its number becomes
that."""


def _given(what: str, value: float, unit: str, spread: float) -> CostInput:
    return CostInput(what, value, unit, value * (1 - spread), value * (1 + spread), GIVEN, "")


def _rate(
    value: float | None, what: str, sku: str, where: str, unit: str, scale: float, spread: float
) -> CostInput:
    """A running cost: given, or a row of prices.csv with the range of all its rows."""
    if value is not None:
        found = _given(what, value, unit, spread)
        return found._replace(low=max(found.low, 1.0)) if what == "pue" else found
    row = rate(sku, where)
    others = [
        float(each["price"]) * scale
        for each in facts.table("prices")
        if (each["kind"], each["sku"]) == ("operate", sku)
        and each["price"]
        and "residential" not in each["provider"]
    ]
    return CostInput(
        what, row.value * scale, unit, min(others), max(others), f"{where}: {row.source}", row.date
    )


def _purchase(given: CostFlags, hardware: Hardware, card: str) -> CostInput:
    """The price of the cards: given, or the middle of what prices.csv knows of one card."""
    if given.buy_usd is not None and given.buy_usd_per_gpu is not None:
        raise UsageError(
            "--buy-usd and --buy-usd-per-gpu contradict each other",
            "give the price of all cards, or that of one",
        )
    if given.buy_usd is not None or given.buy_usd_per_gpu is not None:
        total = (
            given.buy_usd if given.buy_usd is not None else (given.buy_usd_per_gpu or 0.0) * hardware.num_gpus
        )
        return _given("cards_usd", total, "USD", given.spread)
    known = [each for each in purchases(card) if each.num_gpus == 1]
    if not known:
        raise UsageError(
            f"no purchase price of {hardware.card.name} is known",
            "give one: --buy-usd-per-gpu, or --buy-usd for all cards",
            "buy_usd",
        )
    low, high = min(each.low_usd for each in known), max(each.high_usd for each in known)
    newest = max(known, key=lambda each: each.date)
    low, high = low * hardware.num_gpus, high * hardware.num_gpus
    return CostInput(
        "cards_usd",
        (low + high) / 2,
        "USD",
        low,
        high,
        f"middle of {len(known)} quotes; {newest.source}" if known[1:] else f"one quote; {newest.source}",
        newest.date,
    )


def _power(given: CostFlags, hardware: Hardware, card: str) -> CostInput:
    """Power of the whole machine: given, that of the maker's own server, or that of the cards and as much
    more as such servers take."""
    if given.power_kw is not None:
        return _given("power_kw", given.power_kw, "kW", given.spread)
    rows = facts.table("power")
    machine = next(
        (row for row in rows if row["card"] == card and hardware.num_gpus % int(row["num_gpus"]) == 0), None
    )
    if machine:
        power = float(machine["power_kw"]) * hardware.num_gpus / int(machine["num_gpus"])
        return CostInput("power_kw", power, "kW", power * LOW_POWER, power, machine["source"], "")
    each = watts(card)
    if not each:
        raise UsageError(f"the power of {hardware.card.name} is not known", "give it: --power-kw")
    shares = [
        float(row["power_kw"]) * WATTS_A_KW / (int(row["num_gpus"]) * watts(row["card"])) for row in rows
    ]
    servers = sorted(share for share, row in zip(shares, rows, strict=True) if int(row["num_gpus"]) > 1)
    power = each * hardware.num_gpus / WATTS_A_KW
    source = (
        f"{each:g} W a card, and what else a server takes: {servers[0]:.2f} to "
        f"{servers[-1]:.2f} times its cards (assumed)"
    )
    return CostInput(
        "power_kw",
        power * servers[len(servers) // 2],
        "kW",
        power * servers[0],
        power * servers[-1],
        source,
        "",
    )


WATTS_A_KW = 1000.0
LOW_POWER = 0.5
"""A server's maximum is its power supply's promise: half of it is what steady inference draws at least
(assumed, for the sensitivity)."""


def _rent(
    given: CostFlags, hardware: Hardware, card: str, table: Sequence[Price] | None
) -> tuple[CostInput, Price | None]:
    """The rent of all cards: given, or the cheapest offer of the asked tier, with the range of the others."""
    if given.rent_usd_per_hour is not None:
        if given.provider or given.region:
            where = "--provider" if given.provider else "--region"
            raise UsageError(
                f"--rent-usd-per-hour and {where} contradict each other",
                "give the rent, or where to look for it",
            )
        return _given("usd_per_hour", given.rent_usd_per_hour, "USD/h", given.spread), None
    if given.provider:
        check_provider(given.provider, table)
    if given.region:
        check_region(given.region, table)
    providers, regions = (
        ((given.provider,) if given.provider else ()),
        ((given.region,) if given.region else ()),
    )
    price = cheapest(card, hardware.num_gpus, given.tier, providers, regions, table)
    if price is None:
        where = " ".join(word for word in (given.provider, given.region) if word)
        alone = cheapest(card, 1, given.tier, providers, regions, table)
        raise UsageError(
            f"nobody known rents out {hardware.num_gpus} x {hardware.card.name} "
            f"{given.tier}{' at ' + where if where else ''}",
            rent_hint(alone),
            "rent_usd_per_hour",
        )
    value = price.usd_per_hour(hardware.num_gpus)
    others = offers(card, hardware.num_gpus, given.tier, table)
    return CostInput(
        "usd_per_hour", value, "USD/h", min(others), max(others), f"{price.label}; {price.source}", price.date
    ), price


def rent_hint(alone: Price | None) -> str:
    """Return what to do where nobody rents out so many cards, with the rent of one if that is known."""
    give = (
        "give the rent: --rent-usd-per-hour, or another --tier; "
        "`oomless cost --list-prices` shows what is known"
    )
    if alone is None:
        return give
    return f"one alone is {alone.usd_per_hour(1):.2f} USD an hour at {alone.provider}; {give}"


def offers(card: str, num_gpus: int, tier: str, table: Sequence[Price] | None) -> list[float]:
    """What every provider asks for the cards, each at its cheapest."""
    from .prices import known_prices

    rows = known_prices() if table is None else table
    found = [
        cheapest(card, num_gpus, tier, (name,), (), table)
        for name in sorted({price.provider for price in rows})
    ]
    return [price.usd_per_hour(num_gpus) for price in found if price] or [0.0]
