"""All tensors that Python knows, counted by shape and type, when the allocator's counter grows and no line
that was sampled explains it: another thread's, or of steps in between."""

from itertools import pairwise
from typing import Any, Literal, NamedTuple

from .holders import all_tensors

INTERVALS, FIRST_INTERVALS = 3, 2
"""Stretches between samples, in each of which the least that is alive must have risen: before a leak is told,
and before tensors are counted for the first time."""
LEAST_RISE_BYTES = 65_536
"""In each of them: what the C library hands out to others goes up and down by less."""
EVENNESS = 4
"""The largest of these rises may be so many times the smallest: a leak is steady, a warm-up is not."""
UNEXPLAINED = 0.5
"""Share of the growth that lines must leave unexplained."""


class Growth(NamedTuple):
    """Tensors of one shape that became more."""

    bytes_per_step: int
    tensor: Any
    """One of the new ones."""


class Kind(NamedTuple):
    """Tensors of one shape and type."""

    bytes: int
    pointers: frozenset[int]


class Census:
    """The least that is alive in each stretch between samples, and what was counted at the last look."""

    def __init__(self) -> None:
        self.lowest: list[tuple[int, int]] = []
        """(last step, least bytes) of each stretch."""
        self.current: int | None = None
        self.before: tuple[int, dict[tuple[Any, ...], Kind]] | None = None

    def stepped(self, live_bytes: int) -> None:
        """Note what is alive at the end of a step."""
        self.current = live_bytes if self.current is None else min(self.current, live_bytes)

    def close(self, step: int) -> None:
        """A stretch ends with a sample."""
        if self.current is not None:
            self.lowest.append((step, self.current))
            self.current = None
            del self.lowest[: -2 * INTERVALS]

    def per_step(self, intervals: int = INTERVALS) -> float:
        """Return by how much the least that is alive rises a step; 0 unless it rose, evenly, in each of the
        last stretches.

        >>> census = Census()
        >>> census.lowest = [(100 * n, 10**9 + n * 10**6) for n in range(6)]
        >>> census.per_step()
        10000.0
        """
        last = self.lowest[-intervals - 1 :]
        if len(last) <= intervals:
            return 0.0
        rises = [(after[1] - before[1]) for before, after in pairwise(last)]
        if min(rises) < LEAST_RISE_BYTES or max(rises) > EVENNESS * min(rises):
            return 0.0
        return (last[-1][1] - last[0][1]) / (last[-1][0] - last[0][0])

    def unexplained(self, explained: int) -> Literal["", "count", "tell"]:
        """Return what is due of growth that lines do not explain: a first count, or a second that tells."""
        rate = self.per_step(FIRST_INTERVALS)
        if not rate or explained >= (1 - UNEXPLAINED) * rate:
            return ""
        if self.before is None:
            return "count"
        return "tell" if self.per_step() else ""

    def scan(self, step: int) -> Growth | None:
        """Count all tensors; return what became more since the last count, if it explains most of the
        growth."""
        tensors: dict[int, Any] = {}
        for pointer, tensor in all_tensors():
            tensors.setdefault(pointer, tensor)
        counted: dict[tuple[Any, ...], dict[int, Any]] = {}
        for pointer, tensor in tensors.items():
            counted.setdefault((tuple(tensor.shape), tensor.dtype), {})[pointer] = tensor
        before, self.before = (
            self.before,
            (step, {kind: counted_kind(found) for kind, found in counted.items()}),
        )
        if before is None:
            return None
        grown = {
            kind: found.bytes - before[1][kind].bytes if kind in before[1] else found.bytes
            for kind, found in self.before[1].items()
        }
        best = max(grown, key=lambda kind: grown[kind], default=None)
        steps = step - before[0]
        if best is None or steps <= 0 or grown[best] < UNEXPLAINED * self.per_step() * steps:
            return None
        old = before[1].get(best)
        known = old.pointers if old is not None else frozenset()
        new = next((tensor for pointer, tensor in counted[best].items() if pointer not in known), None)
        return None if new is None else Growth(grown[best] // steps, new)


def counted_kind(found: dict[int, Any]) -> Kind:
    """Return the count of tensors of one kind."""
    return Kind(
        sum(tensor.untyped_storage().nbytes() for tensor in found.values()),
        frozenset(found),
    )
