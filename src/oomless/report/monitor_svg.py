"""A watched run as one SVG: what is alive step by step, sampled peaks by category, the prediction and the
capacity; and the highest step from its first allocation to its last. And as one page without scripts: this
and the text of the answer."""

from html import escape
from typing import TYPE_CHECKING

from ..files import shown
from ..ledger import CATEGORIES
from ..recording.timeline import Timeline
from ..units import format_bytes, gib
from .chart.axes import Axis, Chart, Key
from .chart.picture import picture
from .chart.plot import Across, Area, PlotCurve, Plotted, plot
from .estimate_svg import category_keys, limit_key
from .language import Phrases, spoken
from .monitor_text import run_text
from .page.sentences import category_word
from .trace_svg import events

if TYPE_CHECKING:
    from ..monitor.watched_run import WatchedRank, WatchedRun

MOST_BARS, BAR_SHARE = 60, 0.012
"""How many samples are drawn, and how wide one is as a share of the run."""
CAPACITY_FROM = 1.5
"""The capacity is drawn where it is below so many times what was seen."""


def run_svg(run: "WatchedRun", timeline: Timeline | None) -> str:
    """Return the picture of the worst rank."""
    words, rank = spoken(), run.worst
    title = words("picture.run", run=shown(run.name), steps=f"{rank.num_steps:,}", rank=rank.run.start.rank)
    charts = [(words("picture.steps"), steps_chart(rank, words))]
    if timeline is not None and timeline.columns:
        heading = words("picture.highest_step")
        charts.append((heading, events(timeline, heading, words)))
    return picture(title, charts)


def steps_chart(rank: "WatchedRank", words: Phrases) -> Chart:
    """Return what is alive over the steps, with the sampled peaks as bars of their categories."""
    last = max(rank.num_steps, 1)
    seen = [sample.peak_bytes for sample in rank.samples] + [step.highest_bytes for step in rank.steps]
    predicted = next((row.predicted for row in rank.rows if row.key == "total"), None)
    most = max([*seen, predicted or 0, 1])
    capacity = rank.run.start.capacity_bytes
    levels, keys = list[Across](), list[Key]()
    if predicted:
        said = f"{words('log.predicted')}{words('colon')}{gib(predicted):.3g} GiB"
        levels.append(Across(gib(predicted), "expected", said))
        keys.append(Key("expected", said, "line"))
    if capacity and capacity < CAPACITY_FROM * most:
        most = max(most, capacity)
        levels.append(Across(gib(capacity), "limit", words("limit", capacity=f"{gib(capacity):.2f}")))
        keys.append(limit_key(words))
    curves = [
        PlotCurve(
            [(step.step, gib(step.highest_bytes)) for step in rank.steps],
            "highest",
            words("picture.counter"),
        ),
        PlotCurve([(step.step, gib(step.live_bytes)) for step in rank.steps], "total", words("picture.live")),
    ]
    curves = [curve for curve in curves if curve.points]
    keys = [*(Key(f"curve {each.name}", each.label, "line") for each in curves), *keys]
    names = {name for sample in rank.samples for name, value in sample.by_category.items() if value}
    leaks = [
        Across(leak.step, "mark", words("picture.leak", place=f"{shown(leak.file)}:{leak.line}"))
        for leak in rank.leaks
    ]
    plotted = Plotted((), curves, _samples(rank, last, words), levels, leaks)
    x = Axis(words("picture.step"), last, is_exact=True)
    y = Axis(words("picture.alive"), gib(most) * 1.02)
    return plot(x, y, plotted, words("picture.steps"), [*category_keys(names, words), *keys])


def _samples(rank: "WatchedRank", last: int, words: Phrases) -> list[Area]:
    """Return sampled peaks as bars of their categories, within the frame."""
    areas = []
    for sample in rank.samples[:: -(-len(rank.samples) // MOST_BARS) or 1]:
        left = min(max(sample.step - BAR_SHARE * last / 2, 0.0), last * (1 - BAR_SHARE))
        right, below = left + BAR_SHARE * last, 0
        for name in CATEGORIES:
            value = sample.by_category.get(name, 0)
            if value:
                lower, upper = gib(below), gib(below + value)
                title = words(
                    "picture.sample",
                    step=f"{sample.step:,}",
                    part=category_word(name, words),
                    size=format_bytes(value),
                )
                lows, highs = [(left, lower), (right, lower)], [(left, upper), (right, upper)]
                areas.append(Area(lows, highs, f"c-{name}", title))
                below += value
    return areas


STYLE = "body{font-family:sans-serif;margin:2em;max-width:900px}pre{overflow-x:auto;line-height:1.35}"


def run_html(run: "WatchedRun", timeline: Timeline | None) -> str:
    """Return the page; all text from outside is escaped."""
    words = spoken()
    return (
        f'<!doctype html>\n<html lang="{words.language}"><head><meta charset="utf-8"><title>'
        f"{escape(run.name)}</title><style>{STYLE}</style></head>\n"
        f"<body><h1>{escape(run.name)}</h1>\n{run_svg(run, timeline)}"
        f"<pre>{escape(words.printed(run_text(run)))}</pre></body></html>\n"
    )
