"""Allocations of a sampled step -> a recording: what was alive when, with category, module and line, in the
shape that traces have."""

from bisect import bisect_right
from collections.abc import Iterable
from typing import Any, NamedTuple

from ..ledger import Category
from ..recording.held_tensors import HeldTensor
from ..recording.recording import (
    ACTIVATION,
    COMMUNICATION,
    KIND,
    LOGITS,
    TEMPORARY,
    Kind,
    Phase,
    Recording,
    Tensors,
    Words,
)
from .allocations import (
    BYTES,
    COMMUNICATES,
    LINE,
    MODULE,
    OPERATOR,
    OWN_LINE,
    POINTER,
    TIME,
    Allocations,
    Row,
)

STEADY = frozenset(KIND[name] for name in ("weights", "gradients", "optimizer"))
FORWARD, EVALUATION = "forward", "evaluation"
EARLIER = "(made before the step)"
NEVER = 1 << 62


class HeldStorage(NamedTuple):
    """Memory that somebody holds on purpose when a sample begins."""

    pointer: int
    bytes: int
    category: Category
    module: str


class AddressClaim(NamedTuple):
    """What is known at a mark of whose memory is whose."""

    places: list[tuple[int, Category, str]]
    """(address inside of it, category, module)."""
    is_all_gradients: bool = False
    """No other gradient is alive at that moment."""


def storages(held: Iterable[HeldTensor]) -> list[HeldStorage]:
    """Return where tensors lie, each piece of memory once; tensors without memory of their own are left
    out."""
    found: dict[int, HeldStorage] = {}
    for each in held:
        for tensor in plain(each.tensor):
            storage = tensor.untyped_storage()
            pointer, num_bytes = storage.data_ptr(), storage.nbytes()
            if pointer and num_bytes:
                found.setdefault(pointer, HeldStorage(pointer, num_bytes, each.category, each.module))
    return list(found.values())


def plain(tensor: Any) -> list[Any]:
    """Return a tensor's parts that have memory: of a subclass that wraps others, those."""
    flatten = getattr(tensor, "__tensor_flatten__", None)
    if flatten is None:
        return [tensor]
    return [part for name in flatten()[0] for part in plain(getattr(tensor, name))]


class Survivor(NamedTuple):
    """A tensor that was made in a sampled step, that nobody holds on purpose, and that outlives the step."""

    number: int
    pointer: int
    bytes: int
    line: str
    own_line: str
    module: str
    operator: str
    phase: str


class Sample(NamedTuple):
    """What a sampled step was like."""

    recording: Recording
    survivors: tuple[Survivor, ...]


