"""What a traced run leaves behind: every tensor with its bytes, kind, module and line, and the order in which
they came and went."""

from typing import Any, NamedTuple

from ..ledger import CATEGORIES, Category

Kind = int
"""Index into CATEGORIES."""
KIND: dict[Category, Kind] = {category: index for index, category in enumerate(CATEGORIES)}
TEMPORARY, ACTIVATION = KIND["temporaries"], KIND["activations"]
LOGITS, COMMUNICATION = KIND["logits"], KIND["communication"]
"""What a tensor is that no owner claims, by how long it lives and who made it."""


class Words:
    """Texts as numbers, in the order in which they came."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}

    def number(self, text: str) -> int:
        return self.known.setdefault(text, len(self.known))

    def texts(self) -> list[str]:
        return list(self.known)


class Phase(NamedTuple):
    """A stretch of events: forward, backward, optimizer, prefill, decode; `setup` is what comes before the
    first step."""

    name: str
    step: int
    first_event: int
    end_event: int


class Tensors(NamedTuple):
    """One entry a tensor in each column; names are indices into the lists of words."""

    sizes: list[int]
    kinds: list[Kind]
    modules: list[int]
    operators: list[int]
    lines: list[int]
    module_names: list[str]
    operator_names: list[str]
    line_texts: list[str]


class Recording(NamedTuple):
    """A run that never happened."""

    tensors: Tensors
    events: list[int]
    """n: tensor n is made; ~n: it is freed."""
    phases: list[Phase]
    request: dict[str, Any]
    """What was asked, as the answer shows it."""
    warnings: list[str]

    @property
    def since(self) -> int:
        """The first event of the last step: earlier ones are its past, their peaks are not asked for."""
        last = max((phase.step for phase in self.phases), default=0)
        return min((phase.first_event for phase in self.phases if phase.step == last), default=0)


class Peak(NamedTuple):
    """The moment of the last step at which most bytes are alive, and what those are."""

    event: int
    bytes: int
    alive: list[int]
    phase: Phase


def curve(recording: Recording) -> list[int]:
    """Bytes alive after each event, as requested: before any rounding."""
    sizes, alive, found = recording.tensors.sizes, 0, []
    for event in recording.events:
        alive += sizes[event] if event >= 0 else -sizes[~event]
        found.append(alive)
    return found


def phase_peaks(recording: Recording) -> list[tuple[Phase, int]]:
    """The most bytes alive within each phase, what it finds included."""
    alive = curve(recording)
    found = []
    for phase in recording.phases:
        before = alive[phase.first_event - 1] if phase.first_event else 0
        found.append((phase, max([before, *alive[phase.first_event : phase.end_event]])))
    return found


def peak(recording: Recording) -> Peak:
    """The peak of the last step in requested bytes."""
    alive, since = curve(recording), recording.since
    start = max(since - 1, 0)
    event = max(range(start, len(alive)), key=alive.__getitem__, default=0)
    held: dict[int, None] = {}
    for each in recording.events[: event + 1]:
        if each >= 0:
            held[each] = None
        else:
            del held[~each]
    nothing = Phase("setup", 0, 0, 0)
    within = next(
        (each for each in reversed(recording.phases) if each.first_event <= max(event, since)), nothing
    )
    return Peak(event, alive[event] if alive else 0, list(held), within)
