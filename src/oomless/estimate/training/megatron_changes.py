"""What would make a Megatron-LM run fit, in its own arguments, and the largest batch and length that do."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from ...errors import OomlessError
from ...frameworks.megatron.run import Megatron
from ...kept import tried
from ..serving.changes import Change
from .megatron import device_of, estimate_megatron
from .training_estimate import TrainingEstimate


def changes(estimate: TrainingEstimate) -> tuple[Change, ...]:
    """Every single change after which the verdict is `fits`: what costs time first."""
    found = []
    for text, run in _candidates(estimate):
        other = _again(estimate, run)
        if other is not None and other.verdict == "fits":
            found.append(Change(text, other.headroom_bytes - estimate.headroom_bytes, other.headroom_bytes))
    return tuple(found)


def _candidates(estimate: TrainingEstimate) -> Iterator[tuple[str, Megatron]]:
    run = estimate.megatron
    assert run is not None
    if run.recompute != "full":
        again = run._replace(
            recompute="full", recompute_method="uniform", recompute_layers=1, recompute_modules=(), offload=()
        )
        yield "--recompute-granularity full --recompute-method uniform --recompute-num-layers 1", again
    if not run.distributed and run.dp * run.cp > 1:
        yield "--use-distributed-optimizer", run._replace(distributed=True)
    if run.tp > 1 and not run.sequence_parallel:
        yield "--sequence-parallel", run._replace(sequence_parallel=True)
    if run.fused_loss:
        yield "without --cross-entropy-loss-fusion", run._replace(fused_loss=False)
    if run.micro_batch > 1:
        batch = _largest(estimate, "micro_batch", run.micro_batch - 1)
        if batch:
            yield f"--micro-batch-size {batch}", run._replace(micro_batch=batch)
    length = _largest(estimate, "seq_len", run.seq_len - 1)
    if length:
        yield f"--seq-length {length}", _of_length(run, length)


class Most(NamedTuple):
    """The largest values that fit; 0 if none does."""

    micro_batch: int
    seq_len: int


def most(estimate: TrainingEstimate) -> Most:
    """The largest micro-batch and the longest sequence that fit, each with everything else as it is."""
    assert estimate.megatron is not None
    longest = max(estimate.megatron.seq_len, 8 * estimate.megatron.max_positions)
    return Most(_largest(estimate, "micro_batch", 1024), _largest(estimate, "seq_len", longest))


def _largest(estimate: TrainingEstimate, field: Literal["micro_batch", "seq_len"], top: int) -> int:
    """By halving, to about 1 %; lengths in steps that context and sequence parallelism divide."""
    run = estimate.megatron
    assert run is not None
    step = 2 * run.cp * (run.tp if run.sequence_parallel else 1) * 64 if field == "seq_len" else 1
    low, high = 0, top // step + 1
    while high - low > max(1, low // 128):
        middle = (low + high) // 2
        value = middle * step
        other = _again(
            estimate, run._replace(micro_batch=value) if field == "micro_batch" else _of_length(run, value)
        )
        low, high = (middle, high) if other is not None and other.verdict == "fits" else (low, middle)
    return low * step


def _of_length(run: Megatron, length: int) -> Megatron:
    return run._replace(seq_len=length, decoder_seq_len=length if run.family != "t5" else run.decoder_seq_len)


def _again(estimate: TrainingEstimate, run: Megatron) -> TrainingEstimate | None:
    return tried(("again", run), lambda: _answered(estimate, run))


def _answered(estimate: TrainingEstimate, run: Megatron) -> TrainingEstimate | None:
    device = device_of(estimate.hardware)._replace(expandable=estimate.request.expandable_segments)
    try:
        return estimate_megatron(run, estimate.hardware, device, estimate.request.reserve)
    except OomlessError:
        return None
