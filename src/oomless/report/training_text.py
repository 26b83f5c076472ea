"""A training estimate for people: verdict first, then where the memory goes at the peak, then the phases and
what else would fit."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from ..api.screen import WORDS, widest_of
from ..api.training_answer import TrainingAnswer
from ..api.training_screen import (
    communication_lines,
    no_change_lines,
    peak_line,
    question_line,
    speed_lines,
    verdict_line,
)
from ..estimate.training.changes import Largest
from ..estimate.training.rank_group import RankGroup
from ..ledger import CATEGORIES
from ..run.training import TrainingResolved
from ..units import format_bytes, gib
from .estimate_text import (
    Bar,
    open_console,
    print_barred,
    print_comparison_table,
    print_lines,
    rank_table,
)


def most_line(answer: TrainingAnswer, most: Largest) -> str:
    """The largest micro-batch and the longest sequences that fit, or that one of them, or none, does."""
    if most.micro_batch:
        return f"largest that fits: micro-batch {most.micro_batch:,}, or sequences of {most.seq_len:,}"
    if most.seq_len:
        return f"no micro-batch of this length fits, and sequences of {most.seq_len:,} do"
    if answer.verdict == "tight":
        return "no micro-batch and no length surely fits"
    return "no micro-batch and no length fits: what a step holds at any length is too much"


def print_training(answer: TrainingAnswer, explain: str | None, colour: bool, width: int | None) -> None:
    """The whole answer on stdout."""
    console = open_console(colour, width)
    style = {"fits": "bold green", "tight": "bold yellow", "does_not_fit": "bold red"}[answer.verdict]
    console.print(verdict_line(answer), style=style if colour else None, soft_wrap=True)
    for line in filter(None, (widest_of(answer.ledger), question_line(answer))):
        console.print(line, soft_wrap=True)
    console.print()
    for index, group in enumerate(answer.groups):
        if index not in (0, answer.worst_rank, len(answer.groups) - 1):
            continue
        mark = "  <- the worst" if len(answer.groups) > 1 and index == answer.worst_rank else ""
        print_barred(console, partial(rank_table, group.ledger, mark))
    if len(answer.groups) > 3:
        others = [gib(group.peaks.device_bytes) for group in answer.groups]
        console.print(f"{len(others)} stages take {min(others):.2f} to {max(others):.2f} GiB", soft_wrap=True)
    print_barred(console, partial(phase_table, answer.groups[answer.worst_rank]))
    console.print(peak_line(answer), soft_wrap=True)
    most = answer.largest
    for line in speed_lines(answer):
        console.print(line, soft_wrap=True)
    if most is not None:
        console.print(most_line(answer, most), soft_wrap=True)
    if answer.ram_bytes:
        console.print(
            f"host memory: {format_bytes(answer.ram_bytes)} of {_in_host(answer.request)}, all ranks",
            soft_wrap=True,
        )
    console.print(f"disk: {format_bytes(answer.disk_bytes)} a saved checkpoint", soft_wrap=True)
    if answer.after is not None:
        print_moments(console, answer)
    for line in communication_lines(answer):
        console.print(line, soft_wrap=True)
    if answer.origin is not None:
        file = answer.origin
        console.print(f"{file.path} ({file.framework}) says: {'; '.join(file.read)}", soft_wrap=True)
        console.print(f"it leaves out, so {file.framework} takes: {'; '.join(file.defaults)}", soft_wrap=True)
    for change in answer.changes:
        console.print(
            f"would fit with {change.flags}: {format_bytes(change.saved_bytes)} more headroom", soft_wrap=True
        )
    for line in no_change_lines(answer):
        console.print(line, soft_wrap=True)
    for warning in answer.warnings:
        console.print(f"note: {warning}", soft_wrap=True)
    if explain:
        console.print()
        print_lines(console, answer.ledger, explain)


def _in_host(request: TrainingResolved) -> str:
    """What lies in host memory, in words."""
    workers = f"{request.data_workers} data workers a rank" if request.data_workers else ""
    return (
        " and ".join(word for word in ("what is offloaded" if request.offload else "", workers) if word)
        or "what is offloaded"
    )


def print_moments(console: Any, estimate: TrainingAnswer) -> None:
    """A line for each moment of a step that generates, scores and updates."""
    assert estimate.after is not None
    for moment in estimate.after.moments:
        shown = ", ".join(
            f"{role} {format_bytes(num_bytes)}" for role, num_bytes in moment.ledger.by_owner().items()
        )
        mark = "  <- the peak" if moment is estimate.after.peak else ""
        console.print(
            f"{moment.name}: {format_bytes(moment.ledger.total_bytes)}, {WORDS[moment.ledger.verdict]}{mark}"
            + (f" ({shown})" if shown else ""),
            soft_wrap=True,
        )
    if (engine := estimate.after.engine) is not None:
        console.print(
            f"the engine's own cards: {format_bytes(engine.total_bytes)} of "
            f"{format_bytes(engine.capacity_bytes)}, {WORDS[engine.verdict]}",
            soft_wrap=True,
        )


def phase_table(group: RankGroup, bar: Bar) -> Any:
    """The worst moment of each phase: what is allocated then."""
    from rich.table import Table

    table = Table(
        title="allocated at the worst moments of a step", title_justify="left", box=None, pad_edge=False
    )
    table.add_column("phase")
    table.add_column("moment")
    table.add_column("GiB", justify="right")
    table.add_column("share of capacity", no_wrap=True)
    for phase in group.phases:
        total = sum(group.at(phase).values())
        table.add_row(phase.name, phase.moment, f"{gib(total):.2f}", bar(total, group.ledger.capacity_bytes))
    return table


def print_comparison(
    names: list[str], estimates: Sequence[TrainingAnswer], width: int | None, colour: bool
) -> None:
    """A table with a column for each variant, in GiB of its worst rank."""
    print_comparison_table(open_console(colour, width), names, comparison_rows(estimates))


def comparison_rows(estimates: Sequence[TrainingAnswer]) -> list[list[str]]:
    """The rows of the table as text."""
    rows = [["verdict", *(WORDS[estimate.verdict] for estimate in estimates)]]
    for category in CATEGORIES:
        if any(category in estimate.ledger.by_category() for estimate in estimates):
            rows.append(
                [
                    category,
                    *(f"{gib(estimate.ledger.by_category().get(category, 0)):.2f}" for estimate in estimates),
                ]
            )
    rows.append(["total", *(f"{gib(estimate.ledger.total_bytes):.2f}" for estimate in estimates)])
    rows.append(["capacity", *(f"{gib(estimate.ledger.capacity_bytes):.2f}" for estimate in estimates)])
    rows.append(["headroom", *(f"{gib(estimate.headroom_bytes):.2f}" for estimate in estimates)])
    rows.append(["allocated", *(f"{gib(estimate.peaks.allocated_bytes):.2f}" for estimate in estimates)])
    rows.append(["reserved", *(f"{gib(estimate.peaks.reserved_bytes):.2f}" for estimate in estimates)])
    rows.append(["peak in", *(estimate.peaks.phase for estimate in estimates)])
    return rows
