"""A report of a compressed checkpoint as a file: HTML with plots, JSON or text, by the file's ending."""

import json
from html import escape
from pathlib import PurePath
from typing import TYPE_CHECKING

from ..units import format_bytes, gib
from .chart.axes import Axis
from .chart.bars import Bar, BarGroup, BarPart, bars
from .chart.picture import picture
from .compress_text import compress_text

if TYPE_CHECKING:
    from ..compress.compressed import Compressed

MOST_ROWS, MOST_LETTERS = 40, 38
STYLE = (
    "body{font:14px sans-serif;margin:2em;max-width:60em}pre{background:#f4f4f4;padding:1em;overflow:auto}"
)


def compress_report(answer: "Compressed", path: str) -> str:
    """Return the content of a report whose name is given."""
    match PurePath(path).suffix.lower():
        case ".json":
            return json.dumps(answer.to_json(), allow_nan=False, indent=2) + "\n"
        case ".html" | ".htm":
            return page(answer)
    return compress_text(answer)


def page(answer: "Compressed") -> str:
    """Return a page that needs nothing from elsewhere."""
    title = escape(f"{answer.planned.source.folder.resolve().name} in {answer.planned.request.to or 'a mix'}")
    plots = [
        module_bars(
            "Bytes by module", [(name, num_bytes) for name, _, num_bytes, _ in answer.planned.modules()]
        )
    ]
    if answer.errors:
        plots.append(module_bars("Error by module, as a share of its square", list(answer.errors.items())))
    if answer.quality:
        layers = [(f"layer {number}", error) for number, error in enumerate(answer.quality.layers)]
        plots.append(module_bars("Error of what layers give on", layers, keep_order=True))
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style>\n<h1>{title}</h1>\n<pre>{escape(compress_text(answer))}</pre>\n"
        + "\n".join(plots)
        + "\n</html>\n"
    )


def module_bars(title: str, values: list[tuple[str, float]], keep_order: bool = False) -> str:
    """Return bars as one SVG, the largest first unless the order means something; more than MOST_ROWS are cut
    off, which the title says."""
    shown = values if keep_order else sorted(values, key=lambda each: -each[1])
    if len(shown) > MOST_ROWS:
        title, shown = f"{title} ({MOST_ROWS} of {len(shown):,})", shown[:MOST_ROWS]
    are_bytes = all(isinstance(value, int) for _, value in shown)
    rows = []
    for name, value in shown:
        said, size = (format_bytes(round(value)), gib(value)) if are_bytes else (f"{value:.3g}", value)
        rows.append(
            Bar(name[-MOST_LETTERS:], (BarPart("predicted", size, f"{name}: {said}"),), said, is_tight=True)
        )
    axis = Axis("GiB" if are_bytes else "error", max((row.parts[0].size for row in rows), default=0))
    return picture(title, [("", bars([BarGroup("", tuple(rows))], axis, title))])
