"""Rows -> a ranked answer: limits, the order of a goal, the front that no other row beats, and why the next ones lost."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from .question import Goal, Limits
from .search import Row

BIG = float("inf")
NO_PRICE = "no price is known"
OVER_BUDGET = "over --budget-usd-per-hour"
NO_SPEED = "its speed is not known"
LATE = "first token later than --max-ttft-s"
SLOW = "tokens slower than --max-tpot-s"
FEW = "fewer than --min-tokens-per-s"
SAME_CARDS = "a better setting of the same cards"


def outside(row: Row, limits: Limits) -> str:
    """The first limit that a row breaks; "" if none. A limit on speed is held against the figure, not against the end of its band."""
    usd, speed = row.usd_per_hour, row.speed
    if limits.budget_usd_per_hour is not None:
        if usd is None:
            return NO_PRICE
        if usd > limits.budget_usd_per_hour:
            return OVER_BUDGET
    if (limits.max_ttft_s, limits.max_tpot_s, limits.min_tokens_per_s) == (None, None, None):
        return ""
    if speed is None:
        return NO_SPEED
    if limits.max_ttft_s is not None and speed.ttft_s.value > limits.max_ttft_s:
        return LATE
    if limits.max_tpot_s is not None and speed.tpot_s.value > limits.max_tpot_s:
        return SLOW
    if limits.min_tokens_per_s is not None and speed.tokens_per_s.value < limits.min_tokens_per_s:
        return FEW
    return ""


def order(goal: Goal) -> Callable[[Row], tuple[object, ...]]:
    """The key of a goal: a tight row comes after every one that fits, whatever it promises."""

    def key(row: Row) -> tuple[object, ...]:
        tight = row.estimate.verdict != "fits"
        usd = BIG if row.usd_per_hour is None else row.usd_per_hour
        rate = 0.0 if row.speed is None else row.speed.tokens_per_s.counted_on
        last = (row.asked.engine, row.gpu)
        match goal:
            case "cheapest":
                return (tight, usd, row.hardware.num_gpus if usd == BIG else 0, -rate, *last)
            case "fastest":
                return (tight, -rate, usd, *last)
            case "fewest":
                return (tight, row.hardware.num_gpus, usd, -rate, *last)

    return key


class Ranked(NamedTuple):
    """Rows in order, with what was left out."""

    rows: tuple[Row, ...]
    excluded: Counter[str]
    front: tuple[Row, ...]
    """Rows that no other beats in price, speed and headroom at once."""


def rank(rows: Sequence[Row], goal: Goal, limits: Limits, one_a_machine: bool) -> Ranked:
    """Limits, then order; with `one_a_machine` only the best setting of each set of cards."""
    excluded: Counter[str] = Counter()
    kept = []
    for row in rows:
        reason = outside(row, limits)
        if reason:
            excluded[reason] += 1
        else:
            kept.append(row)
    kept.sort(key=order(goal))
    if one_a_machine:
        best: dict[str, Row] = {}
        for row in kept:
            if row.gpu in best:
                excluded[SAME_CARDS] += 1
            else:
                best[row.gpu] = row
        kept = list(best.values())
    return Ranked(tuple(kept), excluded, front(kept))


def front(rows: Sequence[Row]) -> tuple[Row, ...]:
    """The Pareto front of price (low), speed (high) and headroom of a card (high), of rows that fit and have a price and a speed."""
    known = [
        (row.usd_per_hour, row.speed.tokens_per_s.counted_on, row.estimate.headroom_bytes, row)
        for row in rows
        if row.usd_per_hour is not None and row.speed is not None and row.estimate.verdict == "fits"
    ]
    known.sort(key=lambda each: (each[0], -each[1], -each[2]))
    found: list[tuple[float, float, int, Row]] = []
    for each in known:
        if not any(other[1] >= each[1] and other[2] >= each[2] for other in found):
            found.append(each)
    return tuple(each[3] for each in found)


def why_not(row: Row, best: Row, goal: Goal) -> str:
    """Why a row lost against the first one, in the goal's terms."""
    if row.estimate.verdict != "fits" and best.estimate.verdict == "fits":
        return "tight: the estimate's spread does not settle that it fits"
    match goal:
        case "cheapest":
            return more(row.usd_per_hour, best.usd_per_hour, "the price", "no price is known") or slower(row, best)
        case "fastest":
            return slower(row, best) or more(row.usd_per_hour, best.usd_per_hour, "the price", "no price is known")
        case "fewest":
            return (
                more(float(row.hardware.num_gpus), float(best.hardware.num_gpus), "the cards", "")
                or more(row.usd_per_hour, best.usd_per_hour, "the price", "no price is known")
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


def slower(row: Row, best: Row) -> str:
    """How much less it serves; "" if no less."""
    if row.speed is None or best.speed is None:
        return "its speed is not known" if row.speed is None and best.speed is not None else ""
    share = row.speed.tokens_per_s.counted_on / best.speed.tokens_per_s.counted_on
    return f"{share:.2f} x the tokens a second" if share < 1 - SMALLEST else "as good: the order of names"


SMALLEST = 0.005
