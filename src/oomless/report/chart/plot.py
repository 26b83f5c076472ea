"""Points, curves, areas and lines over two axes."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..page.html import Html, el, join
from .axes import LINE, WIDTH, Axis, Box, Chart, Key, at, boxes_along, figure, legend, place, text_width

HEIGHT = 312.0
"""Of the frame, without what stands around it."""
LEFT, RIGHT, TOP, BOTTOM = 84.0, 24.0, 16.0, 52.0
Values = tuple[float, float]


class Point(NamedTuple):
    """A point of a picture; `name` is its class, `label` stands beside it where there is room."""

    x: float
    y: float
    name: str
    label: str
    title: str = ""


class PlotCurve(NamedTuple):
    """A curve of a picture."""

    points: Sequence[Values]
    name: str
    label: str


class Area(NamedTuple):
    """What lies between two curves over the same values."""

    lower: Sequence[Values]
    upper: Sequence[Values]
    name: str
    title: str


class Across(NamedTuple):
    """A line from edge to edge at one value, and what it is called."""

    value: float
    name: str
    label: str


class Plotted(NamedTuple):
    """What stands over two axes."""

    points: Sequence[Point] = ()
    curves: Sequence[PlotCurve] = ()
    areas: Sequence[Area] = ()
    levels: Sequence[Across] = ()
    """Lines at values of the upright axis; the legend names them."""
    uprights: Sequence[Across] = ()
    """Lines at values of the lying axis, named over the frame."""


def plot(x: Axis, y: Axis, plotted: Plotted, label: str, keys: Sequence[Key] = ()) -> Chart:
    """Return points, curves and areas over two axes with round ticks; labels that would lie on another are
    left to the point's title."""
    (x0, x1), (y0, y1) = x.ends(), y.ends()
    scale = (WIDTH - LEFT - RIGHT) / (x1 - x0)
    rows = _rows([(each, LEFT + scale * (each.value - x0)) for each in plotted.uprights])
    top = TOP + LINE * (max((row for _, _, row in rows), default=-1) + 1)
    frame = (LEFT, top, WIDTH - RIGHT, top + HEIGHT)

    def to(value: Values) -> Values:
        return (
            frame[0] + (frame[2] - frame[0]) * (value[0] - x0) / (x1 - x0),
            frame[3] - (frame[3] - frame[1]) * (value[1] - y0) / (y1 - y0),
        )

    shapes = [*_grid(x, y, frame, to), *(_area(area, to) for area in plotted.areas)]
    shapes += [_curve(curve, to) for curve in plotted.curves]
    for level in plotted.levels:
        d = f"M{at(frame[0])} {at(to((x0, level.value))[1])}H{at(frame[2])}"
        shapes.append(el("path", el("title", level.label), d=d, class_=level.name))
    shapes += _uprights(rows, frame)
    shapes += _points(plotted, frame, to)
    named, height = legend(keys, frame[0], frame[3] + BOTTOM)
    return Chart(join((shapes, named)), frame[3] + BOTTOM + height, label)


def _area(area: Area, to: Callable[[Values], Values]) -> Html:
    outline = [*map(to, area.upper), *map(to, reversed(area.lower))]
    points = " ".join(f"{at(px)},{at(py)}" for px, py in outline)
    return el("polygon", el("title", area.title), points=points, class_=area.name)


def _curve(curve: PlotCurve, to: Callable[[Values], Values]) -> Html:
    path = "M" + "L".join(f"{at(px)} {at(py)}" for px, py in map(to, curve.points))
    return el("path", el("title", curve.label), d=path, class_=f"curve {curve.name}")


def _points(plotted: Plotted, frame: Box, to: Callable[[Values], Values]) -> list[Html]:
    """Return points, and labels where there is room."""
    taken: list[Box] = [box for curve in plotted.curves for box in boxes_along([*map(to, curve.points)])]
    for px, py in (to((point.x, point.y)) for point in plotted.points):
        taken.append((px - 5, py - 5, px + 5, py + 5))
    room = (frame[0], 0.0, WIDTH - 2, frame[3])
    shapes = []
    for point in plotted.points:
        px, py = to((point.x, point.y))
        title = el("title", point.title or point.label)
        shapes.append(el("circle", title, cx=at(px), cy=at(py), r=5, class_=point.name))
        if (found := place(point.label, px, py, room, taken)) is not None:
            tx, ty, anchor = found
            shapes.append(el("text", point.label, x=at(tx), y=at(ty), text_anchor=anchor, class_="label"))
    return shapes


def _rows(uprights: Sequence[tuple[Across, float]]) -> list[tuple[Across, float, int]]:
    """Return each line with its place and the row in which its name lies on no other."""
    ends, found = list[float](), list[tuple[Across, float, int]]()
    for each, px in sorted(uprights, key=lambda pair: pair[1]):
        start, width = _name_at(each.label, px), text_width(each.label)
        row = next((index for index, end in enumerate(ends) if end <= start), len(ends))
        ends[row : row + 1] = [start + width + 10]
        found.append((each, px, row))
    return found


def _name_at(label: str, px: float) -> float:
    """Return where the name of an upright line begins: over it, within the picture."""
    width = text_width(label)
    return max(LEFT, min(px - width / 2, WIDTH - 4 - width))


def _uprights(rows: Sequence[tuple[Across, float, int]], frame: Box) -> list[Html]:
    shapes = []
    for each, px, row in rows:
        y = frame[1] - 6 - LINE * row
        shapes.append(el("path", d=f"M{at(px)} {at(frame[1] - 3)}V{at(frame[3])}", class_=each.name))
        shapes.append(el("text", each.label, x=at(_name_at(each.label, px)), y=at(y), class_="label"))
    return shapes


def _grid(x: Axis, y: Axis, frame: Box, to: Callable[[Values], Values]) -> list[Html]:
    """Return lines, numbers and titles of both axes."""
    shapes = []
    for value in y.marks():
        px, py = to((x.ends()[0], value))
        shapes.append(el("path", d=f"M{at(px)} {at(py)}H{at(frame[2])}", class_="grid"))
        shapes.append(el("text", figure(value), x=at(px - 8), y=at(py + 4), text_anchor="end"))
    for value in x.marks():
        px, py = to((value, y.ends()[0]))
        shapes.append(el("path", d=f"M{at(px)} {at(py)}v5", class_="grid"))
        shapes.append(el("text", figure(value), x=at(px), y=at(py + 20), text_anchor="middle"))
    middle, below = (frame[0] + frame[2]) / 2, frame[3] + BOTTOM - 8
    shapes.append(el("text", x.title, x=at(middle), y=at(below), text_anchor="middle", class_="axis"))
    turned = f"translate(16 {at((frame[1] + frame[3]) / 2)}) rotate(-90)"
    shapes.append(el("text", y.title, transform=turned, text_anchor="middle", class_="axis"))
    return shapes
