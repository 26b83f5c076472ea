"""A training estimate for people: verdict first, then where the memory goes at the peak, then the phases and
what else would fit."""

from functools import partial
from typing import Any

from ..estimate.training.changes import Largest
from ..estimate.training.rank_group import RankGroup
from ..estimate.training.training_estimate import TrainingEstimate
from ..ledger import CATEGORIES
from ..run.training import TrainingResolved
from ..units import format_bytes, gib
from .estimate_text import (
    WORDS,
    Bar,
    open_console,
    parameters_of,
    print_barred,
    print_lines,
    print_table,
    rank_table,
    verdict_of,
)


def verdict_line(estimate: TrainingEstimate) -> str:
    """fits / tight / does not fit, by how much, on which rank."""
    mesh = estimate.mesh
    sizes = zip(("DP", "TP", "PP", "CP", "EP"), (mesh.dp, mesh.tp, mesh.pp, mesh.cp, mesh.ep), strict=True)
    how = ", ".join(f"{axis} {size}" for axis, size in sizes if size > 1)
    return (
        f"{verdict_of(estimate.ledger)} ({mesh.num_ranks} x "
        f"{estimate.hardware.card.name}{', ' + how if how else ''})"
    )


def question_line(estimate: TrainingEstimate) -> str:
    """What was asked, in one line."""
    model, request = estimate.model, estimate.request
    billions = parameters_of(model)
    method = (
        request.method
        if request.method == "full"
        else f"{request.method} r{request.lora_rank} on {', '.join(request.lora_targets)}"
    )
    again = f"recompute {request.recompute}"
    if request.recompute == "selective":
        again += f" ({', '.join(request.recompute_modules)})"
    return (
        f"{model.name}, {billions}, {method}, {request.precision}, {request.optimizer}, "
        f"{request.sharding}, {again}, "
        f"{request.loss} loss, {request.framework}, {request.micro_batch} x "
        f"{request.seq_len:,} tokens a micro-batch"
    )


def speed_lines(estimate: TrainingEstimate) -> list[str]:
    """How long a step takes, or why that is not known; nothing of what does not fit."""
    from ..speed.training import speed_of_estimate
    from .plan_text import rate_of, seconds

    speed, reason = speed_of_estimate(estimate)
    if speed is None:
        return [] if estimate.verdict == "does_not_fit" else [f"how long a step takes is not known: {reason}"]
    step, rate = speed.step_s, speed.tokens_per_s
    least, most = ("at least ", "at most ") if step.kind == "bound" else ("", "")
    return [
        f"a step takes {least}{seconds(step.value)} ({seconds(step.low)} to "
        f"{seconds(step.high)}, {step.kind}): "
        f"{most}{rate_of(rate.value)} tokens/s, {speed.mfu.value:.0%} of the peak",
        *(f"note: {warning}" for warning in speed.warnings),
    ]


