"""A watched run as one page without scripts: the text of the answer and its picture."""

from html import escape
from typing import TYPE_CHECKING

from ..recording.timeline import Timeline
from .language import spoken
from .monitor_svg import run_svg
from .monitor_text import run_text

if TYPE_CHECKING:
    from ..monitor.watched_run import WatchedRun

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
