"""What would have fitted: the recorded step with each change, replayed against the limit that it met."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import NamedTuple

from ..recording.replay import smallest_capacity
from ..run.allocator import AllocatorSettings
from .changed_steps import Events, recomputed, with_micro_batches, without_states
from .recorded_step import STATE, RecordedStep

MARGIN, MARGIN_OF_COMPLETED = 1.02, 1.1
"""A change is promised to fit if this times its need does: sizes are rounded, and no step is like another to
the byte; of a step that was completed by analogy, less is known."""
MOST_PARTS = 64
HOST_BYTES_PER_S = 20e9
"""Between card and host, over PCIe 4 with 16 lanes at two thirds of its rate."""
MICRO_BATCH_SLOWER = 0.03
"""Of each halving of the micro-batch, while a card is still busy: smaller matrix products."""


class Course(NamedTuple):
    """How long a step and its forward take, on the average of the run."""

    step_s: float
    forward_s: float


class Fitting(NamedTuple):
    """A change and what it would have needed."""

    changes: tuple[str, ...]
    """In words that a training script is changed by."""
    needed_bytes: int
    fits: bool
    slower: float
    """Share of a step's time that it costs."""


class Case(NamedTuple):
    """The step that met the limit."""

    step: RecordedStep
    growth: Fraction
    """Of its batch against the recorded one."""
    sequences: int
    """Of its micro-batch."""
    limit_bytes: int
    on_card: bool
    settings: AllocatorSettings
    course: Course
    parts: int = 1
    """Micro-batches that the batch is cut into."""
    is_completed: bool = False
    """The recorded step died: its rest is by analogy."""


Change = tuple[str, Callable[[Case], Case], float]


def advise(case: Case) -> tuple[Fitting, ...]:
    """Return single changes that would have fitted, the cheapest first; pairs where none alone would have;
    the nearest where none fits at all."""
    singles = [fitting(case, (change,)) for change in changes(case)]
    fit = [each for each in singles if each.fits]
    if not fit:
        fit = [each for pair in pairs(case) if (each := fitting(case, pair)).fits]
    if fit:
        return tuple(sorted(fewest(fit), key=lambda each: (each.slower, len(each.changes)))[:6])
    return tuple(sorted(singles, key=lambda each: each.needed_bytes)[:3])


def fewest(found: list[Fitting]) -> list[Fitting]:
    """Return the changes without those that say more of the same: of micro-batches, the largest that fits."""
    best: dict[tuple[str, ...], Fitting] = {}
    for each in found:
        name = tuple(word.partition(" ")[0] for word in each.changes)
        if name not in best or each.slower < best[name].slower:
            best[name] = each
    return list(best.values())


def changes(case: Case) -> list[Change]:
    """Return each change that can be made to this step, with what it costs."""
    found: list[Change] = []
    if case.on_card and not case.settings.expandable_segments:
        found.append(("PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True", with_expandable_segments, 0.0))
    parts, halvings = 2, 1
    while parts <= min(case.sequences, MOST_PARTS):
        smaller = f"micro-batch {case.sequences // parts} in place of {case.sequences}"
        words = f"{smaller}, gradients summed over {parts}"
        found.append((words, micro_batches(parts), MICRO_BATCH_SLOWER * halvings))
        parts, halvings = 2 * parts, halvings + 1
    if case.step.num_blocks:
        share = case.course.forward_s / case.course.step_s if case.course.step_s else 0.33
        found.append(("recompute each block (gradient checkpointing)", with_recomputation, share))
    states = sum(case.step.sizes[number] for number in case.step.base if case.step.kinds[number] == STATE)
    if case.on_card and states:
        seconds = 2 * states / HOST_BYTES_PER_S
        found.append(
            (
                "offload the optimizer's states to the host",
                with_states_on_host,
                seconds / case.course.step_s if case.course.step_s else 0.5,
            )
        )
    return found


def pairs(case: Case) -> Iterator[tuple[Change, Change]]:
    """Yield two changes of different kinds."""
    found = changes(case)
    for at, first in enumerate(found):
        for second in found[at + 1 :]:
            if first[0].partition(" ")[0] != second[0].partition(" ")[0]:
                yield first, second


def fitting(case: Case, chosen: tuple[Change, ...]) -> Fitting:
    """Return what a step needs with some changes. Recomputation is put in first: micro-batches repeat it."""
    changed = case
    for _, change, _ in sorted(chosen, key=lambda each: not each[0].startswith("recompute")):
        changed = change(changed)
    needed = need_of(changed)
    return Fitting(
        tuple(words for words, _, _ in chosen),
        needed,
        needed * (MARGIN_OF_COMPLETED if case.is_completed else MARGIN) <= case.limit_bytes,
        sum(slower for _, _, slower in chosen),
    )


def with_expandable_segments(case: Case) -> Case:
    """Return the case under an allocator whose segments grow."""
    return case._replace(settings=case.settings._replace(expandable_segments=True))


def micro_batches(parts: int) -> Callable[[Case], Case]:
    """Return the change into so many micro-batches."""
    return lambda case: case._replace(parts=parts)


def with_recomputation(case: Case) -> Case:
    """Return the case with each block checkpointed."""
    return case._replace(step=recomputed(case.step))


def with_states_on_host(case: Case) -> Case:
    """Return the case without the optimizer's states."""
    return case._replace(step=without_states(case.step))


def need_of(case: Case) -> int:
    """Return the smallest device on which the step runs: with the caching allocator on a card; on a CPU the
    most that is alive, since its allocator gives back what is freed."""
    written = with_micro_batches(case.step, case.parts, case.growth)
    if case.on_card:
        return smallest_capacity(written.events, written.sizes, case.settings)
    return most_alive(written)


def most_alive(events: Events) -> int:
    """Return the most bytes alive at once."""
    alive = highest = 0
    for event in events.events:
        alive += events.sizes[event] if event >= 0 else -events.sizes[~event]
        highest = max(highest, alive)
    return highest
