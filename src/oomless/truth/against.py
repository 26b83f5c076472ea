"""Closed form against trace: the same question answered from both sides, a row a category, so that no
difference stays hidden."""

from ..estimate.training.rank_group import RankGroup
from ..ledger import Compared, Observed, beside, chosen, sums
from ..recording.traced import Traced

PHASES = ("forward", "backward", "optimizer")
OUTSIDE = ("runtime", "communication.buffers", "fragmentation")
"""What is no tensor: context and buffers of the process, and what the allocator keeps."""


def compare(group: RankGroup, traced: Traced) -> tuple[Compared, ...]:
    """Return the categories at the peaks of both, the peaks, and the peak of each phase: predicted in closed
    form, measured by the trace."""
    left_out = chosen(group.ledger.lines, OUTSIDE)
    lines = tuple(line for line in group.ledger.lines if line not in left_out)
    found = {
        name: num_bytes
        for name, num_bytes in traced.by_category().items()
        if name not in ("runtime", "fragmentation")
    }
    closed = {line.category for line in lines}
    observed = [
        Observed(name, found.get(name, 0), "trace") for name in (*found, *sorted(closed - set(found)))
    ]
    rows = list(beside(lines, observed)[:-1])  # every category has a row: nothing is left to explain
    peak, whole = sums(lines)[0], sum(found.values())
    rows.append(Compared("peak", None, peak, peak, peak, whole, source="trace"))
    outside = traced.peak.bytes - whole
    last = max((phase.step for phase, _ in traced.phases), default=0)
    for name in PHASES:
        ours = [sum(group.at(phase).values()) for phase in group.phases if phase.name == name]
        theirs = [
            num_bytes - outside
            for phase, num_bytes in traced.phases
            if phase.name == name and phase.step == last
        ]
        if ours and theirs:
            most = max(ours)
            rows.append(Compared(f"peak.{name}", None, most, most, most, max(theirs), source="trace"))
    return tuple(rows)
