"""Line and Ledger: the one shape in which bytes leave any room, predicted or measured."""

from collections.abc import Iterable, Mapping
from typing import Literal

from .records import Record

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

Owner = Literal["policy", "reference", "value", "reward", "draft", "engine", "process"]
"""Whose bytes they are. Training: the policy and the models beside it, a rollout engine. Serving: the engine
with its model, a draft. `process` holds what no tensor is: the context of the card, communication libraries,
handles."""

Key = Literal[
    "weights.attention",
    "weights.feed_forward",
    "weights.routed_experts",
    "weights.shared_experts",
    "weights.routers",
    "weights.embedding",
    "weights.output_head",
    "weights.norms",
    "weights.rotary_tables",
    "weights.indexer",
    "weights.compressors",
    "weights.hyper_connections",
    "weights.engram",
    "weights.vision",
    "weights.layers",
    "weights.draft",
    "weights.adapters",
    "weights.scales",
    "weights.workspaces",
    "weights.unquantized",
    "weights.unexplained",
    "weights.on_host",
    "weights.trained",
    "weights.frozen",
    "weights.traced",
    "gradients.trained",
    "gradients.master_copies",
    "gradients.traced",
    "optimizer.master_copies",
    "optimizer.moments",
    "optimizer.states",
    "optimizer.traced",
    "activations.profile_run",
    "activations.compute_buffer",
    "activations.draft_context",
    "activations.kept",
    "activations.kept_below",
    "activations.running",
    "activations.in_flight",
    "activations.input_gradient",
    "activations.norms",
    "activations.cache",
    "activations.traced",
    "logits.sampler",
    "logits.decoder",
    "logits.loss",
    "logits.held",
    "logits.traced",
    "kv_cache.pool",
    "kv_cache.needed",
    "kv_cache.copies",
    "kv_cache.traced",
    "communication.buffers",
    "communication.symmetric",
    "communication.memory_buffer",
    "communication.bucket",
    "communication.gathered",
    "communication.reduced",
    "communication.pipeline",
    "communication.traced",
    "temporaries.optimizer_step",
    "temporaries.gradient",
    "temporaries.autocast",
    "temporaries.unpacked_experts",
    "temporaries.running",
    "temporaries.cache_growth",
    "temporaries.traced",
    "inputs.batch",
    "inputs.traced",
    "runtime.context",
    "runtime.non_torch",
    "runtime.cuda_graphs",
    "runtime.sampler_state",
    "runtime.request_table",
    "runtime.workspaces",
    "runtime.cublas",
    "runtime.transformer_engine",
    "runtime.stand_in_gradients",
    "runtime.fp8_copies",
    "runtime.traced",
    "fragmentation.weights",
    "fragmentation.loading",
    "fragmentation.remainders",
    "fragmentation.reserved",
    "fragmentation.traced",
]
"""What a line is, for code: lines are joined, chosen and tested by key and owner. docs/en/json.md says what
each means. The word before the dot is the line's category, unless the line says otherwise
(`runtime.non_torch` is communication among several ranks). `kv_cache.pool` is what an engine allocates,
`kv_cache.needed` what the asked load takes of it: a ledger holds the second."""

KEYS: tuple[Key, ...] = Key.__args__  # type: ignore[attr-defined]


def category_of(key: Key) -> Category:
    """Return the category that a key names before its dot.

    >>> category_of("weights.routed_experts")
    'weights'
    """
    category: Category = key.partition(".")[0]  # type: ignore[assignment]  # every key begins with a category: a test holds them together
    return category


class Line(Record):
    """Bytes of one thing on each rank of a group, and where the number comes from."""

    key: Key
    owner: Owner
    category: Category
    what: str
    """For people alone: no code compares it."""
    bytes: int
    low_bytes: int
    high_bytes: int
    kind: Kind
    formula: str
    """The arithmetic with the numbers put in."""
    source: str
    """The function, table row or document that the number rests on."""


def ranged(
    key: Key, owner: Owner, what: str, sizes: tuple[int, int, int], kind: Kind, formula: str, source: str
) -> Line:
    """Return a line with a spread, in its key's category; `sizes` are the value and both ends of its
    interval, in bytes."""
    return Line(key, owner, category_of(key), what, *sizes, kind, formula, source)


def exact(key: Key, owner: Owner, what: str, num_bytes: int, formula: str, source: str) -> Line:
    """Return a line that follows from shapes alone: no spread.

    >>> exact(
    ...     "kv_cache.needed",
    ...     "engine",
    ...     "cache of one token",
    ...     70272,
    ...     "61 layers x 1,152 B",
    ...     "DeepSeek-V3, MLA in BF16",
    ... ).low_bytes
    70272
    """
    return Line(key, owner, category_of(key), what, num_bytes, num_bytes, num_bytes, "exact", formula, source)


