"""What all pictures share: round ticks, the room that words take, and where a label lies on nothing else."""

import math
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from ..page.html import Html, el

WIDTH = 720.0
"""Of every picture."""
TEXT, LINE = 12.0, 18.0
"""Size of letters, and from one line of them to the next."""
BROAD = "mwMW%…−×"
"""Letters nearly as wide as high."""
Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


class Axis(NamedTuple):
    """One axis: its title, the largest and the smallest value on it."""

    title: str
    most: float
    least: float = 0.0
    is_exact: bool = False
    """Whether it ends at its largest value, in place of the next round number."""

    def marks(self) -> list[float]:
        """Return its round numbers.

        >>> Axis("", 87).marks()[-1], Axis("", 87, is_exact=True).marks()[-1], Axis("", 25, -12).marks()[0]
        (100.0, 80.0, -20.0)
        """
        found = ticks(self.most, least=self.least)
        return [each for each in found if each <= self.most] if self.is_exact else found

    def ends(self) -> tuple[float, float]:
        """Return the values at which it begins and ends."""
        found = self.marks()
        return found[0], max(self.most, found[-1]) if self.is_exact else found[-1]


class Key(NamedTuple):
    """A line of a legend: the class of what is drawn, its name, and how it is drawn."""

    name: str
    label: str
    shape: str = "box"
    """box, line or bracket."""


class Chart(NamedTuple):
    """A drawn picture, for a page or for a file."""

    shapes: Html
    height: float
    label: str

    def on_page(self) -> Html:
        """Return it as an element of a page."""
        return el(
            "svg",
            el("title", self.label),
            self.shapes,
            viewBox=f"0 0 {WIDTH:g} {self.height:g}",
            role="img",
            class_="plot",
            aria_label=self.label,
        )


def at(value: float) -> str:
    """Return a place of a picture as its attributes have it."""
    return f"{value:.1f}"


def ticks(most: float, count: int = 5, least: float = 0.0) -> list[float]:
    """Return round numbers from 0, or below the least one, to at least `most`.

    >>> ticks(87), ticks(0.9, 3), ticks(25, least=-12)
    ([0.0, 20.0, 40.0, 60.0, 80.0, 100.0], [0.0, 0.5, 1.0], [-20.0, -10.0, 0.0, 10.0, 20.0, 30.0])
    """
    most, least = max(most, 0.0), min(least, 0.0)
    if most <= least or not math.isfinite(most - least):
        return [0.0, 1.0]
    rough = (most - least) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * each for each in (1, 2, 5, 10) if power * each >= rough)
    return [step * index for index in range(math.floor(least / step), math.ceil(most / step) + 1)]


def figure(value: float) -> str:
    """Return a number of an axis.

    >>> figure(1500), figure(0.5), figure(-20)
    ('1,500', '0.5', '−20')
    """
    shown = f"{value:,.0f}" if value == int(value) else f"{value:,.4g}"
    return shown.replace("-", "−")


def text_width(text: str, size: float = TEXT) -> float:
    """Return about how wide a text is: a Chinese letter is a square.

    >>> round(text_width("abcd"), 2), text_width("显存")
    (26.88, 24.0)
    """
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    broad = sum(letter in BROAD for letter in text)
    return size * (wide + 0.95 * broad + 0.56 * (len(text) - wide - broad))


def wrapped(text: str, width: float, size: float = TEXT) -> list[str]:
    """Return a text as lines that fit a width, broken at blanks and between Chinese letters.

    >>> wrapped("fits on every rank", 70)
    ['fits on', 'every rank']
    """
    lines = [""]
    for word in _words(text):
        if lines[-1] and text_width(f"{lines[-1]}{word}".rstrip(), size) > width:
            lines.append("")
        lines[-1] += word
    return [line.strip() for line in lines]


def _words(text: str) -> Iterator[str]:
    """Yield pieces between which a line may break; a Chinese mark stays with the letter before it."""
    piece = ""
    for letter in text:
        is_wide = unicodedata.east_asian_width(letter) in "WF"
        is_mark = is_wide and unicodedata.category(letter).startswith("P")
        if piece and (piece.endswith(" ") or (is_wide and not is_mark)):
            yield piece
            piece = ""
        piece += letter
    yield piece


def legend(keys: Sequence[Key], left: float, top: float) -> tuple[list[Html], float]:
    """Return names beside what they name, in lines, and how high they stand."""
    shapes, x, y = list[Html](), left, top
    for key in keys:
        width = 22 + text_width(key.label) + 18
        if x > left and x + width > WIDTH:
            x, y = left, y + LINE + 2
        shapes += [_swatch(key, x, y), el("text", key.label, x=at(x + 22), y=at(y + 10))]
        x += width
    return shapes, y + LINE + 2 - top if keys else 0.0


def _swatch(key: Key, x: float, y: float) -> Html:
    if key.shape == "box":
        return el("rect", x=at(x + 2), y=at(y), width=12, height=12, class_=key.name)
    ends = f"M{at(x)} {at(y + 2)}v8M{at(x + 16)} {at(y + 2)}v8" if key.shape == "bracket" else ""
    return el("path", d=f"{ends}M{at(x)} {at(y + 6)}h16", class_=key.name)


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


def place(label: str, x: float, y: float, frame: Box, taken: list[Box]) -> tuple[float, float, str] | None:
    """Return where a label lies on nothing else: right of its point, left, above, below or aslant; None:
    nowhere."""
    width = text_width(label)
    right, left, middle = (x + 9, "start", x + 9), (x - 9, "end", x - 9 - width), (x, "middle", x - width / 2)
    for (tx, anchor, x0), ty in (
        (right, y + 4),
        (left, y + 4),
        (middle, y - 10),
        (middle, y + 19),
        *((side, y + down) for down in (17, -8, 26) for side in (right, left)),
    ):
        box = (x0, ty - TEXT, x0 + width, ty + 3)
        inside = box[0] >= frame[0] and box[1] >= frame[1] and box[2] <= frame[2] and box[3] <= frame[3]
        if inside and not any(_overlap(box, each) for each in taken):
            taken.append(box)
            return tx, ty, anchor
    return None


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
