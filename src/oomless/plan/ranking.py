"""Rows -> a ranked answer: limits, the order of a goal, the front that no other row beats, and why the next
ones lost."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple

from .candidates import AnyRow, Candidate
from .goals import Goal, PlanLimits

BIG = float("inf")
NO_PRICE = "no price is known"
OVER_BUDGET = "over --budget-usd-per-hour"
NO_SPEED = "its speed is not known"
LATE = "first token later than --max-ttft-s"
SLOW = "tokens slower than --max-tpot-s"
FEW = "fewer than --min-tokens-per-s"
OF_A_BOUND = ", at the worse end of a bound"
"""Said of rows of which no speed was measured: what the hardware allows at best passes no limit."""
SAME_CARDS = "a better setting of the same cards"


def outside(row: Candidate, limits: PlanLimits) -> str:
    """The first limit that a row breaks; "" if none.

    A limit on speed is held against the figure, where something was measured; of a bound against the end that
    disappoints.
    """
    if limits.budget_usd_per_hour is not None:
        if row.usd_per_hour is None:
            return NO_PRICE
        if row.usd_per_hour > limits.budget_usd_per_hour:
            return OVER_BUDGET
    for limit, value, reason in (
        (limits.max_ttft_s, row.ttft_s, LATE),
        (limits.max_tpot_s, row.tpot_s, SLOW),
        (limits.min_tokens_per_s and -limits.min_tokens_per_s, row.rate and -row.rate, FEW),
    ):
        if limit is None:
            continue
        if value is None:
            return NO_SPEED
        if value > limit:
            return reason + OF_A_BOUND if row.is_bound else reason
    return ""


def order(goal: Goal, named: bool = False) -> Callable[[Candidate], tuple[object, ...]]:
    """Return the key of a goal. Whatever a row promises, what nobody is known to have run comes last, before
    it what is tight, and before that what no speed was measured of - but of cards that the user `named`."""

    def key(row: Candidate) -> tuple[object, ...]:
        unknown, unmeasured = doubts_of(row, named)
        doubts = (unknown, not row.fits, unmeasured)
        cost = BIG if row.cost is None else row.cost
        rate = row.rate or 0.0
        last = (row.ranked_last, row.runner, row.gpu)
        match goal:
            case "cheapest":
                return (*doubts, cost, row.hardware.num_gpus if cost == BIG else 0, -rate, *last)
            case "fastest":
                return (*doubts, -rate, cost, *last)
            case "fewest":
                return (*doubts, row.hardware.num_gpus, cost, -rate, *last)

    return key


class Ranked(NamedTuple, Generic[AnyRow]):
    """Rows in order, with what was left out."""

    rows: tuple[AnyRow, ...]
    excluded: "Counter[str]"
    front: tuple[AnyRow, ...]
    """Rows that no other beats in price, speed and headroom at once."""


def rank(
    rows: Sequence[AnyRow], goal: Goal, limits: PlanLimits, one_a_machine: bool, named: bool = False
) -> Ranked[AnyRow]:
    """Limits, then order; with `one_a_machine` only the best setting of each set of cards. `named`: the user
    said which cards."""
    excluded: Counter[str] = Counter()
    kept = []
    for row in rows:
        reason = outside(row, limits)
        if reason:
            excluded[reason] += 1
        else:
            kept.append(row)
    kept.sort(key=order(goal, named))
    if one_a_machine:
        best: dict[str, AnyRow] = {}
        for row in kept:
            if row.gpu in best:
                excluded[SAME_CARDS] += 1
            else:
                best[row.gpu] = row
        kept = list(best.values())
    return Ranked(tuple(kept), excluded, front(kept, named))


def front(rows: Sequence[AnyRow], named: bool = False) -> tuple[AnyRow, ...]:
    """The Pareto front of price (low), speed (high) and headroom of a card (high), of rows that fit and have
    a price and a speed. What nobody is known to have run, or what no speed was measured of, beats no row but
    its like, as in the order."""
    known = [
        (row.usd_per_hour, row.rate, row.headroom_bytes, row)
        for row in rows
        if row.usd_per_hour is not None and row.rate is not None and row.fits
    ]
    known.sort(key=lambda each: (each[0], -each[1], -each[2]))
    found: list[tuple[float, float, int, AnyRow]] = []
    for each in known:
        doubted = doubts_of(each[3], named)
        if not any(
            other[1] >= each[1] and other[2] >= each[2] and doubts_of(other[3], named) <= doubted
            for other in found
        ):
            found.append(each)
    return tuple(each[3] for each in found)


def doubts_of(row: Candidate, named: bool) -> tuple[bool, bool]:
    """What keeps a row behind others whatever it promises."""
    return not row.is_known, not named and not row.is_measured


def why_not(row: Candidate, best: Candidate, goal: Goal) -> str:
    """Why a row lost against the first one, in the goal's terms."""
    if not row.is_known and best.is_known:
        return "nobody is known to have run it"
    if not row.fits and best.fits:
        return "tight: the estimate's spread does not settle that it fits"
    if best.is_measured and not row.is_measured:
        return "no speed of it was measured"
    match goal:
        case "cheapest":
            unpriced = (
                more(row.hardware.num_gpus, best.hardware.num_gpus, "the cards", "")
                if best.cost is None
                else ""
            )
            return (
                more(row.cost, best.cost, "the price", "no price is known") or unpriced or slower(row, best)
            )
        case "fastest":
            return slower(row, best) or more(row.cost, best.cost, "the price", "no price is known")
        case "fewest":
            return (
                more(row.hardware.num_gpus, best.hardware.num_gpus, "the cards", "")
                or more(row.cost, best.cost, "the price", "no price is known")
                or slower(row, best)
            )


def more(value: float | None, least: float | None, what: str, unknown: str) -> str:
    """How many times as much; "" if no more.

    >>> more(54.0, 27.0, "the price", "")
    '2.00 x the price'
    """
    if value is None:
        return unknown if least is not None else ""
    return f"{value / least:.2f} x {what}" if least and value / least > 1 + SMALLEST else ""


def slower(row: Candidate, best: Candidate) -> str:
    """How much less it serves; "" if no less."""
    if row.rate is None or not best.rate:
        return NO_SPEED if row.rate is None and best.rate is not None else ""
    share = row.rate / best.rate
    return f"{share:.2f} x the tokens a second" if share < 1 - SMALLEST else "as good: the order of names"


SMALLEST = 0.005