class Ledger(Record):
    """What one rank of a group of equal ranks holds. Totals are sums over the lines and nothing else."""

    group: str
    num_ranks: int
    capacity_bytes: int
    lines: tuple[Line, ...]
    overrun_bytes: int = 0
    """By how much, at most, a pool that is taken whole and what comes beside it pass the card, however little
    of it is needed."""
    idle_spread: tuple[int, int] = (0, 0)
    """How much of the lines' spreads below and above decides nothing: what comes beside a pool raises the
    capacity by itself, whatever it is, and what an engine weighed has room."""

    @property
    def total_bytes(self) -> int:
        return sum(line.bytes for line in self.lines)

    @property
    def low_bytes(self) -> int:
        return sum(line.low_bytes for line in self.lines) + self.idle_spread[0]

    @property
    def high_bytes(self) -> int:
        """Every spread that decides at its upper end: a bound, so that "fits" is no matter of luck."""
        return sum(line.high_bytes for line in self.lines) - self.idle_spread[1]

    @property
    def headroom_bytes(self) -> int:
        return self.capacity_bytes - self.total_bytes

    def by_category(self) -> dict[str, int]:
        """Bytes a category, in the order of CATEGORIES; categories without a line are left out."""
        sums: dict[str, int] = {}
        for line in self.lines:
            sums[line.category] = sums.get(line.category, 0) + line.bytes
        return {category: sums[category] for category in CATEGORIES if category in sums}

    def by_owner(self) -> dict[str, int]:
        """Bytes an owner: the policy, frozen and trained models beside it, the engine."""
        sums: dict[str, int] = {}
        for line in self.lines:
            sums[line.owner] = sums.get(line.owner, 0) + line.bytes
        return sums

    @property
    def verdict(self) -> Verdict:
        """fits, if even the upper end of the interval is within the capacity; tight, if the capacity lies
        inside it."""
        if self.high_bytes <= self.capacity_bytes:
            return "fits"
        return "tight" if self.low_bytes <= self.capacity_bytes else "does_not_fit"


class Observed(Record):
    """One thing that was measured: by a line of a log, an event of an allocator, a sample of a live process,
    a trace."""

    key: str
    """A line's key, a category, or the name of a sum of them (facts/measured_quantities.csv)."""
    value: float
    """Bytes, unless `unit` says otherwise."""
    source: str
    """FILE:LINE of the log, the event or the sample."""
    owner: Owner | None = None
    """None: of whoever holds such bytes."""
    rank: int | None = None
    step: int | None = None
    unit: str = "B"


class Compared(Record):
    """One row of prediction beside measurement. Either side is None where there is nothing to put beside the
    other."""

    key: str
    owner: Owner | None
    predicted: float | None
    low: float | None
    high: float | None
    measured: float | None
    unit: str = "B"
    source: str = ""
    """Where the measurement stands."""
    reason: str = ""
    """Why they differ, where that is known."""

    @property
    def difference(self) -> float:
        """Predicted less measured; a side that is missing counts as nothing."""
        return (self.predicted or 0) - (self.measured or 0)

    @property
    def error(self) -> float | None:
        """The difference as a share of what was measured."""
        return None if not self.measured or self.predicted is None else self.predicted / self.measured - 1

    @property
    def inside(self) -> bool | None:
        """Whether the measurement lies in the predicted interval."""
        if self.measured is None or self.low is None or self.high is None:
            return None
        return self.low <= self.measured <= self.high

    def to_json(self) -> dict[str, object]:
        """Return the row as every command prints it."""
        return {**self._asdict(), "difference": self.difference, "error": self.error}


UNEXPLAINED, TOTAL = "unexplained", "total"


def chosen(lines: Iterable[Line], parts: Iterable[str], owner: Owner | None = None) -> tuple[Line, ...]:
    """Return the lines whose key or category is among `parts`, of one owner if one is given; `total` means
    every line."""
    wanted = frozenset(parts)
    return tuple(
        each
        for each in lines
        if (each.key in wanted or each.category in wanted or TOTAL in wanted) and owner in (None, each.owner)
    )


def sums(lines: Iterable[Line]) -> tuple[int, int, int]:
    """Return (bytes, low, high) of lines, every spread at its end at once.

    >>> sums(
    ...     [
    ...         exact("weights.norms", "engine", "norms", 3, "", ""),
    ...         exact("weights.layers", "engine", "layers", 4, "", ""),
    ...     ]
    ... )
    (7, 7, 7)
    """
    found = tuple(lines)
    return sum(x.bytes for x in found), sum(x.low_bytes for x in found), sum(x.high_bytes for x in found)


def beside(
    predicted: Iterable[Line],
    observed: Iterable[Observed],
    parts: Mapping[str, tuple[str, ...]] | None = None,
) -> tuple[Compared, ...]:
    """Return predicted lines beside what was measured: a row an observation, then what nobody measured, the
    unexplained rest last.

    `parts` names sums: observation -> keys or categories that it adds up (facts/measured_quantities.csv). The
    rest is a measured `total` less all else that was measured, beside the lines that no observation covers;
    without a total there is nothing to explain.

    >>> lines = [
    ...     exact("weights.layers", "engine", "layers", 70, "", ""),
    ...     exact("runtime.context", "process", "context", 5, "", ""),
    ... ]
    >>> rows = beside(lines, [Observed("weights", 71, "log:3"), Observed("total", 80, "nvidia-smi")])
    >>> [(row.key, row.predicted, row.measured) for row in rows]
    [('weights', 70, 71), ('total', 75, 80), ('unexplained', 5, 9)]
    """
    lines, seen, rows = tuple(predicted), tuple(observed), []
    covered: set[int] = set()
    for each in seen:
        mine = chosen(lines, (parts or {}).get(each.key, (each.key,)), each.owner)
        if each.key != TOTAL:
            covered |= {index for index, line in enumerate(lines) if line in mine}
        value, low, high = sums(mine) if mine else (None, None, None)
        rows.append(Compared(each.key, each.owner, value, low, high, each.value, each.unit, each.source))
    left = sums(line for index, line in enumerate(lines) if index not in covered)
    totals = [each.value for each in seen if each.key == TOTAL]
    rest = (
        totals[-1] - sum(each.value for each in seen if each.key != TOTAL and each.unit == "B")
        if totals
        else None
    )
    return (*rows, Compared(UNEXPLAINED, None, *left, rest))
