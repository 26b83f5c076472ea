"""A training answer on one plain screen."""

from typing import TYPE_CHECKING

from ..units import format_bytes, gib
from .screen import (
    COLUMNS,
    aligned,
    cut_to_screen,
    parameters_of,
    rate_of,
    seconds,
    table_rows,
    verdict_of,
    widest_of,
)

if TYPE_CHECKING:
    from .training_answer import TrainingAnswer


def verdict_line(answer: "TrainingAnswer") -> str:
    """Return fits, tight or does not fit, by how much, on which rank."""
    mesh = answer.mesh
    sizes = zip(("DP", "TP", "PP", "CP", "EP"), (mesh.dp, mesh.tp, mesh.pp, mesh.cp, mesh.ep), strict=True)
    how = ", ".join(f"{axis} {size}" for axis, size in sizes if size > 1)
    return (
        f"{verdict_of(answer.ledger)} ({mesh.num_ranks} x "
        f"{answer.hardware.card.name}{', ' + how if how else ''})"
    )


def question_line(answer: "TrainingAnswer") -> str:
    """Return what was asked, in one line."""
    model, request = answer.model, answer.request
    billions = parameters_of(model)
    method = (
        request.method
        if request.method == "full"
        else f"{request.method} r{request.lora_rank} on {'+'.join(request.lora_targets)}"
    )
    again = f"recompute {request.recompute}"
    if request.recompute == "selective":
        again += f" ({', '.join(request.recompute_modules)})"
    sharding = "no sharding" if request.sharding == "none" else request.sharding
    precision = request.precision
    if request.products == "fp8" != precision:  # what is kept has one type, what is multiplied another
        precision = f"{precision} with products in fp8"
    return (
        f"{model.name}, {billions}, {method}, {precision}, {request.optimizer}, "
        f"{sharding}, {again}, "
        f"{request.loss} loss, {request.framework}, {request.micro_batch} x "
        f"{request.seq_len:,} tokens a micro-batch"
    )


def speed_lines(answer: "TrainingAnswer") -> list[str]:
    """Return how long a step takes, or why that is not known; nothing of what does not fit."""
    speed, reason = answer.speed
    if speed is None:
        return [] if answer.verdict == "does_not_fit" else [f"how long a step takes is not known: {reason}"]
    step, rate = speed.step_s, speed.tokens_per_s
    least, most = ("at least ", "at most ") if step.kind == "bound" else ("", "")
    return [
        f"a step takes {least}{seconds(step.value)} ({seconds(step.low)} to "
        f"{seconds(step.high)}, {step.kind}): "
        f"{most}{rate_of(rate.value)} tokens/s, {speed.mfu.value:.0%} of the peak",
        *(f"note: {warning}" for warning in speed.warnings),
    ]


def peak_line(answer: "TrainingAnswer") -> str:
    """Return the three peaks of the worst rank, and when they are."""
    peaks = answer.peaks
    return (
        f"allocated {gib(peaks.allocated_bytes):.2f}, reserved {gib(peaks.reserved_bytes):.2f}, "
        f"on the device {gib(peaks.device_bytes):.2f} GiB; the peak is in the {peaks.phase}, {peaks.moment}; "
        f"between steps {gib(answer.groups[answer.worst_rank].steady_bytes):.2f} GiB"
    )


def communication_lines(answer: "TrainingAnswer") -> list[str]:
    """Return what the busiest rank sends in a step, by axis, and what is known of layouts of two axes."""
    if not answer.communication:
        return []
    from ..estimate.training.traffic import busiest, by_axis, two_dimensional

    shown = "; ".join(
        f"{each.axis} {format_bytes(each.sent_bytes)} ({', '.join(each.collectives)})"
        for each in by_axis(busiest(answer.communication))
    )
    sentence = two_dimensional(answer.model, answer.request, answer.mesh)
    return [
        *([f"a rank sends in a step: {shown}"] if shown else []),
        *([f"note: {sentence}"] if sentence else []),
    ]


def no_change_lines(answer: "TrainingAnswer") -> list[str]:
    """Return where to look on, where nothing that is tried makes it fit."""
    if answer.verdict != "does_not_fit" or answer.changes or answer.estimate.megatron is not None:
        return []
    return ["no flags and no more of these cards help: `oomless plan MODEL --for train` names what holds it"]


def training_screen(answer: "TrainingAnswer") -> list[str]:
    """Return a training answer as lines: verdict, question, the worst rank's memory at the peak, the time of
    a step, what would help, notes."""
    return cut_to_screen(
        [
            verdict_line(answer),
            *filter(None, (widest_of(answer.ledger), question_line(answer))),
            "",
            *aligned([COLUMNS, *table_rows(answer.ledger)]),
            "",
            peak_line(answer),
            *speed_lines(answer),
            f"disk: {format_bytes(answer.disk_bytes)} a saved checkpoint",
            *(f"would fit with {change.flags}" for change in answer.changes),
            *no_change_lines(answer),
            *(f"note: {note}" for note in answer.warnings),
        ]
    )
