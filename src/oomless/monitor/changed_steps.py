"""A recorded step as it would have been with a smaller micro-batch, with recomputation, or with its states
elsewhere."""

from fractions import Fraction
from typing import NamedTuple

from ..recording.recording import ACTIVATION, Phase
from .recorded_step import BACKWARD, FORWARD, GRADIENT, OPTIMIZER, STATE, RecordedStep


class Events(NamedTuple):
    """What a replay takes."""

    sizes: list[int]
    events: list[int]


class Writer:
    """Writes events anew; a tensor that is written twice is two tensors."""

    def __init__(self, step: RecordedStep) -> None:
        self.step = step
        self.sizes: list[int] = []
        self.events: list[int] = []
        self.alive: dict[int, int] = {}
        """The new number of each old tensor that is alive."""

    def make(self, number: int, num_bytes: int | None = None) -> None:
        """Write that a tensor is made; one that is alive already is another's by now."""
        self.sizes.append(self.step.sizes[number] if num_bytes is None else num_bytes)
        self.alive[number] = len(self.sizes) - 1
        self.events.append(len(self.sizes) - 1)

    def free(self, number: int) -> None:
        """Write that a tensor is freed; nothing if it is not there."""
        new = self.alive.pop(number, None)
        if new is not None:
            self.events.append(~new)

    def done(self) -> Events:
        """Return what was written."""
        return Events(self.sizes, self.events)


def scaled(num_bytes: int, factor: Fraction) -> int:
    """Return a size times a factor, rounded up."""
    return -(-num_bytes * factor.numerator // factor.denominator)


def with_micro_batches(step: RecordedStep, parts: int, growth: Fraction = Fraction(1)) -> Events:
    """Return the step in `parts` micro-batches, whose gradients are summed: from the second on all gradients
    are there while a forward runs, and what a backward adds to them lives for a moment beside them."""
    writer, grows, phase = Writer(step), step.grows_with_batch(), step.phase_of()
    factor = growth / parts
    for number in step.base:
        writer.make(number)
    cut = next((at for at, name in enumerate(phase) if name == OPTIMIZER), len(phase))
    for part in range(parts):
        for event in step.events[:cut]:
            number = max(event, ~event)
            if event < 0:
                writer.free(number)
            elif part and step.kinds[number] == GRADIENT and number in writer.alive:
                writer.sizes.append(step.sizes[number])
                writer.events += [len(writer.sizes) - 1, ~(len(writer.sizes) - 1)]
            else:
                writer.make(number, scaled(step.sizes[number], factor) if grows[number] else None)
        if part < parts - 1:
            for number in [each for each in writer.alive if grows[each]]:
                writer.free(number)
    for event in step.events[cut:]:
        if event < 0:
            writer.free(~event)
        else:
            writer.make(event)
    return writer.done()


def without_states(step: RecordedStep) -> RecordedStep:
    """Return the step with the optimizer's states in host memory."""
    kept = [at for at, event in enumerate(step.events) if step.kinds[max(event, ~event)] != STATE]
    phase = step.phase_of()
    return step._replace(
        base=tuple(number for number in step.base if step.kinds[number] != STATE),
        events=tuple(step.events[at] for at in kept),
        phases=phases_of([phase[at] for at in kept]),
    )


def phases_of(names: list[str]) -> tuple[Phase, ...]:
    """Return the phases of events by the name of each."""
    found: list[Phase] = []
    for at, name in enumerate(names):
        if found and found[-1].name == name:
            found[-1] = found[-1]._replace(end_event=at + 1)
        else:
            found.append(Phase(name, 0, at, at + 1))
    return tuple(found)


def recomputed(step: RecordedStep) -> RecordedStep:
    """Return the step with each block checkpointed: of what a block keeps, only its output is kept, and its
    forward runs again when backward comes to it."""
    phase = step.phase_of()
    forward: dict[int, list[int]] = {}
    ends: dict[int, int] = {}
    for at, event in enumerate(step.events):
        number = max(event, ~event)
        block = step.blocks[number]
        if block >= 0 and phase[at] == FORWARD and event >= 0:
            ends[block] = at
    for at, event in enumerate(step.events):
        block = step.blocks[max(event, ~event)]
        if block >= 0 and phase[at] == FORWARD and at <= ends.get(block, -1):
            forward.setdefault(block, []).append(event)
    dropped = {block: kept_inside(step, events) for block, events in forward.items()}
    owner = {number: block for block, numbers in dropped.items() for number in numbers}
    last = {at: block for block, at in ends.items()}
    return rewritten(step, phase, forward, dropped, owner, last)


def kept_inside(step: RecordedStep, events: list[int]) -> list[int]:
    """Return what a block's forward keeps, but for its output: the last that it makes and keeps."""
    freed = {~event for event in events if event < 0}
    kept = [
        event for event in events if event >= 0 and event not in freed and step.kinds[event] == ACTIVATION
    ]
    return kept[:-1]


def rewritten(
    step: RecordedStep,
    phase: list[str],
    forward: dict[int, list[int]],
    dropped: dict[int, list[int]],
    owner: dict[int, int],
    last: dict[int, int],
) -> RecordedStep:
    """Return the step with the events of recomputation put in: what a block dropped is made again before the
    first event of backward that frees some of it."""
    sizes, kinds, blocks = list(step.sizes), list(step.kinds), list(step.blocks)
    events: list[int] = []
    names: list[str] = []
    again: dict[int, int] = {}
    """The number that a dropped tensor has the second time."""

    def copy(number: int) -> int:
        sizes.append(sizes[number])
        kinds.append(kinds[number])
        blocks.append(blocks[number])
        return len(sizes) - 1

    def write(event: int, name: str) -> None:
        events.append(event)
        names.append(name)

    for at, event in enumerate(step.events):
        number = max(event, ~event)
        block = owner.get(number)
        if event < 0 and block is not None and number not in again:
            for number_again in forward[block]:
                old = max(number_again, ~number_again)
                if number_again >= 0:
                    again[old] = copy(old)
                    write(again[old], BACKWARD)
                elif old in again and old not in dropped[block]:
                    write(~again[old], BACKWARD)
            for old in (each for each in forward[block] if each >= 0):
                if old not in dropped[block] and not is_freed_inside(forward[block], old):
                    write(~again[old], BACKWARD)
        write(~again[number] if event < 0 and number in again and number in owner else event, phase[at])
        for number_dropped in dropped.get(last.get(at, -1), []) if at in last else []:
            write(~number_dropped, phase[at])
    return step._replace(
        sizes=tuple(sizes),
        kinds=tuple(kinds),
        blocks=tuple(blocks),
        events=tuple(events),
        phases=phases_of(names),
    )


def is_freed_inside(events: list[int], number: int) -> bool:
    """Return whether a block's forward frees a tensor that it makes."""
    return ~number in events