class Assembly:
    """Puts a recording together."""

    def __init__(
        self,
        allocations: Allocations,
        base: list[HeldStorage],
        claims: dict[str, AddressClaim],
        logits_sizes: frozenset[int],
    ) -> None:
        """`base`: what was held when the sample began; `claims`: by the name of a mark, whose memory is whose
        then; `logits_sizes`: bytes of tensors as large as the logits."""
        self.allocations, self.claims, self.logits_sizes = allocations, claims, logits_sizes
        self.sizes: list[int] = []
        self.kinds: list[Kind] = []
        self.modules: list[int] = []
        self.operators: list[int] = []
        self.lines: list[int] = []
        self.events: list[int] = []
        self.made: list[Row | None] = []
        """The event that made each tensor; None for what was there before."""
        self.freed: list[int] = []
        """When it was freed; 0 if it was not."""
        self.alive: dict[int, int] = {}
        self.known: set[int] = set()
        """Tensors whose category somebody claimed."""
        self.phases: list[Phase] = []
        self.setup: list[int] = []
        self.module_words: Words = allocations.module_words
        self.operator_words: Words = allocations.operator_words
        self.earlier = self.operator_words.number(EARLIER)
        for storage in base:
            self._before(storage.pointer, storage.bytes, storage.category, storage.module)

    def _new(
        self, num_bytes: int, kind: Kind, module: int, operator: int, line: int, made: Row | None
    ) -> int:
        self.sizes.append(num_bytes)
        self.kinds.append(kind)
        self.modules.append(module)
        self.operators.append(operator)
        self.lines.append(line)
        self.made.append(made)
        self.freed.append(0)
        return len(self.sizes) - 1

    def _before(self, pointer: int, num_bytes: int, category: Category, module: str) -> int:
        number = self._new(num_bytes, KIND[category], self.module_words.number(module), self.earlier, 0, None)
        self.known.add(number)
        self.alive[pointer] = number
        self.setup.append(number)
        return number

    def build(self, step: int) -> Sample:
        """Go through events and marks in the order of time."""
        marks = [*self.allocations.marks, (NEVER, "end")]
        name, begins, at = "data", 0, 0
        for row in self.allocations.rows:
            while marks[at][0] <= row[TIME]:
                name, begins = self._marked(marks[at][1], name, step, begins)
                at += 1
            if row[BYTES] > 0:
                self._allocate(row)
            elif row[BYTES] < 0:
                self._free(row)
        for _, text in marks[at:]:
            name, begins = self._marked(text, name, step, begins)
        self._activations()
        return self._sample(step)

    def _marked(self, text: str, name: str, step: int, begins: int) -> tuple[str, int]:
        """A mark: memory is claimed, or a phase begins; return the phase that runs and its first event."""
        word, _, rest = text.partition(" ")
        if word == "held":
            self._claimed(self.claims[text])
            return name, begins
        if len(self.events) > begins:
            self.phases.append(Phase(name, step, begins, len(self.events)))
        return rest, len(self.events)

    def _claimed(self, claim: AddressClaim) -> None:
        """Give memory the category of whoever holds it. An address may lie inside of a larger piece, as a
        gradient in a bucket."""
        places: list[int] = []
        numbers: set[int] = set()
        for pointer, category, module in claim.places:
            number = self.alive.get(pointer)
            if number is None:
                places = places or sorted(self.alive)
                at = bisect_right(places, pointer) - 1
                number = self.alive[places[at]] if at >= 0 else None
                if number is None or pointer >= places[at] + self.sizes[number]:
                    continue
            self.kinds[number] = KIND[category]
            if module:
                self.modules[number] = self.module_words.number(module)
            self.known.add(number)
            numbers.add(number)
        if claim.is_all_gradients:
            self._let_go(numbers)

    def _let_go(self, held: set[int]) -> None:
        """Gradients that were there before the sample and that nobody holds any more are free: the CPU's
        allocator tells no free of what was made before it was listened to."""
        gone = [
            (pointer, number)
            for pointer, number in self.alive.items()
            if self.made[number] is None and self.kinds[number] == KIND["gradients"] and number not in held
        ]
        for pointer, number in gone:
            del self.alive[pointer]
            self.events.append(~number)
            self.freed[number] = -1

    def _allocate(self, row: Row) -> None:
        old = self.alive.pop(row[POINTER], None)
        if old is not None:  # another thread freed it, unseen
            self.events.append(~old)
            self.freed[old] = row[TIME]
        kind = COMMUNICATION if row[COMMUNICATES] else TEMPORARY
        number = self._new(row[BYTES], kind, row[MODULE], row[OPERATOR], row[LINE], row)
        self.alive[row[POINTER]] = number
        self.events.append(number)

    def _free(self, row: Row) -> None:
        number = self.alive.pop(row[POINTER], None)
        if number is None:
            number = self._new(-row[BYTES], TEMPORARY, 0, self.earlier, 0, None)
            self.setup.append(number)
        self.events.append(~number)
        self.freed[number] = row[TIME]

    def _activations(self) -> None:
        """What outlives the call of the outermost module that made it, or the forward, is kept for
        backward."""
        found = self.allocations
        begins = [begin for begin, _ in found.calls]
        forwards, evaluations = spans(found.marks, FORWARD), spans(found.marks, EVALUATION)
        starts = [begin for begin, _ in forwards]
        for number, row in enumerate(self.made):
            if row is None or self.kinds[number] != TEMPORARY or number in self.known:
                continue
            time, end = row[TIME], self.freed[number] or NEVER
            if any(begin <= time < over for begin, over in evaluations):
                continue
            if self.sizes[number] in self.logits_sizes:
                self.kinds[number] = LOGITS
            elif outlives(time, end, begins, found.calls) or outlives(time, end, starts, forwards):
                self.kinds[number] = ACTIVATION

    def _sample(self, step: int) -> Sample:
        shift = len(self.setup)
        phases = [Phase("setup", step, 0, shift)]
        phases += [
            each._replace(first_event=each.first_event + shift, end_event=each.end_event + shift)
            for each in self.phases
        ]
        tensors = Tensors(
            self.sizes,
            self.kinds,
            self.modules,
            self.operators,
            self.lines,
            self.module_words.texts(),
            self.operator_words.texts(),
            self.allocations.line_words.texts(),
        )
        recording = Recording(tensors, [*self.setup, *self.events], phases, {}, [])
        return Sample(recording, tuple(self._survivors(tensors)))

    def _survivors(self, tensors: Tensors) -> list[Survivor]:
        """Tensors of the step that nobody holds on purpose and that are alive at its end."""
        kept = []
        for pointer, number in self.alive.items():
            row = self.made[number]
            if row is None or self.kinds[number] in STEADY:
                continue
            kept.append(
                Survivor(
                    number,
                    pointer,
                    tensors.sizes[number],
                    tensors.line_texts[row[LINE]],
                    tensors.line_texts[row[OWN_LINE]],
                    tensors.module_names[tensors.modules[number]],
                    tensors.operator_names[tensors.operators[number]],
                    phase_at(self.allocations.marks, row[TIME]),
                )
            )
        return kept


def phase_at(marks: list[tuple[int, str]], moment: int) -> str:
    """Return the phase in which a moment lies."""
    passed = [text for time, text in marks if time <= moment and not text.startswith("held")]
    return passed[-1].partition(" ")[2] if passed else "data"


def spans(marks: list[tuple[int, str]], phase: str) -> list[tuple[int, int]]:
    """Return begin and end of each time that a phase ran; a claim ends no phase."""
    turns = [mark for mark in marks if mark[1].startswith("phase")]
    ends = [*(time for time, _ in turns[1:]), NEVER]
    return [(time, end) for (time, text), end in zip(turns, ends, strict=True) if text == f"phase {phase}"]


def outlives(made: int, freed: int, begins: list[int], spans: list[tuple[int, int]]) -> bool:
    """Return whether something is made within a span of time and freed after it.

    >>> (
    ...     outlives(5, 30, [1, 10], [(1, 8), (10, 20)]),
    ...     outlives(5, 7, [1], [(1, 8)]),
    ...     outlives(9, 30, [1], [(1, 8)]),
    ... )
    (True, False, False)
    """
    at = bisect_right(begins, made) - 1
    return at >= 0 and made < spans[at][1] < freed
