"""A cost answer as one SVG: what owning and renting have cost month by month, and the tornado of what that
hangs on."""

from ..plan.cost import Cost
from .plan_cost_text import INPUT_WORDS, amount, verdict
from .svg import PAD, WIDTH, line, rect, text

PLOT_HEIGHT, ROW = 280, 26
OWN, RENT, BREAK = "#1f4e79", "#d55e00", "#b00020"


def cost_svg(answer: Cost) -> str:
    """The picture."""
    parts = [text(PAD, 28, verdict(answer), 14, "bold"), curves(answer, 60.0)]
    top = 60.0 + PLOT_HEIGHT + 56
    parts.append(tornado(answer, top))
    height = top + 40 + ROW * len(answer.swings)
    size = f'width="{WIDTH}" height="{height:.0f}" viewBox="0 0 {WIDTH} {height:.0f}"'
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" role="img">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )


def curves(answer: Cost, top: float) -> str:
    """Dollars of today paid by each month."""
    left, right, bottom = PAD + 76.0, WIDTH - PAD - 24.0, top + PLOT_HEIGHT
    last = answer.months[-1].month
    most = max(max(month.own_usd, month.rent_usd) for month in answer.months) * 1.05

    def at(month: float, usd: float) -> tuple[float, float]:
        return left + (right - left) * month / last, bottom - PLOT_HEIGHT * usd / most

    parts = [text(PAD, top - 10, "USD of today, by month: owning (blue) and renting (orange)", 12)]
    for share in range(5):
        x, y = at(last * share / 4, most * share / 4)
        parts += [
            line(left, y, right, y, "#dddddd"),
            text(left - 6, y + 4, f"{most * share / 4:,.0f}", 11, anchor="end"),
        ]
        parts.append(text(x, bottom + 16, f"{last * share / 4:g}", 11, anchor="middle"))
    for colour, series in (
        (OWN, [m.own_usd for m in answer.months]),
        (RENT, [m.rent_usd for m in answer.months]),
    ):
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(month, usd) for month, usd in enumerate(series)))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
    month = answer.break_even[answer.scopes[-1]]
    if month is not None and month <= last:
        x, _ = at(month, 0)
        parts += [line(x, top, x, bottom, BREAK), text(x + 5, top + 12, f"break-even: month {month:.1f}", 11)]
    return "\n".join(parts)


def tornado(answer: Cost, top: float) -> str:
    """One bar an input, from the saving at one end of its range to that at the other."""
    left, right = PAD + 220.0, WIDTH - PAD - 60.0
    ends = [share for swing in answer.swings for share in (swing.saving_at_low, swing.saving_at_high)]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    scale = (right - left) / (high - low or 1.0)
    parts = [text(PAD, top, f"saved by month {answer.swing_month}, each input moved alone", 12)]
    for number, swing in enumerate(answer.swings):
        y = top + 12 + ROW * number
        first, second = sorted((swing.saving_at_low, swing.saving_at_high))
        label = f"{INPUT_WORDS[swing.what]} {amount(swing.low)} to {amount(swing.high)}"
        parts += [
            text(PAD, y + 14, label, 11),
            rect(left + (first - low) * scale, y, max((second - first) * scale, 1), 18, OWN, label),
        ]
        parts.append(text(left + (second - low) * scale + 5, y + 13, f"{first:.0%} to {second:.0%}", 10))
    return "\n".join(parts)
