"""The timeline of a traced run as one SVG: bytes alive by category over the events of the last step, with the
card's line."""

from ..ledger import CATEGORIES
from ..recording.timeline import Timeline
from ..recording.traced import Traced
from ..units import gib
from .svg import COLOURS, PAD, WIDTH, legend, line, text
from .trace_text import verdict_line

HEIGHT = 320


def trace_svg(traced: Traced, timeline: Timeline) -> str:
    """Stacked areas; a thin red line is the card, a dashed one the peak."""
    left, right, top = PAD + 56.0, WIDTH - PAD - 8.0, 64.0
    bottom = top + HEIGHT
    most = 1.05 * max(
        traced.peak.bytes,
        traced.capacity_bytes if traced.verdict == "fits" and traced.capacity_bytes else 0,
        1,
    )
    columns = timeline.columns
    count = max(len(columns) - 1, 1)

    def at(column: float, num_bytes: float) -> str:
        return f"{left + (right - left) * column / count:.1f},{bottom - HEIGHT * num_bytes / most:.1f}"

    parts = [
        text(PAD, 28, verdict_line(traced), 13, "bold"),
        text(PAD, 48, "GiB alive over the events of the last step", 12),
    ]
    for share in range(5):
        y = bottom - HEIGHT * share / 4
        parts += [
            line(left, y, right, y, "#dddddd"),
            text(left - 6, y + 4, f"{gib(most * share / 4):.1f}", 11, anchor="end"),
        ]
    below = [0] * len(columns)
    shown = []
    for index, category in enumerate(CATEGORIES):
        above = [low + column.by_kind.get(index, 0) for low, column in zip(below, columns, strict=True)]
        if above != below:
            shown.append(category)
            points = [at(number, num_bytes) for number, num_bytes in enumerate(above)]
            points += [at(number, num_bytes) for number, num_bytes in reversed(list(enumerate(below)))]
            parts.append(
                f'<polygon points="{" ".join(points)}" '
                f'fill="{COLOURS[category]}"><title>{category}</title></polygon>'
            )
        below = above
    for name, column in timeline.marks:
        x = left + (right - left) * column / count
        parts += [line(x, top - 8, x, bottom, "#333333"), text(x + 4, top - 2, name, 11)]
    if traced.capacity_bytes and traced.capacity_bytes <= most:
        y = bottom - HEIGHT * traced.capacity_bytes / most
        parts += [
            line(left, y, right, y, "#b00020"),
            text(right, y - 5, f"card {gib(traced.capacity_bytes):.1f}", 11, anchor="end"),
        ]
    parts.append(legend(shown, bottom + 30))
    height = bottom + 30 + 20 * (-(-len(shown) // 4))
    size = f'width="{WIDTH}" height="{height:.0f}" viewBox="0 0 {WIDTH} {height:.0f}"'
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" role="img">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )
