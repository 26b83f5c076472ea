"""Charts as one SVG file: a title, each chart under its own heading, and the page's colours on white."""

from collections.abc import Sequence

from ..page.html import Html, el, join
from .axes import LINE, WIDTH, Chart, at, wrapped

PAD, TITLE, HEADING, GAP = 16.0, 15.0, 13.0, 22.0
BOLD = 1.1
"""How much wider thick letters are."""
COLOURS = {
    "weights": "#1f4e79",
    "gradients": "#7b3294",
    "optimizer": "#a98bc0",
    "activations": "#e69f00",
    "logits": "#d9b13b",
    "kv_cache": "#009e73",
    "communication": "#d55e00",
    "temporaries": "#cc79a7",
    "inputs": "#8a8a8a",
    "runtime": "#56b4e9",
    "fragmentation": "#b5b5b5",
    "limit": "#b00020",
    "ink": "#17202a",
    "line": "#d5dbe1",
}
"""Of the page where it is light: style.css says the same."""
RULES = (
    ("text", "font:12px sans-serif;fill:{ink}"),
    (".axis", "font-size:13px;font-weight:600"),
    (".heading", "font-size:13px;font-weight:600"),
    (".title", "font-size:15px;font-weight:600"),
    (".label", "paint-order:stroke;stroke:#fff;stroke-width:3px;stroke-linejoin:round"),
    (".grid", "stroke:{line};fill:none"),
    (".interval", "stroke:{ink};stroke-width:1.5;fill:none"),
    (".limit", "stroke:{limit};stroke-width:2.5;fill:none"),
    (".mark", "stroke:{ink};stroke-width:1.5;stroke-dasharray:3 3;fill:none"),
    (".curve", "fill:none;stroke-width:2.5"),
    ("path.total", "stroke:{ink}"),
    (".band", "fill:{line}"),
    ("path.highest", "stroke:{inputs};stroke-width:1.5"),
    ("path.expected", "stroke:{ink};stroke-width:2;stroke-dasharray:8 4;fill:none"),
    ("path.front", "stroke:{weights};stroke-dasharray:6 4"),
    ("circle.best", "fill:{weights}"),
    (".other", "fill:{inputs}"),
    (".device", "fill:#fff;stroke:{ink};stroke-width:1.5"),
    ("path.own", "stroke:{weights}"),
    ("path.rent", "stroke:{communication}"),
    ("circle.own,.predicted", "fill:{weights}"),
    ("circle.rent,.measured", "fill:{communication}"),
    ("circle.meet", "fill:{limit}"),
)
"""How what is drawn looks; a category's class is its name behind `c-`."""


def picture(title: str, charts: Sequence[tuple[str, Chart]], more: Sequence[str] = ()) -> str:
    """Return the file: a title in as many lines as it takes, `more` under it, and charts with headings."""
    shapes, y = list[Html](), PAD
    for text, name, size in ((title, "title", TITLE * BOLD), *((each, "more", 12.0) for each in more)):
        for line in wrapped(text, WIDTH - 2 * PAD, size):
            y += LINE + 1
            shapes.append(el("text", line, x=at(PAD), y=at(y), class_=name))
    y += GAP
    for heading, chart in charts:
        if heading:
            for line in wrapped(heading, WIDTH - 2 * PAD, HEADING * BOLD):
                shapes.append(el("text", line, x=at(PAD), y=at(y + 6), class_="heading"))
                y += LINE
            y += 6
        shapes.append(el("g", chart.shapes, transform=f"translate(0 {at(y)})"))
        y += chart.height + GAP
    wide, high = f"{WIDTH:g}", f"{y:.0f}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{high}" '
        f'viewBox="0 0 {wide} {high}" role="img">\n<style>{style()}</style>\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{join(shapes)}\n</svg>\n'
    )


def style() -> str:
    """Return the style sheet of a file.

    >>> ".c-kv_cache{fill:#009e73}" in style()
    True
    """
    categories = {f".c-{name}": f"fill:{colour}" for name, colour in COLOURS.items()}
    return "".join(
        f"{name}{{{rule.format(**COLOURS)}}}" for name, rule in ({**categories, **dict(RULES)}).items()
    )
