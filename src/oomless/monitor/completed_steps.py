"""A step that died, completed by analogy: blocks that did not run are like the last one that did, backward
frees what forward kept, and the optimizer keeps its states from then on."""

from typing import NamedTuple

from ..recording.recording import ACTIVATION, LOGITS, TEMPORARY
from .changed_steps import phases_of
from .recorded_step import (
    BACKWARD,
    FORWARD,
    GRADIENT,
    STATE,
    WEIGHT,
    RecordedStep,
)

LOSS_COPIES = 3
"""Of the logits in F32 while the loss runs: the logits themselves, what the softmax keeps, and their
gradient."""


class Missing(NamedTuple):
    """What a step that died does not show."""

    logits_bytes: int
    """In F32; 0 if the model has none."""
    trained_share: float
    """Of the weights' bytes."""
    states_per_weight: float
    """Bytes that the optimizer keeps for each byte of a trained weight."""


class Completion:
    """Writes the rest of a step."""

    def __init__(self, step: RecordedStep) -> None:
        self.step = step
        self.sizes, self.kinds, self.blocks = list(step.sizes), list(step.kinds), list(step.blocks)
        self.events: list[int] = []
        self.names: list[str] = []
        self.alive: dict[int, None] = {}

    def make(self, num_bytes: int, kind: int, block: int, phase: str) -> int:
        """Write a new tensor; return its number."""
        self.sizes.append(num_bytes)
        self.kinds.append(kind)
        self.blocks.append(block)
        self.write(len(self.sizes) - 1, phase)
        return len(self.sizes) - 1

    def write(self, event: int, phase: str) -> None:
        """Write an event."""
        self.events.append(event)
        self.names.append(phase)
        if event >= 0:
            self.alive[event] = None
        else:
            self.alive.pop(~event, None)

    def forward(self, missing: Missing) -> None:
        """Write the blocks that did not end, and the loss."""
        phase = self.step.phase_of()
        begun = [self.step.blocks[max(event, ~event)] for event in self.step.events]
        last = max(begun, default=-1)
        for at, event in enumerate(self.step.events):
            if phase[at] in (FORWARD, "data") and begun[at] != last:
                self.write(event, phase[at])
        template = [
            event
            for at, event in enumerate(self.step.events)
            if begun[at] == last - 1 and phase[at] == FORWARD
        ]
        for block in range(last, self.step.num_blocks):
            copies: dict[int, int] = {}
            for event in template:
                number = max(event, ~event)
                if event >= 0:
                    copies[number] = self.make(self.sizes[number], self.kinds[number], block, FORWARD)
                elif number in copies:
                    self.write(~copies[number], FORWARD)
            for number in copies.values():  # what outlives a block's forward is kept for its backward
                if number in self.alive and self.kinds[number] == TEMPORARY:
                    self.kinds[number] = ACTIVATION
        if missing.logits_bytes:
            for _ in range(LOSS_COPIES):
                self.make(missing.logits_bytes, LOGITS, -1, FORWARD)

    def keep_forward(self) -> None:
        """Write the forward as it was."""
        phase = self.step.phase_of()
        for at, event in enumerate(self.step.events):
            if phase[at] in (FORWARD, "data"):
                self.write(event, phase[at])

    def backward(self, missing: Missing) -> None:
        """Write a backward: from the last block to the first, gradients of what was kept come and go, and
        those of weights stay."""
        own = [number for number in self.alive if self.kinds[number] in (ACTIVATION, LOGITS)]
        weights: dict[int, int] = {}
        for number in self.step.base:
            if self.kinds[number] == WEIGHT:
                block = self.blocks[number]
                weights[block] = weights.get(block, 0) + self.sizes[number]
        before: int | None = None
        for block in (-1, *range(self.step.num_blocks - 1, -1, -1)):
            for number in [each for each in reversed(own) if self.blocks[each] == block]:
                gradient = self.make(self.sizes[number], TEMPORARY, block, BACKWARD)
                if self.kinds[number] == LOGITS:  # the loss and its softmax have a gradient of this size each
                    self.write(~self.make(self.sizes[number], TEMPORARY, block, BACKWARD), BACKWARD)
                if before is not None:
                    self.write(~before, BACKWARD)
                before = gradient
                self.write(~number, BACKWARD)
            if weights.get(block):
                self.make(int(weights[block] * missing.trained_share), GRADIENT, block, BACKWARD)
        if before is not None:
            self.write(~before, BACKWARD)

    def done(self, missing: Missing) -> RecordedStep:
        """Return the step as the second one would be: with the states that the first leaves."""
        base = list(self.step.base)
        if not any(self.kinds[number] == STATE for number in base):
            weights = sum(self.sizes[number] for number in base if self.kinds[number] == WEIGHT)
            self.sizes.append(int(weights * missing.trained_share * missing.states_per_weight))
            self.kinds.append(STATE)
            self.blocks.append(-1)
            base.append(len(self.sizes) - 1)
        return RecordedStep(
            tuple(self.sizes),
            tuple(self.kinds),
            tuple(self.blocks),
            tuple(base),
            tuple(self.events),
            phases_of(self.names),
            self.step.num_blocks,
        )


def completed(step: RecordedStep, missing: Missing) -> RecordedStep | None:
    """Return a step that died as it would have gone on; None if it did not get through one block."""
    names = {phase.name for phase in step.phases}
    completion = Completion(step)
    if names <= {"data", FORWARD, "other"}:
        if max((step.blocks[max(event, ~event)] for event in step.events), default=-1) < 1:
            return None
        completion.forward(missing)
        completion.backward(missing)
    elif "optimizer" in names:
        phase = step.phase_of()
        for at, event in enumerate(step.events):
            completion.write(event, phase[at])
    else:
        completion.keep_forward()
        completion.backward(missing)
    return completion.done(missing)
