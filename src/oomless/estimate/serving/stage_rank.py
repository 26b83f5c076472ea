"""One rank of a group of equal ones: what is charged to its budget, what comes beside it, and the pool that
is left for the cache."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from ...engines.overhead_lines import PROCESS
from ...engines.rank import Budget, CacheLayout, Placed, Stage
from ...engines.record import Engine
from ...ledger import Ledger, Line, exact, sums
from ...model.model import Model
from ...records import Record
from ...run.cards import Card, Hardware
from ...run.serving import Asked, Resolved
from .weights import uncertain_draft, weight_lines

if TYPE_CHECKING:
    from ...engines.requantised import Loading

Adjust = Callable[[Model, Asked, Hardware, Budget], Budget]
"""Gives what is charged beside weights and cache as a machine's own logs have it."""


LOADED = ("weights.", "fragmentation.weights", "fragmentation.loading")
"""Keys of lines that are there once weights are loaded."""


class Room(Record):
    """Bytes that are left, by the middle of the estimate and at both ends of it."""

    least: int
    middle: int
    most: int

    @classmethod
    def of(cls, middle: int, lines: Iterable[Line]) -> "Room":
        """Return what is left where lines may take more or less.

        >>> from ...ledger import ranged
        >>> Room.of(5, [ranged("runtime.context", "process", "context", (3, 1, 7), "fitted", "", "")])
        Room(least=1, middle=5, most=7)
        """
        found = tuple(lines)
        return cls(
            middle - sum(line.high_bytes - line.bytes for line in found),
            middle,
            middle + sum(line.bytes - line.low_bytes for line in found),
        )

    def plus(self, found: tuple[int, int, int]) -> "Room":
        """Return the room with so much more of it, at either end and in the middle."""
        least, middle, most = found
        return Room(self.least + least, self.middle + middle, self.most + most)


