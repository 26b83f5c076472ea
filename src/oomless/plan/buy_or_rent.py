"""Buy or rent: what each has cost after m months, where the lines cross, and what the answer hangs on.

A month is a twelfth of a year: 730 hours. Rent and electricity run by the hour, colocation and staff by the
month, hardware is paid on the first day. Money later counts less by the discount rate; what the hardware
could be sold for is credited at the month looked at.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from ..errors import UsageError
from ..speed.steady import steady

HOURS_A_DAY = 24
DAYS_A_MONTH = 365 / 12
MONTHS_A_YEAR = 12
Scope = Literal["hardware", "power", "colocation", "staff"]
SCOPES: tuple[Scope, ...] = ("hardware", "power", "colocation", "staff")
"""What counts as a cost of owning: each scope includes the ones before it."""


class Own(NamedTuple):
    """What a bought machine costs."""

    cards_usd: float
    server_usd: float = 0.0
    network_usd: float = 0.0
    power_kw: float = 0.0
    """Drawn by the whole machine, and paid all hours: it idles little below its load."""
    pue: float = 1.0
    """Power of the site over power of its machines."""
    usd_per_kwh: float = 0.0
    colocation_usd_per_kw_month: float = 0.0
    staff_usd_per_month: float = 0.0
    resale_after_a_year: float = 0.0
    """Share of the purchase price that a sale brings after a year; it falls by the same share each year."""

    @property
    def purchase_usd(self) -> float:
        return self.cards_usd + self.server_usd + self.network_usd


class Rent(NamedTuple):
    """What a rented machine costs."""

    usd_per_hour: float
    always: bool = False
    """Reserved: paid used or not; else paid for the hours that are used."""


FLAGS = {"cards_usd": "buy_usd", "usd_per_hour": "rent_usd_per_hour", "resale_after_a_year": "resale"}
"""Fields whose flag has another name."""


class OwnOrRent(NamedTuple):
    """A machine to own or to rent, used for a share of all hours."""

    own: Own
    rent: Rent
    utilization: float = 1.0
    discount_rate: float = 0.0
    """A year's."""

    def check(self) -> None:
        """Refuse what cannot be meant, naming the flag."""
        for name, value in (*self.own._asdict().items(), ("usd_per_hour", self.rent.usd_per_hour)):
            if not (math.isfinite(value) and value >= 0):
                raise UsageError(
                    f"--{FLAGS.get(name, name).replace('_', '-')} is {value:g}", "costs are 0 or more"
                )
        if self.own.purchase_usd <= 0:
            raise UsageError("the hardware costs nothing", "give its price: --buy-usd or --buy-usd-per-gpu")
        if self.rent.usd_per_hour <= 0:
            raise UsageError("the rent is nothing", "give it: --rent-usd-per-hour")
        if not 1 <= self.own.pue <= MAX_PUE:
            raise UsageError(
                f"--pue is {self.own.pue:g}", "power of the site over that of its machines: 1 to 5"
            )
        if not 0 < self.utilization <= 1:
            raise UsageError(
                f"--utilization is {self.utilization:g}", "it is a share of all hours: above 0, at most 1"
            )
        if not 0 <= self.own.resale_after_a_year <= 1:
            raise UsageError(
                f"--resale is {self.own.resale_after_a_year:g}", "it is a share of the purchase price: 0 to 1"
            )
        if not 0 <= self.discount_rate <= 1:
            raise UsageError(f"--discount-rate is {self.discount_rate:g}", "it is a share a year: 0 to 1")


MAX_PUE = 5.0


def hours_by(month: float) -> float:
    """Hours of the whole days that have passed by a month; between whole months the day goes on evenly.

    >>> hours_by(6), hours_by(12), hours_by(1.5)
    (4368.0, 8760.0, 1095.0)
    """
    days = month * DAYS_A_MONTH
    return float(HOURS_A_DAY * (math.floor(days) if month == int(month) else days))


