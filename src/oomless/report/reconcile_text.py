"""`oomless reconcile` as text: what happened in one line, then predicted beside measured, then the death."""

from ..ledger import Compared
from ..truth.reconcile.explain import Advice, Explanation
from ..truth.reconcile.reconciled import ReadSnapshot, Reconciled, ReconciledRun
from ..units import format_bytes

HEADER = ("line", "predicted", "interval", "measured", "difference", "reason")
WORDS = {
    "started": "started",
    "oom": "ran out of memory",
    "failed": "did not start",
    "cut_off": "the log ends early",
}


def reconciled_text(found: Reconciled) -> str:
    """Return all runs, one under the other."""
    return "\n\n".join([*map(_run, found.runs), *map(_snapshot, found.snapshots)])


def _snapshot(each: ReadSnapshot) -> str:
    found = each.snapshot
    lines = [
        f"{each.name}, card {found.device}: {format_bytes(found.reserved_bytes)} reserved in "
        f"{found.num_segments:,} segments, {format_bytes(found.active_bytes)} in use, "
        f"{format_bytes(found.fragmentation_bytes)} idle (largest piece "
        f"{format_bytes(found.largest_free_bytes)}); at most {format_bytes(found.peak_bytes)} "
        f"in {found.num_events:,} events"
    ]
    for title, held in (
        ("At the peak", found.at_peak),
        ("At the end", found.held),
        ("Grown since", each.grown),
    ):
        if held:
            lines += ["", f"{title}:"]
            lines += [
                f"  {format_bytes(line.num_bytes):>12}  {line.num_blocks:>8,} blocks  {line.place}"
                for line in held[:MOST_LINES]
            ]
    return "\n".join(lines)


MOST_LINES = 12


def _run(each: ReconciledRun) -> str:
    lines = [_first_line(each)]
    if each.rows:
        lines += ["", *_table(each.rows)]
    if each.explanation is not None:
        lines += ["", *_explanation(each.explanation)]
    if each.run.peaks:
        lines += [
            "",
            "Live, at most: " + ", ".join(_live(word, value) for word, value in each.run.peaks.items()),
        ]
    if each.comparison.problem:
        lines += ["", f"Not predicted: {each.comparison.problem}."]
    if each.asked.missing:
        flags = ", ".join(FLAGS.get(word, word) for word in each.asked.missing)
        lines += ["", f"Not found in the log: {', '.join(each.asked.missing)} (give {flags})."]
    if each.asked.assumed:
        lines += ["", f"Assumed, since the log does not say it: {', '.join(each.asked.assumed)}."]
    if each.command:
        lines += ["", f"The same question: oomless {' '.join(each.command)}"]
    return "\n".join(lines)


FLAGS = {"gpu": "--gpu", "model": "--model", "engine_version": "--engine-version", "tp": "--gpu G:N"}
"""What says in place of a log what it leaves out."""


def _first_line(each: ReconciledRun) -> str:
    facts = each.facts
    name = " ".join(str(facts[word]) for word in ("engine", "engine_version") if word in facts)
    model = f" with {facts['model']}" if "model" in facts else ""
    far = [abs(row.error) for row in each.rows if row.error is not None and row.key != "runtime.cuda_graphs"]
    apart = f"; prediction and log are at most {100 * max(far):.1f} % apart" if far else ""
    return f"{name}{model}: {WORDS[each.state]}{apart}"


def _table(rows: tuple[Compared, ...]) -> list[str]:
    cells = [HEADER, *(_cells(row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEADER))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def _cells(row: Compared) -> tuple[str, ...]:
    interval = (
        "" if row.low is None or row.high is None else f"{_size(row.low, row)} to {_size(row.high, row)}"
    )
    both = row.predicted is not None and row.measured is not None
    return (
        row.key,
        "-" if row.predicted is None else _size(row.predicted, row),
        interval,
        "-" if row.measured is None else _size(row.measured, row),
        _size(row.difference, row) if both else "",
        row.reason,
    )


def _size(value: float, row: Compared) -> str:
    return f"{value:,.0f}" if row.unit != "B" else format_bytes(round(value))


def _explanation(found: Explanation) -> list[str]:
    lines = []
    oom = found.oom
    if oom is not None and oom.tried_bytes is not None:
        free = f", {format_bytes(oom.free_bytes)} were free" if oom.free_bytes is not None else ""
        lines.append(f"Asked for {format_bytes(oom.tried_bytes)}{free} ({oom.source}).")
    if found.needed_bytes is not None:
        there = f", {format_bytes(found.pool_bytes)} were there" if found.pool_bytes is not None else ""
        lines.append(f"One sequence needs {format_bytes(found.needed_bytes)} of the cache{there}.")
    if found.held:
        lines.append(
            "On the card: " + ", ".join(f"{name} {format_bytes(held)}" for name, held in found.held) + "."
        )
    if found.expected:
        lines.append(
            "Expected: " + ", ".join(f"{name} {format_bytes(held)}" for name, held in found.expected) + "."
        )
    if found.fragmentation:
        lines.append("Memory that was reserved and unused would have been enough: this is fragmentation.")
    if found.advice:
        lines.append("What would have fitted:")
        lines += [f"  {each.flags}  ({_left(each)})" for each in found.advice]
    return lines


def _left(each: Advice) -> str:
    if each.headroom_bytes is None:
        return "as the log says"
    return f"leaves {format_bytes(each.headroom_bytes)}"


def _live(word: str, value: float) -> str:
    name = word.removeprefix("live_").replace("_", " ")
    return f"{name} {100 * value:.1f} %" if word == "live_kv_usage" else f"{name} {value:,.0f}"
