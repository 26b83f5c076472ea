"""When training does not fit, or is tight: single changes that would make it fit, and the largest batch and
length that do."""

from collections.abc import Iterator
from itertools import islice
from typing import Literal, NamedTuple

from ...errors import OomlessError
from ...frameworks import framework
from ...kept import tried
from ...run.cards import Hardware
from ...run.training import TrainingAsked, recipe
from ..serving.changes import Change
from .training_estimate import TrainingEstimate
from .whole_step import estimate_step

OF_LABELS = ("pretrain", "sft")
"""Tasks whose loss a fused kernel computes."""


class Largest(NamedTuple):
    """The largest values that fit, everything else as asked; 0 if none does."""

    micro_batch: int
    seq_len: int


def changes_that_fit(estimate: TrainingEstimate) -> tuple[Change, ...]:
    """Every single change after which the verdict is `fits`: what costs time first, what changes the training
    last; of more cards the least."""
    if estimate.verdict == "fits":
        return ()
    if estimate.megatron is not None:
        from .megatron_changes import changes

        return changes(estimate)
    found = [change for each in _candidates(estimate) if (change := _change(estimate, *each))]
    more = (change for each in _more_cards(estimate) if (change := _change(estimate, *each)))
    return (*found, *islice(more, 1))


def _change(estimate: TrainingEstimate, text: str, asked: TrainingAsked, hardware: Hardware) -> Change | None:
    """Return a change that fits and leaves more than there is now; None: it does not, or is only surer."""
    room = _room(estimate, asked, hardware)
    if room is None or room <= estimate.headroom_bytes:
        return None
    return Change(text, room - estimate.headroom_bytes, room)


def _room(estimate: TrainingEstimate, asked: TrainingAsked, hardware: Hardware) -> int | None:
    """Return the headroom in bytes of another question about the same model; None where it does not fit."""

    def answered() -> int | None:
        try:
            other = estimate_step(estimate.model, asked, hardware, estimate.companions)
        except OomlessError:
            return None
        return other.headroom_bytes if other.verdict == "fits" else None

    return tried((asked, hardware), answered)


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
    if "optimizer" not in used.offload:
        yield "--offload optimizer", asked._replace(offload=(*used.offload, "optimizer")), hardware
    if used.method == "full":
        yield "--method lora", asked._replace(method="lora", optimizer=None, precision=None), hardware
    if used.method != "qlora":
        yield "--method qlora", asked._replace(method="qlora", optimizer=None, precision=None), hardware


def _more_cards(estimate: TrainingEstimate) -> Iterator[tuple[str, TrainingAsked, Hardware]]:
    """Yield two, four and eight times the cards, over which FSDP cuts the states."""
    asked, hardware = estimate.asked, estimate.hardware
    for factor in (2, 4, 8):
        more = hardware._replace(num_gpus=hardware.num_gpus * factor)
        more = more._replace(per_node=max(more.per_node, min(more.num_gpus, more.card.gpus_per_node)))
        wide = estimate.mesh._replace(dp=0)
        yield f"--fsdp on {more.num_gpus} cards", asked._replace(sharding="fsdp2", mesh=wide), more


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
    return _room(estimate, asked, estimate.hardware) is not None


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