def present(month: float, discount_rate: float) -> float:
    """Value today of one dollar spread evenly over the months up to `month`, as a share of it.

    (1 - e^(-r m)) / (r m), r = ln(1 + yearly rate) / 12 a month: payments flow, none waits for the end of its
    month.

    >>> present(12, 0.0), round(present(12, 0.08), 4)
    (1.0, 0.9625)
    """
    exponent = math.log1p(discount_rate) / MONTHS_A_YEAR * month
    return 1.0 if exponent == 0 else steady(-math.expm1(-exponent) / exponent)


def own_usd(question: OwnOrRent, month: float, scope: Scope = "staff") -> float:
    """What owning has cost by a month, in dollars of today.

    purchase + (kW x PUE x USD/kWh x hours + kW x USD/kW/month x months + staff x months) x present value -
    resale. Ignored: repairs, taxes, the interest of a loan.

    >>> guide = OwnOrRent(
    ...     Own(80_000, power_kw=6.5, pue=1.54, usd_per_kwh=0.0904, colocation_usd_per_kw_month=184.06),
    ...     Rent(25),
    ... )
    >>> [round(own_usd(guide, 6, scope)) for scope in ("hardware", "power", "colocation")]
    [80000, 83953, 91131]
    """
    own, running = question.own, 0.0
    if scope != "hardware":
        running += own.power_kw * own.pue * own.usd_per_kwh * hours_by(month)
    if scope in ("colocation", "staff"):
        running += own.power_kw * own.colocation_usd_per_kw_month * month
    if scope == "staff":
        running += own.staff_usd_per_month * month
    years = month / MONTHS_A_YEAR
    share = steady(math.pow(own.resale_after_a_year, years)) if own.resale_after_a_year else 0.0
    later = steady(math.pow(1 + question.discount_rate, -years))
    return (
        own.purchase_usd + running * present(month, question.discount_rate) - own.purchase_usd * share * later
    )


def rent_usd(question: OwnOrRent, month: float) -> float:
    """What renting has cost by a month, in dollars of today: USD/h x hours x share of them that is paid.

    >>> rent_usd(OwnOrRent(Own(80_000), Rent(25)), 6)
    109200.0
    """
    paid = 1.0 if question.rent.always else question.utilization
    return question.rent.usd_per_hour * hours_by(month) * paid * present(month, question.discount_rate)


def saving(question: OwnOrRent, month: float, scope: Scope = "staff") -> float:
    """Share of the rent that owning saves by a month; negative while it is dearer.

    >>> guide = OwnOrRent(
    ...     Own(80_000, power_kw=6.5, pue=1.54, usd_per_kwh=0.0904, colocation_usd_per_kw_month=184.06),
    ...     Rent(25),
    ... )
    >>> [f"{saving(guide, 6, scope):.1%}" for scope in ("hardware", "power", "colocation")]
    ['26.7%', '23.1%', '16.5%']
    """
    rent = rent_usd(question, month)
    return (rent - own_usd(question, month, scope)) / rent


def break_even_month(question: OwnOrRent, scope: Scope = "staff") -> float | None:
    """The month in which owning has cost no more than renting; None if it does not within MAX_MONTHS.

    >>> guide = OwnOrRent(
    ...     Own(80_000, power_kw=6.5, pue=1.54, usd_per_kwh=0.0904, colocation_usd_per_kw_month=184.06),
    ...     Rent(25),
    ... )
    >>> [round(break_even_month(guide, scope) or 0, 1) for scope in ("hardware", "power", "colocation")]
    [4.4, 4.5, 4.9]
    """
    return month_of_saving(question, 0.0, scope)


