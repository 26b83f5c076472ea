"""A watched run for people: what it was, its peak beside the prediction, what grows, where the time went, and
what it died of."""

from typing import TYPE_CHECKING

from ..files import shown
from ..ledger import TOTAL, UNEXPLAINED, Compared
from ..units import format_bytes
from .columns import columns, sparkline

if TYPE_CHECKING:
    from ..monitor.budget import BudgetKept
    from ..monitor.entries import Leak
    from ..monitor.post_mortem import PostMortem
    from ..monitor.watched_run import WatchedRank, WatchedRun

MOST_LINES = 10
MOST_TEXT = 160


def run_text(run: "WatchedRun") -> str:
    """Return the whole answer."""
    worst = run.worst
    parts = [[first_line(run)], peak_lines(worst)]
    if len(run.ranks) > 1:
        parts.append(rank_lines(run))
    if worst.rows:
        parts.append(compared_lines(worst.rows))
    if worst.problem:
        parts.append([f"not predicted: {shown(worst.problem, MOST_TEXT)}"])
    if worst.peak is not None:
        parts.append(line_lines(worst))
    parts.append(course_lines(worst))
    for rank in run.ranks:
        where = f"rank {rank.run.start.rank}: " if len(run.ranks) > 1 else ""
        parts.append([f"{where}{leak_line(leak)}" for leak in rank.leaks])
        if rank.death is not None:
            parts.append(death_lines(rank.death, where))
        parts.append(
            [
                f"{where}the monitor failed in {fault.where} and was off from step {fault.step} on: "
                f"`{shown(fault.message, MOST_TEXT)}`"
                for fault in rank.faults
            ]
        )
    return "\n\n".join("\n".join(part) for part in parts if part)


def first_line(run: "WatchedRun") -> str:
    """Return what the run was and how it ended."""
    worst = run.worst
    start = worst.run.start
    ranks = f", {len(run.ranks)} ranks" if len(run.ranks) > 1 else ""
    capacity = f" of {format_bytes(start.capacity_bytes)}" if start.capacity_bytes else ""
    ended = "still running, or killed" if worst.end is None else f"ended: {shown(worst.end.how)}"
    took = f" after {worst.end.seconds:,.1f} s" if worst.end is not None else ""
    return (
        f"{shown(run.name)}: {shown(start.model)} in {shown(start.script)}, {worst.num_steps:,} steps on "
        f"{shown(start.device_name)}{capacity}{ranks}; {ended}{took}"
    )


def peak_lines(rank: "WatchedRank") -> list[str]:
    """Return the highest moment, and what made it."""
    peak = rank.peak
    if peak is None:
        return [
            f"at most {format_bytes(rank.highest_bytes)} by the counter of {rank.run.start.counter}; "
            "no step was sampled"
        ]
    first = (
        f"peak {format_bytes(peak.peak_bytes)} in the {peak.phase} of step {peak.step:,} "
        f"({peak.tokens:,} tokens); made by {shown(peak.event, MOST_TEXT) or 'nothing that was seen'}"
    )
    between = f"between steps {format_bytes(peak.steady_bytes)}: weights, gradients and states"
    return [first, between, *reserved_lines(rank)]


def reserved_lines(rank: "WatchedRank") -> list[str]:
    """Return what the allocator of a card keeps beyond what is alive."""
    reserved = rank.reserved_bytes
    if not reserved:
        return []
    live = max((step.highest_bytes for step in rank.steps), default=0)
    share = 100 * (reserved - live) / reserved
    retries = rank.steps[-1].retries
    again = f"; it gave back its caches {retries:,} times" if retries else ""
    return [f"the allocator holds {format_bytes(reserved)}, {share:.1f} % of it unused at the peak{again}"]


def compared_lines(rows: tuple[Compared, ...]) -> list[str]:
    """Return the peak's categories beside the prediction."""
    table = [("category", "peak", "predicted", "interval", "apart")]
    for row in rows:
        if row.key == UNEXPLAINED and not row.measured and not row.predicted:
            continue
        table.append(
            (
                "peak" if row.key == TOTAL else row.key,
                size(row.measured),
                size(row.predicted),
                f"{size(row.low)} to {size(row.high)}" if row.low is not None else "",
                "" if row.error is None else f"{100 * row.error:+.1f} %",
            )
        )
    return columns(table, frozenset({1, 2, 4}))


def size(value: float | None) -> str:
    """Return a number of bytes, or a dash."""
    return "-" if value is None else format_bytes(round(value))


def line_lines(rank: "WatchedRank") -> list[str]:
    """Return the lines of code that hold most at the peak."""
    peak = rank.peak
    assert peak is not None
    table = [("alive at the peak", "tensors", "category", "made at")]
    for line, category, num_bytes, num in peak.lines[:MOST_LINES]:
        table.append(
            (format_bytes(num_bytes), f"{num:,}", category, shown(line, MOST_TEXT) or "before the step")
        )
    return columns(table, frozenset({0, 1}))


