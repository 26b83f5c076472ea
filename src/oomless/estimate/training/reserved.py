"""What training takes beyond its tensors: blocks that the allocator holds and nobody uses, workspaces,
context, communication buffers."""

from collections.abc import Iterable
from typing import NamedTuple

from ... import facts
from ...frameworks import framework
from ...ledger import Key, Kind, Ledger, Line, category_of, ranged, sums
from ...model.model import Model
from ...run.training import TrainingResolved, recipe
from ...units import GIB
from .job import Job
from .phases import StepPhase, reaching
from .recomputation import waits_on_host
from .states import RankStates


def streams_apart(request: TrainingResolved, phases: tuple[StepPhase, ...], worst: StepPhase) -> int:
    """Fully sharded ranks gather and scatter on streams of their own, and the allocator keeps a pool for each
    stream: what these take in a layer stays reserved while the computation has its peak; the root's
    gradients at the end of the backward reuse what the layers' activations left. Source:
    CUDACachingAllocator.cpp (blocks are found by stream), FSDP's all_gather and reduce_scatter streams;
    which buffer lies in which pool is not told apart, measured reserved peaks agree better with all of
    them.
    """
    if request.sharding not in ("fsdp1", "fsdp2", "hsdp"):
        return 0

    def moved(phase: StepPhase) -> int:
        return sum(part.bytes for part in phase.parts if part.category == "communication")

    def shards(phase: StepPhase) -> int:
        return sum(part.bytes for part in phase.parts if part.category == "gradients")

    moves = max(moved(phase) for phase in phases if phase.moment != "in the embedding") - moved(worst)
    computed = max(phase.total_bytes - shards(phase) for phase in phases)
    made = computed + max(shards(phase) for phase in phases) - worst.total_bytes
    return max(0, moves, made)


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
    on_card = sharding != "zero3" and of.habits(request.framework_version).offload_step == "card"
    if sharding == "fsdp1" or (sharding == "zero3" and of.zero_is_deepspeed):
        found.append(sharding)
    if request.loss == "compiled":
        found.append("compiled_loss")
    if flattens(request):
        found.append("flattened")
    if request.method == "full" and "optimizer" in request.offload and not on_card:
        found.append("offloaded")
    if of.runs_transformers:
        found.append("modules")
    found.append(request.method)
    if request.expandable_segments:
        found.append("expandable")
    if request.mesh.pp > 1:
        found.append("piped")
    if request.mesh.ep > 1:
        found.append("exchanged")
    if request.recompute == "full":
        found.append("recompute")
    if request.attention == "eager":
        found.append("eager")
    if request.kernels == "compiled":
        found.append("compiled")
    if not request.packed and request.task != "pretrain":
        found.append("variable")
    return tuple(found)


ZERO = ("zero1", "zero2", "zero3")


def flattens(request: TrainingResolved) -> bool:
    """Return whether the optimizer's step makes single tensors of a whole partition, which an allocator does
    not find in what the backward left: DeepSpeed's engine, all weights being trained on the card.

    >>> asked = TrainingResolved(framework="deepspeed", sharding="zero3")
    >>> flattens(asked), flattens(asked._replace(offload=("optimizer",)))
    (True, False)
    >>> flattens(asked._replace(sharding="none", precision="deepspeed-fp16"))  # the engine without ZeRO
    True
    """
    on_card = request.method == "full" and "optimizer" not in request.offload
    alone = request.sharding in ("none", "ddp") and recipe(request.precision).step == "flat"
    divided = request.sharding in ZERO and framework(request.framework).zero_is_deepspeed
    return on_card and (alone or divided)


PASSING = ("activations", "logits", "temporaries", "communication")
"""Categories whose bytes the graphs give, so that they have the spread of the runs that graphs were compared
with."""
COUNTED: tuple[Key, ...] = ("communication.bucket", "temporaries.gradient")
"""Keys of what no graph gives: buffers that a framework's source sizes to the value, so that there is at
least that much."""
STEPPED: Key = "temporaries.optimizer_step"
"""What a step makes: of an engine that flattens gradients it was counted to the value, and has no spread."""


