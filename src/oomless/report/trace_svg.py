"""The timeline of a traced run as one SVG: bytes alive by category over the events of the last step, with the
card's line."""

from ..ledger import CATEGORIES, Category
from ..recording.timeline import Timeline
from ..recording.traced import Traced
from ..units import gib
from .chart.axes import Axis, Chart
from .chart.picture import picture
from .chart.plot import Across, Area, Plotted, plot
from .estimate_svg import category_keys, limit_key
from .language import Phrases, spoken
from .page.sentences import category_word
from .trace_text import verdict_line


def trace_svg(traced: Traced, timeline: Timeline) -> str:
    """Return stacked areas, and the card's line where a card was named."""
    words = spoken()
    heading = words("picture.last_step")
    chart = events(timeline, heading, words, traced.capacity_bytes)
    return picture(words.printed(verdict_line(traced)), [(heading, chart)])


def events(timeline: Timeline, label: str, words: Phrases, limit_bytes: int | None = None) -> Chart:
    """Return what is alive over the events of a step, by category, and where its phases begin."""
    areas, shown = stacked([each.by_kind for each in timeline.columns], words)
    most = max([limit_bytes or 0, 1, *(each.bytes for each in timeline.columns)])
    capacity = gib(limit_bytes or 0)
    levels = [Across(capacity, "limit", words("limit", capacity=f"{capacity:.2f}"))] if limit_bytes else []
    marks = [Across(number, "mark", words.known(f"phase.{name}", name)) for name, number in timeline.marks]
    x = Axis(words("picture.events"), max(len(timeline.columns) - 1, 1), is_exact=True)
    y = Axis(words("picture.alive"), gib(most) * 1.02)
    keys = [*category_keys(set(shown), words), *([limit_key(words)] if limit_bytes else [])]
    return plot(x, y, Plotted(areas=areas, levels=levels, uprights=marks), label, keys)


def stacked(columns: list[dict[int, int]], words: Phrases) -> tuple[list[Area], list[Category]]:
    """Return columns of bytes by kind as areas, one on the other, and the categories that are there."""
    below, areas, shown = [0] * len(columns), list[Area](), list[Category]()
    for kind, name in enumerate(CATEGORIES):
        above = [low + column.get(kind, 0) for low, column in zip(below, columns, strict=True)]
        if above != below:
            lower = [(float(number), gib(value)) for number, value in enumerate(below)]
            upper = [(float(number), gib(value)) for number, value in enumerate(above)]
            areas.append(Area(lower, upper, f"c-{name}", category_word(name, words)))
            shown.append(name)
        below = above
    return areas, shown