def course_lines(rank: "WatchedRank") -> list[str]:
    """Return memory over the steps, and where the time went."""
    if not rank.steps:
        return []
    seconds = rank.seconds()
    whole = sum(seconds.values()) or 1.0
    parts = [
        f"{name} {100 * value / whole:.1f} %" for name, value in seconds.items() if value / whole >= 0.001
    ]
    num = sum(step.num for step in rank.steps)
    found = [
        f"alive at the end of a step: {sparkline([step.live_bytes for step in rank.steps])} "
        f"{format_bytes(min(step.lowest_bytes for step in rank.steps))} to "
        f"{format_bytes(max(step.live_bytes for step in rank.steps))}, "
        f"by the counter of {rank.run.start.counter}",
        f"time: {whole / max(num, 1):.3f} s a step; {', '.join(parts)}",
    ]
    if rank.end is not None and rank.end.seconds:
        found.append(f"watching took {100 * rank.end.watching_s / rank.end.seconds:.2f} % of the time")
    return found


def leak_line(leak: "Leak") -> str:
    """Return one leak."""
    where = f"{shown(leak.file, MOST_TEXT)}:{leak.line}" if leak.file else "a line that is not known"
    kept = f", kept at {shown(leak.held_at, MOST_TEXT)}" if leak.held_at and leak.held_at != where else ""
    left = f"; full in {leak.steps_left:,} steps" if leak.steps_left is not None else ""
    return (
        f"grows by {format_bytes(leak.bytes_per_step)} a step: {where} "
        f"({shown(leak.leak.replace('_', ' '))}), held by "
        f"{shown(leak.held_by, MOST_TEXT)}{kept}{left}\n  {shown(leak.advice, MOST_TEXT)}"
    )


def death_lines(found: "PostMortem", where: str) -> list[str]:
    """Return what a run died of, and what would have fitted."""
    death = found.death
    block = f" of {shown(death.block)}" if death.block else ""
    lines = [
        f"{where}out of memory in step {death.step + 1:,}, in the {death.phase}{block}: "
        f"{format_bytes(death.asked_bytes)} were asked for, "
        f"{format_bytes(death.limit_bytes)} is what the run could have"
    ]
    if death.reserved_bytes:
        unused = death.reserved_bytes - death.live_bytes
        lines.append(f"  the allocator held {format_bytes(unused)} that no tensor lay in")
    if found.reason:
        return [*lines, f"  no advice: {shown(found.reason, MOST_TEXT)}"]
    fits = [each for each in found.changes if each.fits]
    lines.append("  would have fitted:" if fits else "  nothing alone would have fitted; the nearest:")
    for each in fits or found.changes:
        slower = f"about {100 * each.slower:.0f} % slower" if each.slower >= 0.005 else "no slower"
        lines.append(f"    {' and '.join(each.changes)}: {format_bytes(each.needed_bytes)}, {slower}")
    return lines


def rank_lines(run: "WatchedRun") -> list[str]:
    """Return a line a rank."""
    table = [("rank", "steps", "peak", "highest by counter", "ended")]
    for rank in run.ranks:
        table.append(
            (
                str(rank.run.start.rank),
                f"{rank.num_steps:,}",
                size(rank.peak.peak_bytes if rank.peak else None),
                format_bytes(rank.highest_bytes),
                shown(rank.end.how) if rank.end else "-",
            )
        )
    return columns(table, frozenset({0, 1, 2, 3}))


def comparison_text(first: "WatchedRun", second: "WatchedRun") -> str:
    """Return two runs side by side: what they held at their peaks, what grew, where the time went."""
    one, two = first.worst, second.worst
    names = (shown(first.name), shown(second.name))
    table = [("", *names, "difference")]
    ours, theirs = (rank.peak.by_category if rank.peak else {} for rank in (one, two))
    pairs = [(name, ours.get(name, 0), theirs.get(name, 0)) for name in dict.fromkeys((*ours, *theirs))]
    highest = [rank.peak.peak_bytes if rank.peak else rank.highest_bytes for rank in (one, two)]
    pairs.append(("peak", highest[0], highest[1]))
    grown = [sum(leak.bytes_per_step for leak in rank.leaks) for rank in (one, two)]
    pairs.append(("growth a step", grown[0], grown[1]))
    for name, left, right in pairs:
        table.append((name, format_bytes(left), format_bytes(right), signed(right - left)))
    times = [
        sum(rank.seconds().values()) / max(sum(step.num for step in rank.steps), 1) for rank in (one, two)
    ]
    table.append(("seconds a step", f"{times[0]:.3f}", f"{times[1]:.3f}", f"{times[1] - times[0]:+.3f}"))
    return "\n".join(columns(table, frozenset({1, 2, 3})))


def signed(num_bytes: int) -> str:
    """Return a difference with its sign.

    >>> signed(2048), signed(-1), signed(0)
    ('+2.00 KiB', '-1 B', '0 B')
    """
    return f"+{format_bytes(num_bytes)}" if num_bytes > 0 else format_bytes(num_bytes)


def budget_line(found: "BudgetKept") -> str:
    """Return what a command took beside its budget."""
    verdict = "over" if found.is_over else "within"
    return (
        f"oomless: took {format_bytes(found.taken.num_bytes)} of the {found.taken.where}, "
        f"{verdict} the budget of {format_bytes(found.budget_bytes)}"
    )
