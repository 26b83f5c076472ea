"""What outlives a step, sample by sample, by the line that made it: does it grow, or does it come and go?"""

from collections.abc import Callable
from typing import Any, NamedTuple

from .sample import Survivor

SAMPLES = 3
"""In which a line must have outliving bytes, all of them alive still, before it is told."""
LEAST_BYTES = 1024
"""A step: less is told only where it would fill the device in not too many steps."""
MOST_WITNESSES = 8
GONE = 0.5
"""Share of the witnesses of one sample that may be free before the line counts as one that turns over."""
RESTING = 10
"""Samples for which a line is left alone after it turned over."""


class LineKey(NamedTuple):
    """What tells one source of tensors from another."""

    line: str
    own_line: str
    phase: str


class Outliving(NamedTuple):
    """The tensors of one line that outlived a sampled step."""

    step: int
    bytes: int
    pointers: frozenset[int]
    witnesses: tuple[Callable[[], bool], ...]
    """Whether the memory of some of them is free by now, of those that Python shows."""
    has_graph: bool
    """One of them, shown by Python, leads to a graph of autograd."""

    @property
    def num_gone(self) -> int:
        """Return how many of the witnesses are free by now."""
        return sum(gone() for gone in self.witnesses)


class Suspect:
    """A line and what outlived steps of it."""

    def __init__(self, key: LineKey) -> None:
        self.key = key
        self.line, self.own_line, self.phase = key
        self.samples: list[Outliving] = []
        self.resting = self.missed = 0
        self.told = False

    def seen(self, found: Outliving) -> None:
        """Note what outlived another sampled step; forget all if what outlived earlier ones is free."""
        self.missed = 0
        if self.turned_over():
            self.rest()
        self.resting = max(self.resting - 1, 0)
        self.samples.append(found)
        del self.samples[: -2 * SAMPLES]

    def missing(self) -> int:
        """Note a sample that the line was not in; return how many there were in a row."""
        self.missed += 1
        return self.missed

    def rest(self) -> None:
        """The line comes and goes: look away for a while."""
        self.samples.clear()
        self.resting, self.told = RESTING, False

    def turned_over(self) -> bool:
        """Return whether tensors of earlier samples are free by now."""
        watched = [each for each in self.samples if each.witnesses]
        return any(each.num_gone > GONE * len(each.witnesses) for each in watched)

    def is_free_but_for(self, step: int) -> bool:
        """Return whether all that earlier samples left is free by now."""
        earlier = [each for each in self.samples if each.step < step and each.witnesses]
        return bool(earlier) and all(each.num_gone == len(each.witnesses) for each in earlier)

    @property
    def grows(self) -> bool:
        """Return whether enough samples say so."""
        return len(self.samples) >= SAMPLES and not self.resting

    @property
    def is_shown(self) -> bool:
        """Return whether Python shows some of its tensors in each of the last samples."""
        return all(each.witnesses for each in self.samples[-SAMPLES:])

    @property
    def has_graph(self) -> bool:
        """Return whether a graph of autograd hangs on one of its tensors."""
        return any(each.has_graph for each in self.samples)

    @property
    def bytes_per_step(self) -> int:
        """Return what outlives a step, on the average of the last samples."""
        last = self.samples[-SAMPLES:]
        return sum(each.bytes for each in last) // len(last) if last else 0


def by_line(survivors: tuple[Survivor, ...]) -> dict[LineKey, list[Survivor]]:
    """Return survivors by what tells their sources apart."""
    found: dict[LineKey, list[Survivor]] = {}
    for each in survivors:
        found.setdefault(LineKey(each.line, each.own_line, each.phase), []).append(each)
    return found


def ends_of(tensors: dict[int, Any], torch: Any) -> dict[int, Callable[[], bool]]:
    """Return for tensors by address a question whether their memory is free: by the count in C++ that frees
    it, not by Python's wrapper, whose end says nothing."""
    reductions = torch.multiprocessing.reductions
    return {
        pointer: reductions.StorageWeakRef(tensor.untyped_storage()).expired
        for pointer, tensor in tensors.items()
    }