INPUTS: Key = "activations.kept"
"""What layers keep. Where a framework puts the inputs of layers into host memory, its runs were measured
without them; in releases that leave them on the card they have the bytes of their shapes."""


class Shares(NamedTuple):
    """What frameworks take over what is counted: of graphs, and of what sharded ranks gather and reduce."""

    graphs: facts.Constant
    gathered: facts.Constant
    exact: frozenset[Key]
    """Keys without a spread."""

    def of(self, key: Key) -> facts.Constant | None:
        """Return the share of a line; None: it has no spread."""
        category = category_of(key)
        if category not in PASSING or key in self.exact:
            return None
        return self.gathered if category == "communication" else self.graphs


def shares_of(request: TrainingResolved, model: Model | None = None) -> Shares:
    """Return what frameworks were measured to take over what is counted."""
    conditions = words(request)
    if model is not None and model.kinds.has_experts:
        conditions += ("experts",)
    if model is not None and any(tensor.part == "vision" for tensor in model.tensors):
        conditions += ("towered",)
    gathers = "gathered_share" if "zero3" in conditions else "activation_share"
    graphs, gathered = (
        facts.constant("training", name, (0,), *conditions) for name in ("activation_share", gathers)
    )
    exact: set[Key] = {STEPPED} if "flattened" in conditions else set()
    on_host = framework(request.framework).inputs_on_host and request.recompute == "full"
    if on_host and not waits_on_host(request):
        exact.add(INPUTS)
    return Shares(graphs, gathered, frozenset(exact))


def both_ends(key: Key, num_bytes: int, shares: Shares) -> tuple[int, int]:
    """Return the least and the most bytes of something that comes and goes.

    >>> shares = shares_of(TrainingResolved(framework="deepspeed", sharding="zero3"))
    >>> [both_ends(key, 100, shares) for key in ("logits.loss", "communication.gathered", STEPPED)]
    [(95, 112), (90, 160), (100, 100)]
    """
    share = shares.of(key)
    if share is None:
        return num_bytes, num_bytes
    return num_bytes if key in COUNTED else round(num_bytes * share.low), round(num_bytes * share.high)


def with_spread(lines: list[Line], job: Job) -> list[Line]:
    """Return the lines; what comes and goes has the spread of the runs that graphs were compared with."""
    shares = shares_of(job.request, job.model)

    def spread(line: Line) -> Line:
        share = shares.of(line.key)
        if share is None:
            return line
        low, high = both_ends(line.key, line.bytes, shares)
        kind: Kind = "fitted" if share.num_runs else "assumed"
        return line._replace(kind=kind, low_bytes=low, high_bytes=max(line.high_bytes, high))

    return [spread(line) for line in lines]


class PeakInterval(NamedTuple):
    """The fullest moment of a step, its parts as wide as the peak is, and the least that the peak can be."""

    phase: StepPhase
    least: int


def peak_interval(phases: tuple[StepPhase, ...], job: Job) -> PeakInterval:
    """Return the interval of a peak: the peak is the fullest of all moments, each of which has a spread of
    its own. So the least of each is below it, and the most of each may be it."""
    shares = shares_of(job.request, job.model)

    def opened(phase: StepPhase) -> StepPhase:
        return phase._replace(
            parts=tuple(
                part._replace(most=max(part.most, both_ends(part.key, part.bytes, shares)[1]))
                for part in phase.parts
            )
        )

    wide = tuple(opened(phase) for phase in phases)
    least = max(sum(both_ends(part.key, part.bytes, shares)[0] for part in phase.parts) for phase in phases)
    return PeakInterval(reaching(max(wide, key=lambda phase: phase.total_bytes), wide), least)


def at_least(lines: list[Line], least: int) -> list[Line]:
    """Return the lines of a peak, whose low ends add up to the least that it can be: what is missing comes
    from the widest.

    >>> sizes = (9, 4, 9), (9, 8, 9)
    >>> lines = [ranged("logits.loss", "policy", "", each, "fitted", "", "") for each in sizes]
    >>> [line.low_bytes for line in at_least(lines, 15)]
    [7, 8]
    """
    missing, found = least - sum(line.low_bytes for line in lines), list(lines)
    for index in sorted(range(len(found)), key=lambda at: found[at].low_bytes - found[at].bytes):
        more = max(0, min(missing, found[index].bytes - found[index].low_bytes))
        found[index] = found[index]._replace(low_bytes=found[index].low_bytes + more)
        missing -= more
    return found