def month_of_saving(question: OwnOrRent, share: float, scope: Scope = "staff") -> float | None:
    """The first month in which owning saves a share of the rent.

    >>> guide = OwnOrRent(
    ...     Own(80_000, power_kw=6.5, pue=1.54, usd_per_kwh=0.0904, colocation_usd_per_kw_month=184.06),
    ...     Rent(25),
    ... )
    >>> [round(month_of_saving(guide, 0.58, scope) or 0, 1) for scope in ("hardware", "power", "colocation")]
    [10.4, 11.4, 13.8]
    """

    def saves(month: float) -> bool:
        return (
            saving(question, month + 1e-9, scope) >= share
        )  # never a whole month: the line between whole days

    last = next((month for month in range(1, MAX_MONTHS + 1) if saves(month)), None)
    if last is None:
        return None
    low, high = float(last - 1), float(last)
    if low == 0 and saves(1e-6):
        return 0.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (low, middle) if saves(middle) else (middle, high)
    return high


MAX_MONTHS = 120
"""Ten years: no accelerator is still bought or rented at its first price then."""


def usd_per_million_tokens(usd: float, tokens_per_s: float, hours: float) -> float:
    """Dollars a million tokens of hours at a rate.

    >>> round(usd_per_million_tokens(25.0, 5000.0, 1.0), 3)
    1.389
    """
    return usd / (tokens_per_s * hours * SECONDS_AN_HOUR) * TOKENS_A_MILLION


SECONDS_AN_HOUR = 3600.0
TOKENS_A_MILLION = 1_000_000


class Swing(NamedTuple):
    """What one input does to the break-even month and to the saving, from one end of its range to the
    other."""

    what: str
    low: float
    high: float
    month_at_low: float | None
    month_at_high: float | None
    saving_at_low: float
    saving_at_high: float

    @property
    def width(self) -> float:
        return abs(self.saving_at_high - self.saving_at_low)


def sensitivity(
    question: OwnOrRent, ranges: dict[str, tuple[float, float]], month: float, scope: Scope = "staff"
) -> tuple[Swing, ...]:
    """Each input moved alone through its range, the widest swing of the saving by `month` first (a tornado).

    >>> guide = OwnOrRent(
    ...     Own(80_000, power_kw=6.5, pue=1.54, usd_per_kwh=0.0904, colocation_usd_per_kw_month=184.06),
    ...     Rent(25),
    ... )
    >>> [each.what for each in sensitivity(guide, {"pue": (1.25, 1.54), "usd_per_hour": (12.8, 27.45)}, 6)]
    ['usd_per_hour', 'pue']
    """
    found = []
    for what, (low, high) in ranges.items():
        ends = [with_input(question, what, value) for value in (low, high)]
        months = [break_even_month(end, scope) for end in ends]
        savings = [saving(end, month, scope) for end in ends]
        found.append(Swing(what, low, high, months[0], months[1], savings[0], savings[1]))
    return tuple(sorted(found, key=lambda swing: -swing.width))


def with_input(question: OwnOrRent, what: str, value: float) -> OwnOrRent:
    """The question with one input changed."""
    changes: dict[str, float] = {what: value}
    if what in Own._fields:
        return question._replace(own=question.own._replace(**changes))
    if what == "usd_per_hour":
        return question._replace(rent=question.rent._replace(usd_per_hour=value))
    return (
        question._replace(utilization=value)
        if what == "utilization"
        else question._replace(discount_rate=value)
    )


def curve(question: OwnOrRent, months: int, of: Callable[[OwnOrRent, float], float]) -> tuple[float, ...]:
    """A cost at the end of each month from 0 on."""
    return tuple(of(question, month) for month in range(months + 1))


def scopes_of(own: Own) -> Sequence[Scope]:
    """The scopes that differ: what costs nothing is not told apart."""
    has = {
        "hardware": True,
        "power": own.power_kw * own.usd_per_kwh > 0,
        "colocation": own.power_kw * own.colocation_usd_per_kw_month > 0,
        "staff": own.staff_usd_per_month > 0,
    }
    return [scope for scope in SCOPES if has[scope]]
