"""A report of a compressed checkpoint as a file: HTML with plots, JSON or text, by the file's ending."""

import json
from html import escape
from pathlib import PurePath
from typing import TYPE_CHECKING

from ..units import format_bytes
from .compress_text import compress_text
from .svg import PAD, rect, text

if TYPE_CHECKING:
    from ..compress.compressed import Compressed

WIDTH, ROW, MOST_ROWS, LABEL = 860, 20, 40, 330
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
        bars("Bytes by module", [(name, num_bytes) for name, _, num_bytes, _ in answer.planned.modules()])
    ]
    if answer.errors:
        plots.append(bars("Error by module, as a share of its square", list(answer.errors.items())))
    if answer.quality:
        layers = [(f"layer {number}", error) for number, error in enumerate(answer.quality.layers)]
        plots.append(bars("Error of what layers give on", layers, keep_order=True))
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style>\n<h1>{title}</h1>\n<pre>{escape(compress_text(answer))}</pre>\n"
        + "\n".join(plots)
        + "\n</html>\n"
    )


def bars(title: str, values: list[tuple[str, float]], keep_order: bool = False) -> str:
    """Return bars as one SVG, the largest first unless the order means something; more than MOST_ROWS are cut
    off, which the title says."""
    shown = values if keep_order else sorted(values, key=lambda each: -each[1])
    if len(shown) > MOST_ROWS:
        title, shown = f"{title} ({MOST_ROWS} of {len(shown):,})", shown[:MOST_ROWS]
    largest = max((value for _, value in shown), default=0) or 1
    parts = [text(PAD, 24, title, 15, "bold")]
    for number, (name, value) in enumerate(shown):
        top = 40 + number * ROW
        label = format_bytes(value) if isinstance(value, int) else f"{value:.3g}"
        width = (WIDTH - LABEL - 110) * value / largest
        parts += [
            text(LABEL - 8, top + 13, name[-48:], 11, anchor="end"),
            rect(LABEL, top, max(width, 1), ROW - 4, "#1f4e79", f"{name}: {label}"),
            text(LABEL + width + 6, top + 13, label, 11),
        ]
    height = 50 + len(shown) * ROW
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'font-family="sans-serif">\n' + "\n".join(parts) + "\n</svg>"
    )
