"""A cost answer for people: the verdict, month by month, what it hangs on, and who says each number."""

from collections.abc import Sequence

from ..plan.buy_or_rent import Scope
from ..plan.cost import Cost

SCOPE_WORDS: dict[Scope, str] = {
    "hardware": "hardware alone",
    "power": "and electricity",
    "colocation": "and colocation",
    "staff": "and staff",
}
MONTHS_SHOWN = (6, 12, 24, 36)
INPUT_WORDS = {
    "cards_usd": "purchase",
    "usd_per_hour": "rent",
    "power_kw": "power",
    "pue": "PUE",
    "usd_per_kwh": "electricity",
    "colocation_usd_per_kw_month": "colocation",
    "staff_usd_per_month": "staff",
    "utilization": "utilisation",
}


def cost_text(answer: Cost) -> str:
    """The whole answer."""
    blocks = [verdict(answer), scope_table(answer), tornado_table(answer), input_table(answer)]
    if answer.own_usd_per_million_tokens is not None and answer.rent_usd_per_million_tokens is not None:
        blocks.insert(
            2,
            f"a million tokens at {answer.tokens_per_s:,.0f} tokens/s over {answer.months[-1].month} months: "
            f"{answer.own_usd_per_million_tokens:,.4g} USD owned, "
            f"{answer.rent_usd_per_million_tokens:,.4g} USD rented",
        )
    notes = "\n".join(f"note: {warning}" for warning in answer.warnings)
    return "\n\n".join([*blocks, *([notes] if notes else [])]) + "\n"


def verdict(answer: Cost) -> str:
    """When owning pays, in one line."""
    last = answer.scopes[-1]
    month = answer.break_even[last]
    what = f"{answer.hardware.what} at {answer.question.utilization:.0%} of all hours"
    rent = answer.rent_price.label if answer.rent_price else "the given rent"
    if month is None:
        return f"rent: owning {what} does not pay back in ten years against {rent}"
    when = f"pays back in month {month:.1f}" if month else "costs less from the first day, as it can be sold,"
    return f"owning {what} {when} against {rent}, {answer.question.rent.usd_per_hour:,.2f} USD an hour"


def scope_table(answer: Cost) -> str:
    """Break-even and savings, the more is counted as a cost of owning."""
    last = answer.months[-1].month
    shown = [*(month for month in MONTHS_SHOWN if month < last), last]
    rows = [
        ("counted as cost of owning", "break-even month", *(f"saved by month {month}" for month in shown))
    ]
    for scope in answer.scopes:
        month = answer.break_even[scope]
        savings = (f"{answer.savings[scope][each - 1]:.1%}" for each in shown)
        rows.append((SCOPE_WORDS[scope], "never" if month is None else f"{month:.1f}", *savings))
    return table(rows)


def tornado_table(answer: Cost) -> str:
    """What the answer hangs on, the most important first."""
    rows = [("moved alone", "from", "to", f"saved by month {answer.swing_month}", "break-even month")]
    for swing in answer.swings:
        months = (
            "never" if each is None else f"{each:.1f}" for each in (swing.month_at_low, swing.month_at_high)
        )
        savings = f"{swing.saving_at_low:.1%} to {swing.saving_at_high:.1%}"
        rows.append(
            (INPUT_WORDS[swing.what], amount(swing.low), amount(swing.high), savings, " to ".join(months))
        )
    return table(rows)


def amount(value: float) -> str:
    """A number of an input: whole above a thousand, else four digits."""
    return f"{value:,.0f}" if value >= WHOLE_FROM else f"{value:.4g}"


WHOLE_FROM = 1000


def input_table(answer: Cost) -> str:
    """Every input with its source and date."""
    rows = [("input", "value", "unit", "date", "source")]
    for source in answer.inputs:
        rows.append(
            (INPUT_WORDS[source.what], amount(source.value), source.unit, source.date or "-", source.source)
        )
    return table(rows)


MOST_RIGHT = 20
"""A last column wider than that is prose, which begins where it begins."""


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Columns as wide as their widest cell; numbers to the right, words to the left."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        middle = (cell.rjust(width) for cell, width in zip(row[1:-1], widths[1:-1], strict=True))
        last = row[-1] if row[-1][:1].isalpha() else row[-1].rjust(min(widths[-1], MOST_RIGHT))
        lines.append("  ".join([row[0].ljust(widths[0]), *middle, last]).rstrip())
    return "\n".join(lines)