class KeptBlocks(NamedTuple):
    """Bytes beyond what is allocated that an allocator cannot give back, the most and the least of them."""

    value: int
    high: int
    low: int = 0


NONE_KEPT = KeptBlocks(0, 0)


class Leftover(NamedTuple):
    """What all else leaves of the card: by its values, and by its upper ends."""

    left: int
    least: int


def room_beside(capacity: int, others: Iterable[Line]) -> Leftover:
    """Return what lines leave of a card."""
    value, _, high = sums(others)
    return Leftover(capacity - value, capacity - high)


def held_beyond(
    job: Job,
    lines: list[Line],
    transient: int,
    apart: int,
    above: int,
    kept: KeptBlocks,
    pinned: KeptBlocks,
) -> Line:
    """What the allocator holds: a share of what comes and goes during a step; states lie still and leave no
    gaps. An allocator that meets the card's limit gives idle segments back before it fails: `within_room`.

    reserved = steady + share x (allocated - steady + what other streams take at other moments). Lengths that
    vary leave blocks of many sizes behind, unless segments expand. The optimizer's step, `above` the others'
    peak where it is the worst, takes blocks of the same sizes every time, and finds them in what the backward
    left. A fitted share was measured against estimates, so that its spread holds theirs too: both together
    are as wide as the share's. What the engine pins is there in any case. Slack is what is held beyond
    the share, however little comes and goes.
    """
    conditions = words(job.request)
    row = facts.constant("training", "reserved_share", (0,), *conditions)
    slack = facts.constant("training", "reserved_slack", (0,), *conditions)
    ends = (row.value, pinned.value), (row.low, pinned.low)
    value, low = (max(least, apart + round(transient * (share - 1)) - above) for share, least in ends)
    high = max(0, apart + round(transient * (row.high - 1)))
    kind: Kind = "fitted" if row.num_runs else "assumed"
    if row.num_runs:
        low += sum(line.bytes - line.low_bytes for line in lines)
        high -= sum(line.high_bytes - line.bytes for line in lines)
    low, high = max(0, min(low, value)), max(high, value) + round(slack.high * GIB)
    value += round(slack.value * GIB)
    return ranged(
        "fragmentation.reserved",
        "policy",
        "held unused by PyTorch's allocator",
        (value, low, high),
        kind,
        (f"{apart:,} B of other streams + " if apart else "")
        + f"{transient:,} B x ({row.value} - 1)"
        + (f" - {above:,} B that the optimizer takes of it" if above and value else "")
        + (f" + {slack.value:g} GiB however little" if slack.value else "")
        + f", at most what the card leaves, or {kept.value:,} B",
        row.source,
    )


def kept_beyond(
    job: Job,
    transient: int,
    pinned: KeptBlocks = NONE_KEPT,
    below: int | None = None,
    several: bool = False,
) -> KeptBlocks:
    """Return what the allocator cannot give back: a share of what comes and goes, to which belongs what an
    engine's step makes in single tensors (`flattens`), and what stays of however little; or, if it is more,
    what the engine's order of allocations pins, or what its step may leave that is `below` the fullest moment
    by so much. Idle segments of other streams go back too (CUDACachingAllocator.cpp,
    release_cached_blocks). `several`: models take turns."""
    conditions = (*words(job.request), *["several"] * several)
    stays, slack, step = (
        facts.constant("training", f"kept_{name}", (0,), *conditions) for name in ("share", "slack", "step")
    )
    ends = (stays.value, slack.value), (stays.high, slack.high), (stays.low, slack.low)
    shares = [round(transient * (share - 1) + more * GIB) for share, more in ends]
    most = 0 if below is None else round((transient - below) * (step.high - 1)) - below
    return KeptBlocks(*map(max, shares, pinned._replace(high=max(pinned.high, most))))


