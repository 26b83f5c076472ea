"""What training takes beyond its tensors: blocks that the allocator holds and nobody uses, workspaces,
context, communication buffers."""

from typing import NamedTuple

from ... import facts
from ...frameworks import framework
from ...ledger import Key, Kind, Ledger, Line, ranged
from ...run.cards import Card
from ...run.training import TrainingResolved
from ...units import GIB
from .job import Job
from .phases import StepPhase


def streams_apart(request: TrainingResolved, phases: tuple[StepPhase, ...], worst: StepPhase) -> int:
    """Fully sharded ranks gather and scatter on streams of their own, and the allocator keeps a pool for each
    stream: what these take

    in a layer stays reserved while the computation has its peak; the root's gradients at the end of the
    backward reuse what the layers' activations left. Source: CUDACachingAllocator.cpp (blocks are found by
    stream), FSDP's all_gather and reduce_scatter streams; which buffer lies in which pool is not told apart,
    measured reserved peaks agree better with all of them.
    """
    if request.sharding not in ("fsdp1", "fsdp2", "hsdp"):
        return 0

    def moved(phase: StepPhase) -> int:
        return sum(part.bytes for part in phase.parts if part.category == "communication")

    return max(0, max(moved(phase) for phase in phases if phase.moment != "in the embedding") - moved(worst))


OUTSIDE: tuple[Key, ...] = ("runtime.context", "communication.buffers")
"""What the process has outside of the allocator."""
QUANTITIES: dict[Key, str] = {
    "runtime.context": "context",
    "communication.buffers": "communication_buffers",
    "runtime.cublas": "cublas_workspaces",
}
"""The rows of engines.csv behind lines of the process and its libraries."""


def allocated_lines(ledger: Ledger) -> tuple[Line, ...]:
    """The lines that torch.cuda.max_memory_allocated counts."""
    return tuple(line for line in ledger.lines if line.key not in ("fragmentation.reserved", *OUTSIDE))


def words(request: TrainingResolved) -> tuple[str, ...]:
    """Conditions under which rows of engines.csv hold."""
    sharding = request.sharding or "none"
    found = [
        "sharded"
        if sharding in ("fsdp1", "fsdp2", "hsdp", "zero3")
        else "distopt"
        if sharding == "distopt"
        else "whole",
        request.framework,
    ]
    of = framework(request.framework)
    if sharding == "zero3" and of.zero_is_deepspeed:
        found.append(sharding)
    if of.runs_transformers:
        found.append("modules")
    found.append(request.method)
    if request.expandable_segments:
        found.append("expandable")
    if request.recompute == "full":
        found.append("recompute")
    if request.kernels == "compiled":
        found.append("compiled")
    if not request.packed and request.task != "pretrain":
        found.append("variable")
    return tuple(found)


PASSING = ("activations", "logits", "temporaries", "communication")
"""Categories whose bytes the graphs give, so that they have the spread of the runs that graphs were compared
with."""


COUNTED: tuple[Key, ...] = ("communication.bucket", "temporaries.gradient")
"""Keys of what no graph gives: buffers that a framework's source sizes to the value, so that there is at
least that much."""


def with_spread(lines: list[Line], request: TrainingResolved) -> list[Line]:
    """Return the lines; what comes and goes has the spread of the runs that graphs were compared with."""
    spread = facts.constant("training", "activation_share", (0,), *words(request))
    return [
        line._replace(
            kind="fitted" if spread.num_runs else "assumed",
            low_bytes=line.bytes if line.key in COUNTED else round(line.bytes * spread.low),
            high_bytes=max(line.high_bytes, round(line.bytes * spread.high)),
        )
        if line.category in PASSING
        else line
        for line in lines
    ]


def held_beyond(job: Job, lines: list[Line], transient: int, apart: int, above: int, room: int) -> Line:
    """What the allocator holds: a share of what comes and goes during a step; states lie still and leave no
    gaps.

    An allocator that meets the card's limit gives idle segments back before it fails. So what it holds is at
    most `room`, what the upper ends of all else leave of the card, and at least what cannot be given back: a
    share of its own (kept_share).

    reserved = steady + share x (allocated - steady + what other streams take at other moments). Lengths that
    vary leave blocks of many sizes behind, unless segments expand. The optimizer's step, `above` the others'
    peak where it is the worst, takes blocks of the same sizes every time, and finds them in what the backward
    left. A fitted share was measured against estimates, so that its spread holds theirs too: both together
    are as wide as the share's. Slack is what may be held beyond the share, however little comes and goes.
    """
    conditions = words(job.request)
    row = facts.constant("training", "reserved_share", (0,), *conditions)
    slack = facts.constant("training", "reserved_slack", (0,), *conditions)
    value, low = (max(0, apart + round(transient * (share - 1)) - above) for share in (row.value, row.low))
    high = max(0, apart + round(transient * (row.high - 1)))
    kind: Kind = "fitted" if row.num_runs else "assumed"
    if row.num_runs:
        low += sum(line.bytes - line.low_bytes for line in lines)
        high -= sum(line.high_bytes - line.bytes for line in lines)
    low, high = max(0, min(low, value)), max(high, value) + round(slack.high * GIB)
    kept = kept_beyond(job, transient, apart)
    found = ranged(
        "fragmentation.reserved",
        "policy",
        "held by the allocator beyond that",
        (value, low, high),
        kind,
        (f"{apart:,} B of other streams + " if apart else "")
        + f"{transient:,} B x ({row.value} - 1)"
        + (f" - {above:,} B that the optimizer takes of it" if above and value else "")
        + f", at most what the card leaves, or {kept.value:,} B",
        row.source,
    )
    return within_room(found, kept, room)


class KeptBlocks(NamedTuple):
    """Bytes beyond what is allocated that an allocator cannot give back, and the most of them."""

    value: int
    high: int


def kept_beyond(job: Job, transient: int, apart: int) -> KeptBlocks:
    """Return what the allocator cannot give back: a share of what comes and goes."""
    stays = facts.constant("training", "kept_share", (0,), *words(job.request))
    value, high = (apart + round(transient * (share - 1)) for share in (stays.value, stays.high))
    return KeptBlocks(value, high)


def within_room(line: Line, kept: KeptBlocks, room: int) -> Line:
    """Return what the allocator holds beyond the tensors, on a card of which all else leaves `room`: idle
    segments go back before anything fails.

    >>> held = ranged("fragmentation.reserved", "policy", "held", (9, 1, 12), "fitted", "", "")
    >>> within_room(held, KeptBlocks(2, 3), 4)[4:7]
    (4, 1, 4)
    """
    value = min(line.bytes, max(0, kept.value, room))
    high = max(value, min(line.high_bytes, max(kept.high, room)))
    return line._replace(bytes=value, low_bytes=min(line.low_bytes, value), high_bytes=high)


def process_line(key: Key, card: Card) -> Line:
    """A line of what lies outside of the allocator, or of what libraries take from it once."""
    conditions = [card.vendor.lower()] + (["hopper"] if card.capability >= 9.0 else [])
    row = facts.constant("training", QUANTITIES[key], (0,), *conditions)
    value, low, high = (round(number * GIB) for number in (row.value, row.low, row.high))
    kind: Kind = "fitted" if row.num_runs else "assumed"
    what = QUANTITIES[key].replace("_", " ")
    found = ranged(key, "process", what, (value, low, high), kind, f"{row.value} GiB", row.source)
    return (
        found._replace(category="temporaries") if key == "runtime.cublas" else found
    )  # torch allocates it, as it does tensors
