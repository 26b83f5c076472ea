"""A picture of a comparison: a line's predicted bar with its interval, and the measured one under it."""

from ..ledger import Compared
from ..truth.reconcile.reconciled import Reconciled, ReconciledRun
from ..units import format_bytes, gib
from .chart.axes import Axis, Key
from .chart.bars import Bar, BarGroup, BarPart, bars
from .chart.picture import picture
from .language import Phrases, spoken
from .page.reconcile import line_word


def reconciled_svg(found: Reconciled) -> str:
    """Return the picture of all runs, one under the other."""
    words = spoken()
    keys = [
        Key("predicted", words("log.predicted")),
        Key("measured", words("log.measured")),
        Key("interval", words("picture.interval_predicted"), "bracket"),
    ]
    charts = []
    for run in found.runs:
        rows = [row for row in run.rows if row.unit == "B" and row.measured is not None]
        most = max((max(row.measured or 0, row.high or 0, row.predicted or 0) for row in rows), default=1)
        group = BarGroup("", tuple(bar for row in rows for bar in _pair(row, words)))
        chart = bars([group], Axis("GiB", gib(most), is_exact=True), words("log.table"), keys)
        charts.append((_title(run, words), chart))
    return picture(words("log.table"), charts)


def _title(run: ReconciledRun, words: Phrases) -> str:
    facts = run.facts
    named = [str(facts[word]) for word in ("engine", "engine_version", "model") if facts.get(word)]
    return f"{' '.join(named)}{words('colon')}{words.known(f'log.{run.state}', run.state)}"


def _pair(row: Compared, words: Phrases) -> list[Bar]:
    """Return the bars of a line: what was predicted, if it was, and what was measured."""
    name, measured = line_word(row, words), row.measured or 0
    parts = (BarPart("measured", max(gib(measured), 0), words("log.measured")),)
    value = format_bytes(round(measured))
    if row.predicted is None:
        return [Bar(name, parts, value)]
    interval = None if row.low is None or row.high is None else (gib(row.low), gib(row.high))
    predicted = (BarPart("predicted", max(gib(row.predicted), 0), words("log.predicted")),)
    said = format_bytes(round(row.predicted))
    return [Bar(name, predicted, said, interval, is_tight=True), Bar("", parts, value)]
