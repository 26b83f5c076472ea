"""Search: the formats of all modules under a size, the most sensitive first."""

import heapq
from typing import NamedTuple

from ...errors import OomlessError
from .damage import Damages

LADDER = ("int4", "int4-g32", "int8-packed", "int8-g128", "bf16")
"""Formats that a mix is made of, each with its config group in one checkpoint."""


Rung = tuple[str, int, float]
"""Format, bytes and error of a group."""
Heap = list[tuple[float, str, int, int]]
"""(error that a byte takes away, negative; group; rung that it stands on; rung that it may step to)."""


class Mix(NamedTuple):
    """Which format each module got, by patterns that name it, and what that weighs."""

    formats: tuple[tuple[str, str], ...]
    num_bytes: int
    """Of the whole checkpoint."""
    error: float
    """Sum of the errors of all modules."""
    alone: str
    """The best single format that fits the size too; "" if none does."""
    alone_bytes: int
    alone_error: float


def search(damages: Damages, groups: dict[str, str], other_bytes: int, size: int) -> Mix:
    """Return the mix under a size with the least sum of errors, found greedily: begin with the smallest
    format everywhere, then spend bytes where a byte takes most error away.

    `groups` says which modules engines fuse: those step together. `other_bytes` is all that stays.
    """
    members: dict[str, list[str]] = {}
    for name in damages:
        members.setdefault(groups[name], []).append(name)
    ladders = {group: ladder(group, names, damages) for group, names in members.items()}
    at = dict.fromkeys(ladders, 0)
    total = other_bytes + sum(rungs[0][1] for rungs in ladders.values())
    if total > size:
        raise OomlessError(
            f"{size:,} bytes hold no mix: the smallest is {total:,}",
            "raise --budget, or --skip what is not needed",
        )
    heap: Heap = []
    for group in ladders:
        offer(heap, ladders[group], at[group], group)
    while heap:
        _, group, before, rung = heapq.heappop(heap)
        more = ladders[group][rung][1] - ladders[group][before][1]
        if before != at[group] or total + more > size:
            continue
        total, at[group] = total + more, rung
        offer(heap, ladders[group], rung, group)
    formats = tuple(
        (name, rungs[at[group]][0]) for group, rungs in ladders.items() for name in members[group]
    )
    error = sum(rungs[at[group]][2] for group, rungs in ladders.items())
    return Mix(formats, total, error, *alone(damages, other_bytes, size))


def ladder(group: str, names: list[str], damages: Damages) -> list[Rung]:
    """Return what a group can be, from the smallest: each step larger and better than the one before."""
    rungs: list[Rung] = []
    for word in LADDER:
        if all(word in damages[name] for name in names):
            rungs.append(
                (
                    word,
                    sum(damages[name][word].num_bytes for name in names),
                    sum(damages[name][word].error for name in names),
                )
            )
    found: list[Rung] = []
    for rung in sorted(rungs, key=lambda each: each[1]):
        if not found or rung[2] < found[-1][2]:
            found.append(rung)
    if not found:
        raise OomlessError(f"{group[:80]}: no format of a mix can hold it", "keep it: --keep PATTERN")
    return found


def offer(heap: Heap, rungs: list[Rung], at: int, group: str) -> None:
    """Put all higher rungs of a group on the heap, by the error that each byte takes away; the best comes
    first."""
    for rung in range(at + 1, len(rungs)):
        gain = (rungs[at][2] - rungs[rung][2]) / (rungs[rung][1] - rungs[at][1])
        heapq.heappush(heap, (-gain, group, at, rung))


def alone(damages: Damages, other_bytes: int, size: int) -> tuple[str, int, float]:
    """Return the single format with the least error that fits, its bytes and its error."""
    best = ("", 0, 0.0)
    for word in LADDER:
        if not all(word in each for each in damages.values()):
            continue
        num_bytes = other_bytes + sum(each[word].num_bytes for each in damages.values())
        error = sum(each[word].error for each in damages.values())
        if num_bytes <= size and (not best[0] or error < best[2]):
            best = (word, num_bytes, error)
    return best
