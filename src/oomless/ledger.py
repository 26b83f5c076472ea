"""Line and Ledger: the one shape in which bytes leave any room, predicted or measured.

Records here and in every room that answers `--json` are NamedTuples, not dataclasses: both are frozen, but a dataclass costs
0.6 ms of start-up a class and `import dataclasses` 9 ms more (bench/startup.py), which is the whole budget of an answer.
"""

from typing import Literal, NamedTuple

Category = Literal[
    "weights",
    "gradients",
    "optimizer",
    "activations",
    "logits",
    "kv_cache",
    "communication",
    "temporaries",
    "inputs",
    "runtime",
    "fragmentation",
]
Kind = Literal["exact", "fitted", "assumed"]
Verdict = Literal["fits", "tight", "does_not_fit"]

CATEGORIES: tuple[Category, ...] = Category.__args__  # type: ignore[attr-defined]  # typing.get_args is the import that start-up saves


class Line(NamedTuple):
    """Bytes of one thing on each rank of a group, and where the number comes from."""

    category: Category
    what: str
    bytes: int
    low_bytes: int
    high_bytes: int
    kind: Kind
    formula: str
    """The arithmetic with the numbers put in."""
    source: str
    """The function, table row or document that the number rests on."""


def exact(category: Category, what: str, num_bytes: int, formula: str, source: str) -> Line:
    """A line that follows from shapes alone: no spread."""
    return Line(category, what, num_bytes, num_bytes, num_bytes, "exact", formula, source)


class Ledger(NamedTuple):
    """What one rank of a group of equal ranks holds. Totals are sums over the lines and nothing else."""

    group: str
    num_ranks: int
    capacity_bytes: int
    lines: tuple[Line, ...]
    overrun_bytes: int = 0
    """By how much, at most, a pool that is taken whole and what comes beside it pass the card, however little of it is needed."""

    @property
    def total_bytes(self) -> int:
        return sum(line.bytes for line in self.lines)

    @property
    def low_bytes(self) -> int:
        return sum(line.low_bytes for line in self.lines)

    @property
    def high_bytes(self) -> int:
        """Every spread at its upper end at once: a bound, so that "fits" is never a matter of luck."""
        return sum(line.high_bytes for line in self.lines)

    @property
    def headroom_bytes(self) -> int:
        return self.capacity_bytes - self.total_bytes

    def by_category(self) -> dict[str, int]:
        """Bytes a category, in the order of CATEGORIES; categories without a line are left out."""
        sums: dict[str, int] = {}
        for line in self.lines:
            sums[line.category] = sums.get(line.category, 0) + line.bytes
        return {category: sums[category] for category in CATEGORIES if category in sums}

    @property
    def verdict(self) -> Verdict:
        """fits, if even the upper end of the interval is within the capacity; tight, if the capacity lies inside it."""
        if self.high_bytes <= self.capacity_bytes:
            return "fits"
        return "tight" if self.low_bytes <= self.capacity_bytes else "does_not_fit"