def below_in_step(phases: tuple[StepPhase, ...]) -> int:
    """Return how far the step stays below the fullest moment."""
    in_step = max(phase.total_bytes for phase in phases if phase.name == "optimizer")
    return max(phase.total_bytes for phase in phases) - in_step


def pinned_by_engine(job: Job, states: RankStates, phases: tuple[StepPhase, ...]) -> KeptBlocks:
    """Return what DeepSpeed's engine pins beside the fullest moment: in the step; elsewhere tensors of layers
    lie in it. Segments that expand give pages back."""
    engine, request = job.engine, job.request
    if engine is None or not flattens(request) or request.expandable_segments:
        return NONE_KEPT
    largest = -(-states.largest_trained // (job.mesh.dp or 1))
    at_once = engine.updated_at_once(states.values_here, largest)
    pinned = engine.pinned(states.values_here, at_once, job.made_in_step)
    below = below_in_step(phases)
    return KeptBlocks(*(max(0, each - below) for each in pinned))


def late_share(job: Job) -> facts.Constant:
    """Return what of the weights that a pass gathers an allocator may hold that does not know what streams of
    communication are done with."""
    ascend = ["ascend"] * (job.hardware.card.vendor == "Huawei")
    return facts.constant("training", "late_share", (0,), *words(job.request), *ascend)


def given_back_late(line: Line, job: Job, lines: list[Line], room: Leftover) -> Line:
    """Return what the allocator holds where the host runs ahead of the card: up to the weights that a pass
    gathers (`late_share`), and no more than the card has before the next gather fails."""
    row = late_share(job)
    passed = round(row.high * job.model.num_parameters * job.recipe.gathered)
    if not passed:
        return line
    once = sum(each.bytes for each in lines if each.key == "communication.gathered")
    most = min(line.bytes + passed, max(0, room.left) + once)
    return line._replace(high_bytes=max(line.high_bytes, most), source=f"{line.source}; {row.source}")


def within_room(line: Line, kept: KeptBlocks, room: Leftover) -> Line:
    """Return what the allocator holds beyond the tensors on a card: idle segments go back before anything
    fails, and no more of them than must. So what is held is at most what all else leaves of the card, `room`,
    and at least what cannot be given back, `kept`.

    >>> held = ranged("fragmentation.reserved", "policy", "held", (9, 1, 12), "fitted", "", "")
    >>> within_room(held, KeptBlocks(3, 4, 2), Leftover(5, 3))[4:7]
    (4, 2, 4)
    """
    value = min(line.bytes, max(0, kept.value, room.least, min(kept.high, room.left)))
    high = max(value, min(line.high_bytes, max(kept.high, room.least)))
    low = min(max(line.low_bytes, kept.low), value)
    return line._replace(bytes=value, low_bytes=low, high_bytes=high)


def process_line(key: Key, job: Job) -> Line:
    """A line of what lies outside of the allocator, or of what libraries take from it once. Where all ranks
    hold the same weights and reduce gradients, one communicator or two do what there is."""
    card, request, mesh = job.hardware.card, job.request, job.mesh
    alike = mesh.dp == mesh.num_ranks and request.sharding in ("ddp", "zero1", "zero2")
    conditions = [card.vendor.lower(), request.framework] + (["hopper"] if card.capability >= 9.0 else [])
    if card.vendor == "NVIDIA" and card.link.startswith("NVLink") and "bridge" not in card.link:
        conditions.append("meshed")
    elif alike and card.has_no_link:
        conditions.append("no_link")
    elif alike and card.vendor == "NVIDIA":
        conditions.append("bridged")
    row = facts.constant("training", QUANTITIES[key], (0,), *conditions)
    value, low, high = (round(number * GIB) for number in (row.value, row.low, row.high))
    kind: Kind = "fitted" if row.num_runs else "assumed"
    what = QUANTITIES[key].replace("_", " ")
    found = ranged(key, "process", what, (value, low, high), kind, f"{row.value} GiB", row.source)
    return (
        found._replace(category="temporaries") if key == "runtime.cublas" else found
    )  # torch allocates it, as it does tensors
