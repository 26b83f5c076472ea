"""When training does not fit, or is tight: single changes that would make it fit, and the largest batch and
length that do."""

from collections.abc import Iterator
from itertools import islice
from typing import Literal, NamedTuple

from ...frameworks import framework
from ...run.cards import Hardware
from ...run.training import TrainingAsked, recipe
from ..serving.changes import Change
from .several_changes import change, more_cards, of_several, room, to_the_host
from .training_estimate import TrainingEstimate

OF_LABELS = ("pretrain", "sft")
"""Tasks whose loss a fused kernel computes."""


class Largest(NamedTuple):
    """The largest values that fit, everything else as asked; 0 if none does."""

    micro_batch: int
    seq_len: int


def changes_that_fit(estimate: TrainingEstimate) -> tuple[Change, ...]:
    """Every single change after which the verdict is `fits`: what costs time first, what changes the training
    last; of more cards the least. Where none alone does, the fewest together."""
    if estimate.verdict == "fits":
        return ()
    if estimate.megatron is not None:
        from .megatron_changes import changes

        return changes(estimate)
    found = [made for each in _candidates(estimate) if (made := change(estimate, *each))]
    alone = {each.flags for each in found}
    wider = (
        each for each in more_cards(estimate, estimate.asked) if each[0].partition(" on ")[0] not in alone
    )
    more = (made for each in wider if (made := change(estimate, *each)))
    return (*found, *islice(more, 1)) or of_several(estimate)


def _candidates(estimate: TrainingEstimate) -> Iterator[tuple[str, TrainingAsked, Hardware]]:
    used, asked, hardware = estimate.request, estimate.asked, estimate.hardware
    mesh = estimate.mesh
    if used.recompute != "full":
        yield "--recompute full", asked._replace(recompute="full", recompute_modules=()), hardware
    if used.loss == "plain" and used.task in OF_LABELS:
        yield "--loss fused", asked._replace(loss="fused"), hardware
    if asked.micro_batch > 1:
        batch = _search(estimate, "micro_batch", asked.micro_batch - 1)
        if batch:
            yield f"--micro-batch {batch}", asked._replace(micro_batch=batch), hardware
    length = _search(estimate, "seq_len", used.seq_len - 1)
    if length:
        yield f"--seq-len {length}", asked._replace(seq_len=length), hardware
    ranks = mesh.dp * mesh.cp
    if ranks > 1:
        for stage in (1, 2, 3):
            sharding: Literal["zero1", "zero2", "zero3"] = ("zero1", "zero2", "zero3")[stage - 1]
            if used.sharding in ("none", "ddp") or (
                used.sharding in ("zero1", "zero2") and sharding > used.sharding
            ):
                yield f"--zero {stage}", asked._replace(sharding=sharding), hardware
    form = recipe(used.precision)
    if form.name != "bf16" and not framework(used.framework).megatron_core:
        yield "--precision bf16", asked._replace(precision="bf16"), hardware
    if used.optimizer.startswith("adamw") and "8bit" not in used.optimizer:
        yield "--optimizer adamw-8bit", asked._replace(optimizer="adamw-8bit"), hardware
    for flags, fields in to_the_host(estimate):
        yield flags, asked._replace(**fields), hardware
    if used.method == "full":
        yield "--method lora", asked._replace(method="lora", optimizer=None, precision=None), hardware
    if used.method != "qlora":
        yield "--method qlora", asked._replace(method="qlora", optimizer=None, precision=None), hardware


def largest(estimate: TrainingEstimate) -> Largest:
    """The largest micro-batch and the longest sequence that fit, by doubling and halving to about 1 %.

    Lengths beyond what the model was made for are not offered.
    """
    if estimate.megatron is not None:
        from .megatron_changes import most

        return Largest(*most(estimate))
    return Largest(
        _grow(estimate, "micro_batch", 4096),
        _grow(estimate, "seq_len", max(estimate.model.max_positions, estimate.request.seq_len)),
    )


def _fits(estimate: TrainingEstimate, field: Literal["micro_batch", "seq_len"], value: int) -> bool:
    asked = (
        estimate.asked._replace(micro_batch=value)
        if field == "micro_batch"
        else estimate.asked._replace(seq_len=value)
    )
    return room(estimate, asked, estimate.hardware) is not None


def _grow(estimate: TrainingEstimate, field: Literal["micro_batch", "seq_len"], most: int) -> int:
    """Double from what was asked while it fits, then search between."""
    start = estimate.asked.micro_batch if field == "micro_batch" else estimate.request.seq_len
    if not _fits(estimate, field, start):
        return _search(estimate, field, start - 1)
    low = start
    while low < most and _fits(estimate, field, min(2 * low, most)):
        low = min(2 * low, most)
    return low if low >= most else _search(estimate, field, min(2 * low, most), low)


def _search(
    estimate: TrainingEstimate, field: Literal["micro_batch", "seq_len"], most: int, least: int = 0
) -> int:
    """The largest value between `least`, which fits or is 0, and `most`; lengths in steps of 64 and of the
    context-parallel size."""
    low, high = least, most + 1
    step = 64 * estimate.mesh.cp if field == "seq_len" and most >= 128 * estimate.mesh.cp else 1
    while high - low > max(step, low // 128):
        middle = (low + high) // 2
        middle -= middle % step if middle > step else 0
        if middle <= low:
            break
        low, high = (middle, high) if _fits(estimate, field, middle) else (low, middle)
    return low
