"""The measured runs nearest to an answer, for people."""

from ..api.nearest_runs import MeasuredRun, Neighbour, RunFigure


def evidence_text(found: tuple[Neighbour, ...]) -> str:
    """Return the runs, the nearest first: what ran, what it had otherwise, its figures, its source."""
    if not found:
        return "no measured run is near: another model on another card at the most"
    lines = ["measured runs nearest to it, of which nothing goes into the answer:"]
    for each in found:
        lines.append(f"  {ran(each.run)}")
        lines.append(f"    differs in {', '.join(each.differs)}" if each.differs else "    the same setting")
        lines += [f"    {figure_text(figure)}" for figure in each.run.figures]
        lines.append(f"    source: {each.run.source}")
    return "\n".join(lines)


def ran(run: MeasuredRun) -> str:
    """Return what ran, in a line."""
    sizes = [f"{axis} {size}" for axis, size in (("TP", run.tp), ("PP", run.pp)) if size not in ("", "1")]
    parts = (run.model, run.stored, f"{run.engine} {run.engine_version}".strip(), run.card, *sizes)
    length = f"{int(run.length):,} tokens" if run.length.isdecimal() else run.length
    return ", ".join(filter(None, (*parts, length)))


def figure_text(figure: RunFigure) -> str:
    """Return a quantity: measured, predicted with its interval, how far off."""
    words = figure.quantity.replace("_", " ")
    values = (figure.measured, figure.predicted, figure.low, figure.high)
    whole = figure.unit in ("tokens", "bytes")
    measured, predicted, low, high = (f"{value:,.0f}" if whole else f"{value:,.2f}" for value in values)
    off = f"{round(100 * figure.error, 1) or 0.0:+.1f} %"
    return f"{words}: measured {measured} {figure.unit}, predicted {predicted} ({low} to {high}), {off}"
