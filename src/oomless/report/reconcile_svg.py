"""A picture of a comparison: a line's predicted bar with its interval, and the measured one under it."""

from html import escape

from ..ledger import Compared
from ..truth.reconcile.reconciled import Reconciled, ReconciledRun
from ..units import format_bytes

WIDTH, LABEL, ROW, BAR = 860, 210, 46, 14
PREDICTED, MEASURED, INTERVAL = "#4c78a8", "#f58518", "#9ecae9"
STYLE = "font: 12px sans-serif; fill: #222"


def reconciled_svg(found: Reconciled) -> str:
    """Return the picture of all runs, one under the other."""
    parts, top = [], 10
    for run in found.runs:
        rows = [row for row in run.rows if row.unit == "B" and row.measured is not None]
        parts.append(_title(run, top))
        top += 24
        parts += _rows(rows, top)
        top += ROW * len(rows) + 20
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top}" viewBox="0 0 {WIDTH} {top}" '
        f'role="img" aria-label="predicted beside measured">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )


def _title(run: ReconciledRun, top: int) -> str:
    facts = run.facts
    words = [str(facts[word]) for word in ("engine", "engine_version", "model") if word in facts]
    text = escape(f"{' '.join(words)}: {run.state}")
    return f'<text x="10" y="{top + 12}" style="{STYLE}; font-weight: bold">{text}</text>'


def _rows(rows: list[Compared], top: int) -> list[str]:
    most = max((max(row.measured or 0, row.high or 0, row.predicted or 0) for row in rows), default=0) or 1
    scale = (WIDTH - LABEL - 130) / most
    parts = []
    for row in rows:
        parts.append(f'<text x="10" y="{top + 18}" style="{STYLE}">{escape(row.key)}</text>')
        if row.predicted is not None:
            parts.append(_bar(row.predicted * scale, top, PREDICTED, format_bytes(round(row.predicted))))
            if row.low is not None and row.high is not None:
                start, length = LABEL + row.low * scale, max(1.0, (row.high - row.low) * scale)
                parts.append(
                    f'<rect x="{start:.1f}" y="{top + BAR / 2 - 2:.1f}" width="{length:.1f}" height="4" '
                    f'fill="{INTERVAL}"/>'
                )
        measured = row.measured or 0
        parts.append(_bar(measured * scale, top + BAR + 2, MEASURED, format_bytes(round(measured))))
        top += ROW
    return parts


def _bar(length: float, top: int, colour: str, text: str) -> str:
    width = max(0.0, length)
    return (
        f'<rect x="{LABEL}" y="{top}" width="{width:.1f}" height="{BAR}" fill="{colour}"/>'
        f'<text x="{LABEL + width + 6:.1f}" y="{top + BAR - 3}" style="{STYLE}">{escape(text)}</text>'
    )
