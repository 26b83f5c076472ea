"""A prediction beside what was watched: by the same keys."""

from collections.abc import Iterable

from ..ledger import Category, Kind, Line, Observed, category_of
from ..units import format_bytes
from .entries import FirstLook, RunStart, SampledStep

OUTSIDE = ("runtime", "fragmentation")
"""What no allocator's event is of: the context of the process, and what the allocator keeps."""
ON_A_CARD = ("runtime.cublas",)
"""What the allocator of a card holds beside a step's own tensors, and a CPU's does not: workspaces."""
ASSUMED: Kind = "assumed"


def is_card(device: str) -> bool:
    """Return whether a device of torch has memory of its own.

    >>> is_card("cuda:0"), is_card("cpu")
    (True, False)
    """
    return not device.startswith("cpu")


def counted(lines: Iterable[Line], device: str) -> tuple[Line, ...]:
    """Return the lines that events of a device's allocator can show."""
    of_card = is_card(device)
    return tuple(
        line for line in lines if (of_card if line.key in ON_A_CARD else category_of(line.key) not in OUTSIDE)
    )


def first_look(lines: Iterable[Line], step: int, peak_bytes: int, device: str) -> FirstLook:
    """Return the peak of the first steps beside the sum of the lines that it can show."""
    found = counted(lines, device)
    return FirstLook(
        step,
        peak_bytes,
        sum(line.bytes for line in found),
        sum(line.low_bytes for line in found),
        sum(line.high_bytes for line in found),
    )


def look_text(look: FirstLook) -> str:
    """Return the line that stands beside the prediction after the first steps.

    >>> look_text(FirstLook(2, 23 << 30, 22 << 30, 21 << 30, 24 << 30))
    'after 2 steps: 23.00 GiB, predicted 22.00 GiB (21.00 GiB to 24.00 GiB)'
    """
    measured, predicted, low, high = (
        format_bytes(each)
        for each in (look.measured_bytes, look.predicted_bytes, look.low_bytes, look.high_bytes)
    )
    return f"after {look.step} steps: {measured}, predicted {predicted} ({low} to {high})"


def as_entries(lines: Iterable[Line]) -> tuple[tuple[str, str, int, int, int], ...]:
    """Return lines as a journal keeps them."""
    return tuple((line.key, line.owner, line.bytes, line.low_bytes, line.high_bytes) for line in lines)


def predicted_lines(start: RunStart) -> tuple[Line, ...]:
    """Return the lines that a journal kept."""
    return tuple(
        Line(key, owner, category_of(key), key, num_bytes, low, high, ASSUMED, "", "the run's own prediction")  # type: ignore[arg-type]  # words of a file: one that is no key is compared with nothing
        for key, owner, num_bytes, low, high in start.predicted
    )


def observed(sample: SampledStep, rank: int, lines: Iterable[Line]) -> tuple[Observed, ...]:
    """Return a sample's categories; those that were predicted alone, with 0; its peak last, as the total."""
    source = f"sampled step {sample.step}"
    names = dict.fromkeys((*sample.by_category, *(line.category for line in lines)))
    found = [
        Observed(name, sample.by_category.get(name, 0), source, rank=rank, step=sample.step) for name in names
    ]
    return (*found, Observed("total", sample.peak_bytes, source, rank=rank, step=sample.step))


def category_sums(entries: Iterable[tuple[str, str, int, int, int]]) -> tuple[tuple[Category, int], ...]:
    """Return what was predicted of each category that an allocator's events can show.

    >>> category_sums([("weights.layers", "layers", 7, 7, 7), ("runtime.context", "process", 9, 9, 9)])
    (('weights', 7),)
    """
    sums: dict[Category, int] = {}
    for key, _, num_bytes, _, _ in entries:
        category = category_of(key)  # type: ignore[arg-type]  # words of a file
        if category not in OUTSIDE:
            sums[category] = sums.get(category, 0) + num_bytes
    return tuple(sums.items())
