"""Bars: one with its limit, as wide as the page; and rows of them over one axis."""

from collections.abc import Sequence
from typing import NamedTuple

from ..page.html import Html, el, join
from .axes import LINE, WIDTH, Axis, Chart, Key, at, figure, legend, text_width, wrapped

PAGE_WIDTH, PAGE_BAR = 1000.0, 34.0
THICK, PITCH, TIGHT, BRACKET = 16.0, 30.0, 19.0, 10.0
"""How high a bar is, how far the next one is below it, or one that belongs to it, and an interval between."""
LEFT, WIDEST_LABEL = 16.0, 250.0


class BarPart(NamedTuple):
    """A part of a bar."""

    name: str
    """Its class."""
    size: float
    title: str


class Bar(NamedTuple):
    """A row of a picture: its label at the left, its parts end to end, its value at the right."""

    label: str
    parts: tuple[BarPart, ...]
    value: str
    interval: tuple[float, float] | None = None
    start: float = 0.0
    is_tight: bool = False
    """Whether the next bar belongs to it."""


class BarGroup(NamedTuple):
    """Bars under a heading; a limit is a line through all of them."""

    heading: str
    bars: tuple[Bar, ...]
    limit: float | None = None


def stacked_bar(
    parts: Sequence[BarPart], limit: float, interval: tuple[float, float], label: str, limit_label: str
) -> Html:
    """Return a bar of parts with the limit as a line across it and the interval of its end below it."""
    most = max(limit, interval[1], sum(part.size for part in parts)) * 1.02 or 1.0
    scale, y = PAGE_WIDTH / most, 6 + PAGE_BAR + 6
    low, high, end = (min(value * scale, PAGE_WIDTH - 2) for value in (*interval, limit))
    return el(
        "svg",
        el("title", label),
        _parts(parts, 0.0, scale, 6, PAGE_BAR),
        _bracket(low, high, y),
        el("path", el("title", limit_label), d=f"M{at(end)} 0V{y + 6}", class_="limit"),
        viewBox=f"0 0 {PAGE_WIDTH:g} {y + 8:g}",
        preserveAspectRatio="none",
        role="img",
        class_="bar",
        aria_label=label,
    )


def _parts(parts: Sequence[BarPart], left: float, scale: float, top: float, height: float) -> list[Html]:
    shapes = []
    for part in parts:
        width = part.size * scale
        title = el("title", part.title)
        box = {"x": at(left), "y": at(top), "width": at(width), "height": f"{height:g}"}
        shapes.append(el("rect", title, **box, class_=part.name))
        left += width
    return shapes


def _bracket(low: float, high: float, y: float) -> Html:
    d = f"M{at(low)} {y - 4:g}v8M{at(low)} {y:g}H{at(high)}M{at(high)} {y - 4:g}v8"
    return el("path", d=d, class_="interval")


def bars(groups: Sequence[BarGroup], x: Axis, label: str, keys: Sequence[Key] = ()) -> Chart:
    """Return groups of bars over one axis with round ticks; labels and values have columns of their own, so
    that nothing lies on them."""
    each = [bar for group in groups for bar in group.bars]
    labelled = min(max((text_width(bar.label) for bar in each), default=0.0), WIDEST_LABEL)
    left = LEFT + (labelled + 10 if labelled else 0.0)
    right = WIDTH - 22 - max((text_width(bar.value) for bar in each), default=0.0)
    first, last = x.ends()
    scale = (right - left) / (last - first)
    grid, shapes, y = list[Html](), list[Html](), 6.0
    for group in groups:
        if group.heading:
            lines = wrapped(group.heading, WIDTH - 2 * LEFT)
            shapes += [
                el("text", line, x=at(LEFT), y=at(y + 12 + LINE * number), class_="axis")
                for number, line in enumerate(lines)
            ]
            y += LINE * len(lines) + 6
        top = y
        for bar in group.bars:
            shapes += _row(bar, left, left - first * scale, scale, y)
            y += TIGHT + (BRACKET if bar.interval else 0.0) if bar.is_tight else PITCH
        if group.limit is not None:
            d = f"M{at(left + (group.limit - first) * scale)} {at(top - 4)}V{at(y - 4)}"
            shapes.append(el("path", d=d, class_="limit"))
        grid += [
            el("path", d=f"M{at(left + (value - first) * scale)} {at(top - 4)}V{at(y - 4)}", class_="grid")
            for value in x.marks()
        ]
        y += 4
    shapes += _numbers(x, left - first * scale, scale, (left + right) / 2, y - 8)
    named, height = legend(keys, LEFT, y + 42)
    return Chart(join((grid, shapes, named)), y + 42 + height, label)


def _row(bar: Bar, left: float, zero: float, scale: float, y: float) -> list[Html]:
    """Return one bar with its label, its value and the interval under it."""
    lines = wrapped(bar.label, WIDEST_LABEL)
    shapes = [
        el("text", line, x=at(left - 10), y=at(y + 13 + 13 * number), text_anchor="end")
        for number, line in enumerate(lines)
        if line
    ]
    shapes += _parts(bar.parts, zero + bar.start * scale, scale, y, THICK)
    if bar.interval is not None:
        low, high = bar.interval
        shapes.append(_bracket(zero + low * scale, zero + high * scale, y + THICK + 5))
    return [*shapes, el("text", bar.value, x=at(WIDTH - 12), y=at(y + 13), text_anchor="end")]


def _numbers(x: Axis, zero: float, scale: float, middle: float, bottom: float) -> list[Html]:
    """Return the axis under all bars: its numbers and its title."""
    shapes = [
        el("text", figure(value), x=at(zero + value * scale), y=at(bottom + 16), text_anchor="middle")
        for value in x.marks()
    ]
    return [
        *shapes,
        el("text", x.title, x=at(middle), y=at(bottom + 38), text_anchor="middle", class_="axis"),
    ]