class StageRank(Record):
    """A rank of one pipeline stage; every other rank of the stage is like it."""

    name: str
    lines: tuple[Line, ...]
    """Everything on its card: weights, what the budget is charged with, what comes beside it, the cache that
    is needed."""
    beside: tuple[Line, ...]
    card_bytes: int
    budget_bytes: int
    """What the engine takes at start: all that is charged, and the whole pool."""
    pool_bytes: int
    """What the engine would give the cache, and the ends of its interval."""
    pool_low: int
    pool_high: int
    cache: CacheLayout
    needed_bytes: int
    load: tuple[Line, ...] = ()
    """What is on its card while it loads, where that is more than what stays; (): never more."""
    load_rule: str = ""
    """Why so much is loaded, and what loads less."""
    unused: tuple[int, int, int] = (0, 0, 0)
    """What the load never takes of what is charged: Budget.unused."""
    passing: tuple[Line, ...] = ()
    """What lies beside the weights while they are loaded, and is gone before the pool is cut."""
    larger: int = 0
    """What a system may give the pool more of a machine's one memory."""
    wanted: int = 0
    """What the engine wants to be free before it loads: Budget.wanted."""

    def ledger(self, num_ranks: int) -> Ledger:
        """Return the ledger of the group, whose room is the least of two: the pool's, once the load has its
        cache; the card's, once the pool is taken whole and what comes beside it is there. So is what else is
        asked of the card before: that something passes while weights are loaded, that a share of it is free,
        which is said where it may not be.

        What is charged and the load never takes is room on the card, though the pool does not get it. What
        comes beside the budget raises what a rank may use, and so does not decide whether the pool holds the
        load; what is charged to the budget only moves the pool, and not what is left of the card.
        """
        in_pool, on_card = self.pool_room, self.card_room
        rooms = [in_pool, on_card] if self.pool_bytes > 0 and on_card.least < 0 else [in_pool]
        if self.passing:
            rooms.append(self.loading_room)
        if self.wanted and self.free_room.least < 0:
            rooms.append(self.free_room)
        least, room, most = (min(ends) for ends in zip(*rooms, strict=True))
        total, low, high = sums(self.lines)
        capacity = min(total + room, self.card_bytes)
        least = min(least, capacity - total)  # both may lack room: the card then lacks their sum
        lowest = capacity - most
        if self.larger:  # the room of a larger share is none of what is taken
            lowest = max(lowest, min(low, capacity))
        idle = lowest - low, high - (capacity - least)
        overrun = max(-on_card.least, 0) if self.pool_bytes > 0 else 0
        return Ledger(self.name, num_ranks, capacity, self.lines, overrun, idle)

    @property
    def charged(self) -> list[Line]:
        """Return what the budget is charged with, and the cache that is needed."""
        return [line for line in self.lines if line not in self.beside]

    @property
    def has_said_pool(self) -> bool:
        """Return whether the pool is as large as somebody said, whatever else takes."""
        return self.pool_low == self.pool_bytes == self.pool_high

    @property
    def pool_room(self) -> Room:
        """Return what the pool has left of the load."""
        if self.has_said_pool:
            return Room.of(self.pool_bytes - self.needed_bytes, ())
        return Room.of(self.pool_bytes - self.needed_bytes, self.charged).plus((0, 0, self.larger))

    @property
    def card_room(self) -> Room:
        """Return what the card has left of the whole pool and what comes beside it; of what is charged too,
        where that does not move the pool."""
        left = self.card_bytes - self.budget_bytes - sum(line.bytes for line in self.beside)
        return Room.of(left, self.lines if self.has_said_pool else self.beside).plus(self.unused)

    @property
    def deciding(self) -> Iterable[Line]:
        """Return the lines whose spreads decide: of what comes beside the pool, where the card may lack most,
        or of what is charged."""
        return self.beside if self.card_room.least < min(self.pool_room.least, 0) else self.charged

    @property
    def loading_room(self) -> Room:
        """Return what the card has left of weights, process and what passes."""
        there = [line for line in self.lines if line.key in PROCESS or line.key.startswith(LOADED)]
        found = (*there, *self.passing)
        return Room.of(self.card_bytes - sum(line.bytes for line in found), found)

    @property
    def free_room(self) -> Room:
        """Return what is free of the card beside what the engine wants to be free, once its process has its
        context."""
        there = [line for line in self.lines if line.key == "runtime.context"]
        return Room.of(self.card_bytes - self.wanted - sum(line.bytes for line in there), there)

    @property
    def loads(self) -> bool:
        """Return whether the card holds what is on it while weights are loaded."""
        return sums(self.load)[0] <= self.card_bytes

    def starts(self, request: Resolved, rules: Engine) -> bool:
        """Return whether the engine starts on this rank, by the middle of the estimate: the pool holds the
        least load that can be asked, and what comes beside it stays on the card.

        The least load is the engine's own condition: vLLM wants one sequence of max_model_len, SGLang and
        TensorRT-LLM any token; llama.cpp makes room for the whole load.
        """
        beside = sum(line.bytes for line in self.beside) - self.unused[1]
        return self._holds_least(request, rules, self.pool_bytes, beside)

    def surely_starts(self, request: Resolved, rules: Engine) -> bool:
        """Return whether the engine starts on this rank at the worse end of the estimate's interval too."""
        beside = sum(line.high_bytes for line in self.beside) - self.unused[0]
        return self._holds_least(request, rules, self.pool_low, beside)

    def _holds_least(self, request: Resolved, rules: Engine, pool_bytes: int, beside_bytes: int) -> bool:
        load = request if rules.cache_of_load else request._replace(context=1, concurrency=1)
        least = rules.needed_bytes(self.cache, load)
        loads = not self.passing or self.loading_room.middle >= 0
        loads = loads and (not self.wanted or self.free_room.middle >= 0)
        return loads and pool_bytes >= max(least, 1) and self.budget_bytes + beside_bytes <= self.card_bytes

    def at_once(self, request: Resolved, rules: Engine) -> int:
        """Return how many sequences of the asked length run together on this rank, of those that it is
        asked for; where nothing waits (transformers runs a batch whole), all or none."""
        asked = -(-request.concurrency // request.layout.dp)
        if not self.starts(request, rules):
            return 0
        if self.pool_bytes >= self.needed_bytes:
            found = asked
        elif not request.max_num_seqs:
            return 0
        else:
            found = int(rules.sequences(self.cache, self.pool_bytes, request.context, request))
        return min(found, asked, request.max_num_seqs or asked)


def stage_rank(
    model: Model,
    request: Resolved,
    hardware: Hardware,
    stage: Stage,
    rules: Engine,
    host_bytes: int,
    adjust: Adjust | None = None,
) -> StageRank:
    """Return one rank of a stage for a question that the engine has resolved. `host_bytes`: what the engine
    holds in the host's memory."""
    layout = request.layout
    apart = layout.num_ranks == layout.pp  # every stage is one card
    mine = hardware.at(stage.position) if apart else hardware
    placed = rules.placed_weights(model, request, mine, stage)
    source = place_of(rules.placed_weights, request)
    budget = rules.budget_lines(model, request, mine, stage)
    if adjust is not None:
        budget = adjust(model, request, mine, budget)
    shared = shared_memory_lines(mine.card, request, stage, rules, host_bytes)
    spread = (rules.in_file(model, request) if rules.in_file else model).size_spread
    leaves_blocks = rules.leaves_blocks(model, request)
    weights = (
        *weight_lines(placed, rules.counts, source, spread, leaves_blocks),
        *uncertain_draft(model, placed),
    )
    charged = (*weights, *budget.charged, *shared)
    allowed = rules.budget_bytes(request, mine)
    at_most = mine._replace(card=mine.card.at_most)
    taken = sum(line.bytes for line in charged)
    cache = rules.cache_layout(model, request, stage)

    def made(num_bytes: int, allowed: int = allowed) -> int:
        left = rules.pool_bytes(request, allowed, num_bytes)
        return rules.made_pool(cache, request, left) if rules.made_pool is not None else left

    pool = made(taken)
    needed = needed_line(cache, request, rules)
    beside = budget.beside
    if rules.beside_pool is not None:
        beside = (*beside, *rules.beside_pool(model, request, stage, pool))
    loading = rules.loading(model, request, mine, stage) if rules.loading is not None else None
    return StageRank(
        f"{stage.name} ({mine.card.name})" if hardware.mixed and apart else stage.name,
        (*charged, *beside, needed),
        beside,
        mine.card.memory_bytes,
        taken + pool,
        pool,
        made(sum(line.high_bytes for line in charged)),
        made(sum(line.low_bytes for line in charged), rules.budget_bytes(request, at_most)),
        cache,
        needed.bytes,
        loaded_lines(loading, (*charged, *beside), rules) if loading else (),
        f"{loading.why}; {loading.instead}" if loading else "",
        budget.unused,
        (*budget.passing, *passing_of(loading, placed)),
        rules.budget_bytes(request, at_most) - allowed if mine.card.shared_bytes else 0,
        budget.wanted,
    )


def passing_of(loading: "Loading | None", placed: Sequence[Placed]) -> tuple[Line, ...]:
    """Return what a checkpoint that is known to be in 16 bit takes beside what stays of it, while it
    loads."""
    if loading is None or not loading.decides:
        return ()
    size = sum(each.total_bytes for each in loading.placed) - sum(each.total_bytes for each in placed)
    return (exact("fragmentation.loading", "engine", "weights in 16 bit", size, loading.why, loading.source),)


def loaded_lines(loading: "Loading", staying: Iterable[Line], rules: Engine) -> tuple[Line, ...]:
    """Return what is on the card at the peak of loading: the tensors of that moment, and what the process
    itself has taken by then."""
    process = (line for line in staying if line.key in PROCESS)
    return (*weight_lines(loading.placed, rules.counts, loading.source), *process)


def needed_line(cache: CacheLayout, request: Resolved, rules: Engine) -> Line:
    """Return the cache that the asked load needs on a rank; data-parallel ranks divide the sequences."""
    concurrency, groups = request.concurrency, request.layout.dp
    on_a_rank = -(-concurrency // groups)
    needed = rules.needed_bytes(cache, request._replace(concurrency=on_a_rank))
    what = f"cache for {on_a_rank} x {request.context:,} tokens" + (
        f" of {concurrency}" if groups > 1 else ""
    )
    source = f"{place_of(rules.cache_layout, request)}, {cache.dtype}"
    formula = f"{cache.formula}; {in_blocks(cache, needed)}"
    return exact("kv_cache.needed", "engine", what, needed, formula, source)


def place_of(reckoned: Callable[..., object], request: Resolved) -> str:
    """Return where an engine's number is reckoned: the file, its function, and whose release was asked.

    >>> from ...engines import engine
    >>> place_of(engine("vllm").placed_weights, Resolved(engine="vllm", engine_version="0.33.0"))
    'engines/vllm/weights.py: placed_weights, vllm 0.33.0'
    """
    file = reckoned.__module__.removeprefix("oomless.").replace(".", "/")
    return f"{file}.py: {reckoned.__name__}, {request.engine} {request.engine_version}"


def in_blocks(cache: CacheLayout, needed: int) -> str:
    """The bytes of a load as blocks of the pool, and what takes them.

    >>> from ...engines.rank import CacheGroup
    >>> in_blocks(
    ...     CacheLayout((CacheGroup("latents", 61, 16, 1124352),), 1124352, 70272, 0, 1124352, "", ""),
    ...     11514488832,
    ... )
    '10,241 blocks of 1,124,352 B'
    """
    of_blocks = needed - cache.set_aside_bytes
    if not cache.block_bytes:
        return f"no layer keeps anything a token; {needed:,} B set aside"
    blocks = f"{of_blocks / cache.block_bytes:,.10g} blocks of {cache.block_bytes:,} B"
    if len(cache.groups) > 1:
        kinds = dict.fromkeys(f"{group.block_size} tokens of {group.what}" for group in cache.groups)
        blocks += f", {len(cache.groups)} groups: {', '.join(kinds)}"
    return blocks + (f" + {cache.set_aside_bytes:,} B set aside" if cache.set_aside_bytes else "")


def shared_memory_lines(
    card: Card, request: Resolved, stage: Stage, rules: Engine, host_bytes: int
) -> tuple[Line, ...]:
    """Return what the host's part takes of a card whose memory is the host's too; each rank of such has a
    machine of its own."""
    if not card.shared_bytes:
        return ()
    from .unified_memory import on_shared_memory  # few machines have one memory

    if rules.host_memory_at == "every rank":
        return on_shared_memory(card, -(-host_bytes // request.layout.num_ranks))
    return on_shared_memory(card, host_bytes if stage.last else 0)
