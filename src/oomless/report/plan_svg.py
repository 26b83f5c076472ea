"""A plan as one SVG: every shown row as a point of price and speed, the front as a line through those that
none beats."""

from ..plan.answer import Plan
from ..plan.search import PlanRow
from ..plan.training_answer import TrainingPlan
from ..plan.training_search import TrainingRow
from ..units import gib
from .svg import PAD, WIDTH, line, text

PLOT_HEIGHT = 380
FRONT, OTHER = "#1f4e79", "#bbbbbb"


def plan_svg(plan: Plan | TrainingPlan) -> str:
    """The picture. Rows without a price or a speed have no place in it."""
    points = [
        (planned.row.usd_per_hour, planned.row.rate, point_label(planned.row), planned.on_front)
        for planned in plan.rows
        if planned.row.usd_per_hour is not None and planned.row.rate is not None
    ]
    on_line = [
        (row.usd_per_hour, row.rate)
        for row in plan.front
        if row.usd_per_hour is not None and row.rate is not None
    ]
    places = [*on_line, *((usd, rate) for usd, rate, *_ in points)]
    most_usd = max((usd for usd, _ in places), default=1.0) * 1.1
    most_rate = max((rate for _, rate in places), default=1.0) * 1.1
    left, right, top = PAD + 60.0, WIDTH - PAD - 120.0, 56.0
    bottom = top + PLOT_HEIGHT

    def at(usd: float, rate: float) -> tuple[float, float]:
        return left + (right - left) * usd / most_usd, bottom - PLOT_HEIGHT * rate / most_rate

    parts = [text(PAD, 28, f"{load_of(plan)}: tokens/s against USD an hour", 14, "bold")]
    for share in range(5):
        x, y = at(most_usd * share / 4, most_rate * share / 4)
        parts += [
            line(left, y, right, y, "#dddddd"),
            text(left - 6, y + 4, f"{most_rate * share / 4:,.0f}", 11, anchor="end"),
        ]
        parts.append(text(x, bottom + 16, f"{most_usd * share / 4:,.1f}", 11, anchor="middle"))
    if len(on_line) > 1:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*point) for point in on_line))
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{FRONT}" '
            'stroke-width="1.5" stroke-dasharray="5 3"/>'
        )
    for usd, rate, label, best in points:
        x, y = at(usd, rate)
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{FRONT if best else OTHER}"/>')
        parts.append(text(x + 8, y + 4, label, 10))
    height = bottom + 36
    body = "\n".join(parts)
    size = f'width="{WIDTH}" height="{height:.0f}" viewBox="0 0 {WIDTH} {height:.0f}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" role="img">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )


def load_of(plan: Plan | TrainingPlan) -> str:
    """What is served or trained, in a few words."""
    if isinstance(plan, Plan):
        return f"{plan.model.name}, {plan.wanted.concurrency} x {plan.input_len + plan.output_len:,} tokens"
    return f"{plan.model.name}, {plan.training.method} training at {plan.training.seq_len:,} tokens"


def point_label(row: PlanRow | TrainingRow) -> str:
    return f"{row.gpu} {row.runner}, {gib(row.headroom_bytes):.0f} GiB to spare"
