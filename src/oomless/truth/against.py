"""Closed form against trace: the same question answered from both sides, a row a category, so that no difference stays hidden."""

from typing import NamedTuple

from ..estimate.training.estimate import RankGroup
from ..ledger import CATEGORIES
from ..recording.traced import Traced

PHASES = ("forward", "backward", "optimizer")
OUTSIDE = ("runtime", "fragmentation")
"""What is no tensor: context, and what the allocator keeps."""


class Row(NamedTuple):
    """A category, or a phase, on both sides."""

    what: str
    closed_bytes: int
    traced_bytes: int
    whole_bytes: int
    """The traced peak, which shares are of."""

    @property
    def difference_bytes(self) -> int:
        return self.closed_bytes - self.traced_bytes

    @property
    def share(self) -> float:
        """The difference as a share of the traced peak."""
        return self.difference_bytes / self.whole_bytes if self.whole_bytes else 0.0


def compare(group: RankGroup, traced: Traced) -> tuple[Row, ...]:
    """The categories at the peaks of both, the peaks, and the peak of each phase."""
    found = traced.by_category()
    whole = sum(num_bytes for name, num_bytes in found.items() if name not in OUTSIDE)
    closed = {name: num_bytes for name, num_bytes in group.ledger.by_category().items() if name not in OUTSIDE}
    rows = [
        Row(name, closed.get(name, 0), found.get(name, 0), whole)
        for name in CATEGORIES
        if name not in OUTSIDE and (closed.get(name) or found.get(name))
    ]
    rows.append(Row("peak", sum(row.closed_bytes for row in rows), whole, whole))
    outside = sum(num_bytes for name, num_bytes in found.items() if name in OUTSIDE)
    last = max((phase.step for phase, _ in traced.phases), default=0)
    for name in PHASES:
        ours = [sum(group.at(phase).values()) for phase in group.phases if phase.name == name]
        theirs = [num_bytes - outside for phase, num_bytes in traced.phases if phase.name == name and phase.step == last]
        if ours and theirs:
            rows.append(Row(f"most in the {name}", max(ours), max(theirs), whole))
    return tuple(rows)
