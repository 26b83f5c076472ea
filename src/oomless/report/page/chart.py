"""Pictures of the page, as SVG whose classes take their colours from the style sheet: a picture is dark where
the page is, and a category has one colour everywhere."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from .html import Html, el

WIDTH, BAR = 1000.0, 34.0
Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


class BarPart(NamedTuple):
    """A part of a bar."""

    name: str
    """Its class."""
    size: float
    title: str


def stacked_bar(
    parts: Sequence[BarPart], limit: float, interval: tuple[float, float], label: str, limit_label: str
) -> Html:
    """Return a bar of parts with the limit as a line across it and the interval of its end below it."""
    most = max(limit, interval[1], sum(part.size for part in parts)) * 1.02 or 1.0
    scale, left, shapes = WIDTH / most, 0.0, []
    for part in parts:
        width = part.size * scale
        shape = el(
            "rect",
            el("title", part.title),
            x=_at(left),
            y=6,
            width=_at(width),
            height=BAR,
            class_=f"c-{part.name}",
        )
        shapes.append(shape)
        left += width
    low, high, at = (min(value * scale, WIDTH - 2) for value in (*interval, limit))
    y = 6 + BAR + 6
    shapes += [
        el(
            "path",
            d=f"M{_at(low)} {y - 4}v8M{_at(low)} {y}H{_at(high)}M{_at(high)} {y - 4}v8",
            class_="interval",
        ),
        el("path", el("title", limit_label), d=f"M{_at(at)} 0V{y + 6}", class_="limit"),
    ]
    return el(
        "svg",
        el("title", label),
        shapes,
        viewBox=f"0 0 {WIDTH:g} {y + 8:g}",
        preserveAspectRatio="none",
        role="img",
        class_="bar",
        aria_label=label,
    )


def _at(value: float) -> str:
    return f"{value:.1f}"


def ticks(most: float, count: int = 5) -> list[float]:
    """Return round numbers from 0 to at least `most`.

    >>> ticks(87), ticks(0.9, 3)
    ([0.0, 20.0, 40.0, 60.0, 80.0, 100.0], [0.0, 0.5, 1.0])
    """
    if most <= 0 or not math.isfinite(most):
        return [0.0, 1.0]
    rough = most / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * each for each in (1, 2, 5, 10) if power * each >= rough)
    return [step * index for index in range(math.ceil(most / step) + 1)]


class Axis(NamedTuple):
    """One axis: its title and the largest value on it."""

    title: str
    most: float


class Point(NamedTuple):
    """A point of a picture; `name` is its class, `label` stands beside it where there is room."""

    x: float
    y: float
    name: str
    label: str
    title: str = ""


class PlotCurve(NamedTuple):
    """A curve of a picture."""

    points: Sequence[tuple[float, float]]
    name: str
    label: str


PLOT_WIDTH, PLOT_HEIGHT = 720.0, 380.0
LEFT, RIGHT, TOP, BOTTOM = 78.0, 24.0, 16.0, 52.0
LABEL_HEIGHT = 15.0
CHAR_WIDTH = 6.6


def plot(x: Axis, y: Axis, points: Sequence[Point], curves: Sequence[PlotCurve], label: str) -> Html:
    """Return points and curves over two axes with round ticks; labels that would lie on another are left to
    the point's title."""
    xs, ys = ticks(x.most), ticks(y.most)

    def at(value: tuple[float, float]) -> tuple[float, float]:
        return (
            LEFT + (PLOT_WIDTH - LEFT - RIGHT) * value[0] / xs[-1],
            PLOT_HEIGHT - BOTTOM - (PLOT_HEIGHT - TOP - BOTTOM) * value[1] / ys[-1],
        )

    shapes = [*_grid(x.title, y.title, xs, ys, at)]
    for curve in curves:
        path = "M" + "L".join(f"{_at(px)} {_at(py)}" for px, py in map(at, curve.points))
        shapes.append(el("path", el("title", curve.label), d=path, class_=f"curve {curve.name}"))
    taken: list[Box] = [box for curve in curves for box in boxes_along([*map(at, curve.points)])]
    for px, py in (at((point.x, point.y)) for point in points):
        taken.append((px - 5, py - 5, px + 5, py + 5))
    for point in points:
        px, py = at((point.x, point.y))
        shapes.append(
            el(
                "circle",
                el("title", point.title or point.label),
                cx=_at(px),
                cy=_at(py),
                r=5,
                class_=point.name,
            )
        )
        if (place := _place(point.label, px, py, taken)) is not None:
            tx, ty, anchor = place
            shapes.append(el("text", point.label, x=_at(tx), y=_at(ty), text_anchor=anchor, class_="label"))
    return el(
        "svg",
        el("title", label),
        shapes,
        viewBox=f"0 0 {PLOT_WIDTH:g} {PLOT_HEIGHT:g}",
        role="img",
        class_="plot",
        aria_label=label,
    )


