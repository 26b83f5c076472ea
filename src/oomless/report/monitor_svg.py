"""A watched run as one SVG: what is alive step by step, sampled peaks by category, the prediction and the
capacity; and the highest step from its first allocation to its last."""

from typing import TYPE_CHECKING

from ..ledger import CATEGORIES, Category
from ..recording.timeline import Timeline
from ..units import format_bytes, gib
from .svg import COLOURS, PAD, WIDTH, legend, line, rect, text

if TYPE_CHECKING:
    from ..monitor.watched_run import WatchedRank, WatchedRun

HEIGHT, LEFT, RIGHT = 240, PAD + 56.0, WIDTH - PAD - 8.0
BAR_WIDTH = 8.0
MOST_BARS = 60


def run_svg(run: "WatchedRun", timeline: Timeline | None) -> str:
    """Return the picture of the worst rank."""
    rank = run.worst
    parts = [text(PAD, 28, f"{run.name}: {rank.num_steps:,} steps, rank {rank.run.start.rank}", 13, "bold")]
    shown = categories_of(rank, timeline)
    parts += steps_plot(rank, 72.0)
    bottom = 72.0 + HEIGHT
    if timeline is not None and timeline.columns:
        parts += step_plot(timeline, bottom + 64)
        bottom += 64 + HEIGHT
    parts.append(legend(shown, bottom + 40))
    height = bottom + 40 + 20 * (-(-len(shown) // 4))
    size = f'width="{WIDTH}" height="{height:.0f}" viewBox="0 0 {WIDTH} {height:.0f}"'
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" role="img">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )


def categories_of(rank: "WatchedRank", timeline: Timeline | None) -> list[Category]:
    """Return the categories that the picture shows."""
    names = {name for sample in rank.samples for name in sample.by_category}
    if timeline is not None:
        names |= {
            CATEGORIES[kind] for column in timeline.columns for kind, value in column.by_kind.items() if value
        }
    return [name for name in CATEGORIES if name in names]


def steps_plot(rank: "WatchedRank", top: float) -> list[str]:
    """Return what is alive over the steps, with the sampled peaks as bars of their categories."""
    bottom, last = top + HEIGHT, max(rank.num_steps, 1)
    predicted = next((row.predicted for row in rank.rows if row.key == "total"), None)
    capacity = rank.run.start.capacity_bytes
    most = max(
        [
            *(sample.peak_bytes for sample in rank.samples),
            *(step.highest_bytes for step in rank.steps),
            predicted or 0,
            1,
        ]
    )
    if capacity and capacity < 1.5 * most:
        most = max(most, capacity)
    most = 1.05 * most

    def at(step: float, num_bytes: float) -> tuple[float, float]:
        return LEFT + (RIGHT - LEFT) * step / last, bottom - HEIGHT * num_bytes / most

    unit = text(
        PAD,
        top - 14,
        "GiB over the steps: alive at their ends (line), highest by the counter (dots), sampled peaks (bars)",
        12,
    )
    parts = [unit, *grid(most, bottom)]
    samples = rank.samples[:: -(-len(rank.samples) // MOST_BARS) or 1]
    for sample in samples:
        x, below = at(sample.step, 0)[0] - BAR_WIDTH / 2, 0
        for name in CATEGORIES:
            value = sample.by_category.get(name, 0)
            if value:
                upper, lower = at(0, below + value)[1], at(0, below)[1]
                label = f"step {sample.step:,}: {name} {format_bytes(value)}"
                parts.append(rect(x, upper, BAR_WIDTH, round(lower - upper, 1), COLOURS[name], label))
                below += value
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(step.step, step.live_bytes) for step in rank.steps))
    parts.append(f'<polyline points="{points}" fill="none" stroke="#333333" stroke-width="1.5"/>')
    for label, level, colour in (("predicted", predicted, "#0072b2"), ("capacity", capacity, "#b00020")):
        if level and level <= most:
            y = at(0, level)[1]
            parts += [
                line(LEFT, y, RIGHT, y, colour),
                text(RIGHT, y - 5, f"{label} {gib(level):.3g}", 11, anchor="end"),
            ]
    for leak in rank.leaks:
        x = at(leak.step, 0)[0]
        parts += [
            line(x, top, x, bottom, "#d55e00"),
            text(x + 4, top + 10, f"leak: {leak.file}:{leak.line}", 11),
        ]
    return parts


def grid(most: float, bottom: float) -> list[str]:
    """Return four lines with their sizes."""
    parts = []
    for share in range(5):
        y = bottom - HEIGHT * share / 4
        parts += [
            line(LEFT, y, RIGHT, y, "#dddddd"),
            text(LEFT - 6, y + 4, f"{gib(most * share / 4):.3g}", 11, anchor="end"),
        ]
    return parts


def step_plot(timeline: Timeline, top: float) -> list[str]:
    """Return the highest step: bytes by category over its events."""
    bottom, columns = top + HEIGHT, timeline.columns
    most = 1.05 * max(each.bytes for each in columns)
    count = max(len(columns) - 1, 1)

    def at(number: float, num_bytes: float) -> str:
        return f"{LEFT + (RIGHT - LEFT) * number / count:.1f},{bottom - HEIGHT * num_bytes / most:.1f}"

    parts = [text(PAD, top - 24, "GiB over the events of the highest sampled step", 12), *grid(most, bottom)]
    below = [0] * len(columns)
    for kind, name in enumerate(CATEGORIES):
        above = [low + each.by_kind.get(kind, 0) for low, each in zip(below, columns, strict=True)]
        if above != below:
            points = [at(number, value) for number, value in enumerate(above)]
            points += [at(number, value) for number, value in reversed(list(enumerate(below)))]
            parts.append(
                f'<polygon points="{" ".join(points)}" fill="{COLOURS[name]}"><title>{name}</title></polygon>'
            )
        below = above
    for mark, number in timeline.marks:
        x = LEFT + (RIGHT - LEFT) * number / count
        parts += [line(x, top - 8, x, bottom, "#333333"), text(x + 4, top - 2, mark, 11)]
    return parts
