"""A recorded step, ready to be made over: what belongs to which block and phase, what grows with the
batch."""

from typing import NamedTuple

from ..recording.recording import KIND, TEMPORARY, Phase, Recording

FORWARD, BACKWARD, OPTIMIZER = "forward", "backward", "optimizer"
GROWS = frozenset(KIND[name] for name in ("activations", "logits", "inputs", "kv_cache"))
GRADIENT, STATE, WEIGHT = KIND["gradients"], KIND["optimizer"], KIND["weights"]


class RecordedStep(NamedTuple):
    """One step as events: n allocates tensor n, ~n frees it. What was there before comes first."""

    sizes: tuple[int, ...]
    kinds: tuple[int, ...]
    blocks: tuple[int, ...]
    """Number of each tensor's block; -1 outside of blocks."""
    base: tuple[int, ...]
    """Tensors that were there before the step."""
    events: tuple[int, ...]
    """Of the step itself."""
    phases: tuple[Phase, ...]
    """Counted from the step's first event."""
    num_blocks: int

    def phase_of(self) -> list[str]:
        """Return the phase of each event."""
        found = ["data"] * len(self.events)
        for phase in self.phases:
            found[phase.first_event : phase.end_event] = [phase.name] * (phase.end_event - phase.first_event)
        return found

    def grows_with_batch(self) -> list[bool]:
        """Return for each tensor whether its size is in proportion to the tokens of a micro-batch:
        activations, logits and inputs, and what comes and goes in forward and backward unless it is as large
        as a weight, since it may then be a weight's gradient."""
        weights = {self.sizes[number] for number in self.base if self.kinds[number] == WEIGHT}
        phase = self.phase_of()
        grows = [kind in GROWS for kind in self.kinds]
        for at, event in enumerate(self.events):
            if event >= 0 and self.kinds[event] == TEMPORARY and phase[at] in (FORWARD, BACKWARD):
                grows[event] = self.sizes[event] not in weights
        return grows


def recorded_step(recording: Recording, blocks: tuple[str, ...]) -> RecordedStep:
    """Return the step of a recording whose modules lie in blocks of these names."""
    tensors = recording.tensors
    setup = next((phase for phase in recording.phases if phase.name == "setup"), Phase("setup", 0, 0, 0))
    numbers = {name: at for at, name in enumerate(blocks)}
    block_of = [block_number(name, numbers) for name in tensors.module_names]
    phases = [
        phase._replace(
            first_event=phase.first_event - setup.end_event, end_event=phase.end_event - setup.end_event
        )
        for phase in recording.phases
        if phase.name != "setup"
    ]
    return RecordedStep(
        tuple(tensors.sizes),
        tuple(tensors.kinds),
        tuple(block_of[module] for module in tensors.modules),
        tuple(recording.events[: setup.end_event]),
        tuple(recording.events[setup.end_event :]),
        tuple(phases),
        len(blocks),
    )


def block_number(module: str, numbers: dict[str, int]) -> int:
    """Return the number of the block that a module lies in; -1 outside of blocks.

    >>> block_number("model.layers.3.mlp.up", {"model.layers.3": 3, "model.layers.30": 30})
    3
    """
    name = module
    while name:
        if name in numbers:
            return numbers[name]
        name = name.rpartition(".")[0]
    return -1