def _grid(x_title: str, y_title: str, xs: list[float], ys: list[float], at: object) -> list[Html]:
    """Return lines, numbers and titles of both axes."""
    assert callable(at)
    shapes = []
    for value in ys:
        px, py = at((0.0, value))
        shapes.append(el("path", d=f"M{_at(px)} {_at(py)}H{_at(PLOT_WIDTH - RIGHT)}", class_="grid"))
        shapes.append(el("text", figure(value), x=_at(px - 8), y=_at(py + 4), text_anchor="end"))
    for value in xs:
        px, py = at((value, 0.0))
        shapes.append(el("path", d=f"M{_at(px)} {_at(py)}v5", class_="grid"))
        shapes.append(el("text", figure(value), x=_at(px), y=_at(py + 20), text_anchor="middle"))
    middle = (LEFT + PLOT_WIDTH - RIGHT) / 2
    shapes.append(
        el("text", x_title, x=_at(middle), y=_at(PLOT_HEIGHT - 8), text_anchor="middle", class_="axis")
    )
    height = (TOP + PLOT_HEIGHT - BOTTOM) / 2
    shapes.append(
        el(
            "text",
            y_title,
            transform=f"translate(16 {_at(height)}) rotate(-90)",
            text_anchor="middle",
            class_="axis",
        )
    )
    return shapes


def figure(value: float) -> str:
    """Return a number of an axis.

    >>> figure(1500), figure(0.5), figure(2000000)
    ('1,500', '0.5', '2,000,000')
    """
    return f"{value:,.0f}" if value == int(value) else f"{value:,.4g}"


def boxes_along(points: Sequence[tuple[float, float]]) -> list[Box]:
    """Return small boxes along a line through points, which no label may lie on.

    >>> len(boxes_along([(0.0, 0.0), (30.0, 0.0)]))
    6
    """
    found = []
    for (x0, y0), (x1, y1) in pairwise(points):
        count = max(int(max(abs(x1 - x0), abs(y1 - y0)) / 6), 1)
        for index in range(count + 1):
            x, y = x0 + (x1 - x0) * index / count, y0 + (y1 - y0) * index / count
            found.append((x - 2, y - 2, x + 2, y + 2))
    return found


def _place(label: str, px: float, py: float, taken: list[Box]) -> tuple[float, float, str] | None:
    """Return where a label lies on nothing else: right of its point, left, above or below; None: nowhere."""
    width = CHAR_WIDTH * len(label)
    for tx, ty, anchor, x0 in (
        (px + 9, py + 4, "start", px + 9),
        (px - 9, py + 4, "end", px - 9 - width),
        (px, py - 10, "middle", px - width / 2),
        (px, py + 19, "middle", px - width / 2),
    ):
        box = (x0, ty - LABEL_HEIGHT + 3, x0 + width, ty + 3)
        inside = (
            box[0] >= LEFT and box[2] <= PLOT_WIDTH - 2 and box[1] >= 0 and box[3] <= PLOT_HEIGHT - BOTTOM
        )
        if inside and not any(_overlap(box, each) for each in taken):
            taken.append(box)
            return tx, ty, anchor
    return None


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