def print_training(
    estimate: TrainingEstimate, most: Largest | None, explain: str | None, colour: bool, width: int | None
) -> None:
    """The whole answer on stdout."""
    console = open_console(colour, width)
    style = {"fits": "bold green", "tight": "bold yellow", "does_not_fit": "bold red"}[estimate.verdict]
    console.print(verdict_line(estimate), style=style if colour else None, soft_wrap=True)
    console.print(question_line(estimate), soft_wrap=True)
    console.print()
    for index, group in enumerate(estimate.groups):
        if index not in (0, estimate.worst_rank, len(estimate.groups) - 1):
            continue
        mark = "  <- the worst" if len(estimate.groups) > 1 and index == estimate.worst_rank else ""
        print_barred(console, partial(rank_table, group.ledger, mark))
    if len(estimate.groups) > 3:
        others = [gib(group.peaks.device_bytes) for group in estimate.groups]
        console.print(f"{len(others)} stages take {min(others):.2f} to {max(others):.2f} GiB", soft_wrap=True)
    print_barred(console, partial(phase_table, estimate.groups[estimate.worst_rank]))
    peaks = estimate.peaks
    console.print(
        f"allocated {gib(peaks.allocated_bytes):.2f}, reserved {gib(peaks.reserved_bytes):.2f}, "
        f"on the device {gib(peaks.device_bytes):.2f} GiB; the peak is in the {peaks.phase}, {peaks.moment}; "
        f"between steps {gib(estimate.groups[estimate.worst_rank].steady_bytes):.2f} GiB",
        soft_wrap=True,
    )
    for line in speed_lines(estimate):
        console.print(line, soft_wrap=True)
    if most is not None and not (most.micro_batch or most.seq_len):
        console.print(
            "no micro-batch and no length fits: what lies there between steps is too much", soft_wrap=True
        )
    elif most is not None:
        console.print(
            f"largest that fits: micro-batch {most.micro_batch:,}, or sequences of {most.seq_len:,}",
            soft_wrap=True,
        )
    if estimate.ram_bytes:
        console.print(
            f"host memory: {format_bytes(estimate.ram_bytes)} of {_in_host(estimate.request)}, all ranks",
            soft_wrap=True,
        )
    console.print(f"disk: {format_bytes(estimate.disk_bytes)} a saved checkpoint", soft_wrap=True)
    if estimate.after is not None:
        print_moments(console, estimate)
    if estimate.mesh.num_ranks > 1:
        print_communication(console, estimate)
    if estimate.origin is not None:
        file = estimate.origin
        console.print(f"{file.path} ({file.framework}) says: {'; '.join(file.read)}", soft_wrap=True)
        console.print(f"it leaves out, so {file.framework} takes: {'; '.join(file.defaults)}", soft_wrap=True)
    from ..estimate.training.changes import changes_that_fit

    for change in changes_that_fit(estimate):
        console.print(
            f"would fit with {change.flag}: {format_bytes(change.saved_bytes)} more headroom", soft_wrap=True
        )
    for warning in estimate.warnings:
        console.print(f"note: {warning}", soft_wrap=True)
    if explain:
        console.print()
        print_lines(console, estimate.ledger, explain)


def _in_host(request: TrainingResolved) -> str:
    """What lies in host memory, in words."""
    workers = f"{request.data_workers} data workers a rank" if request.data_workers else ""
    return (
        " and ".join(word for word in ("what is offloaded" if request.offload else "", workers) if word)
        or "what is offloaded"
    )


def print_moments(console: Any, estimate: TrainingEstimate) -> None:
    """A line for each moment of a step that generates, scores and updates."""
    from ..estimate.training.post_training import roles

    assert estimate.after is not None
    for moment in estimate.after.moments:
        shown = ", ".join(
            f"{role} {format_bytes(num_bytes)}" for role, num_bytes in roles(moment.ledger).items()
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


def print_communication(console: Any, estimate: TrainingEstimate) -> None:
    """What the busiest rank sends in a step, a line an axis."""
    from ..estimate.training.traffic import busiest, by_axis, known, traffic, two_dimensional

    if not known(estimate.model):
        return
    stage = busiest(traffic(estimate.model, estimate.request, estimate.mesh.num_ranks))
    shown = "; ".join(
        f"{each.axis} {format_bytes(each.sent_bytes)} ({', '.join(each.collectives)})"
        for each in by_axis(stage)
    )
    if shown:
        console.print(f"a rank sends in a step: {shown}", soft_wrap=True)
    if sentence := two_dimensional(estimate.model, estimate.request, estimate.mesh):
        console.print(f"note: {sentence}", soft_wrap=True)


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
    names: list[str], estimates: list[TrainingEstimate], width: int | None, colour: bool
) -> None:
    """A table with a column for each variant, in GiB of its worst rank."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("worst rank, GiB")
    for name in names:
        table.add_column(name, justify="right")
    for row in comparison_rows(estimates):
        table.add_row(*row)
    print_table(open_console(colour, width), table)


def comparison_rows(estimates: list[TrainingEstimate]) -> list[list[str]]:
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
