"""A layer as a list of operations: what autograd keeps of it, and how much is alive at once, forward and
backward.

A network's layer is written once, in the order in which it runs. `walk` replays it as autograd does: outputs
are made, tensors die after their last reader unless an operation keeps them for its backward; then, in
reverse, gradients of what an operation read are made, and what it kept and the gradient that it consumed die.
Peaks follow; nothing is fitted. Weights are not part of it, and neither are their gradients: those are the
phases' (estimate/training/phases.py, estimate/training/step.py).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple


class Op(NamedTuple):
    """One operation of a layer. Tensors are names; their sizes stand in the graph. A view is no operation."""

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    saves: tuple[str, ...] = ()
    """What autograd keeps for this operation's backward, of its reads and writes."""
    forward_temp: int = 0
    """Bytes that the forward makes and frees inside of itself."""
    backward_temp: int = 0
    module: str = ""
    """The part of the layer that selective recomputation may name: norm, core_attn, mlp, ..."""
    product: bool = False
    """A matrix product of its own or attention: what op-level recomputation keeps, of products every other
    one."""
    in_place: bool = False
    """The output takes the place of the first tensor read."""
    sent: bool = False
    """It passes between ranks: op-level recomputation keeps what arrives."""
    ready: tuple[str, ...] = ()
    """Tensors read whose gradients the forward has made, or that are written over what is kept: the backward
    makes nothing."""


class AutogradGraph(NamedTuple):
    """Operations in order, bytes of every tensor, and which tensors need no gradient."""

    ops: tuple[Op, ...]
    sizes: Mapping[str, int]
    source: str
    target: str
    """What the layer is given, and what it passes on."""
    constants: frozenset[str] = frozenset()
    """Tensors without a gradient: ids, masks, statistics."""
    held: frozenset[str] = frozenset()
    """What hangs on contexts of functions, out of reach of a checkpoint."""


class GraphRecorder:
    """A layer as it is written down: operations in order, bytes of what they make, tensors without a
    gradient.

    >>> layer = GraphRecorder({"x": 8})
    >>> layer.record(Op("mul", ("x",), ("y",), ("x",)), {"y": 8})
    >>> walk(layer.graph("x", "y")).saved
    {'x': 8}
    """

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self.ops: list[Op] = []
        self.sizes = dict(sizes)
        self.constants: set[str] = set()
        self.held: set[str] = set()

    def record(self, op: Op, writes: Mapping[str, int]) -> None:
        """Add an operation, and the bytes of what it makes."""
        self.ops.append(op)
        self.sizes.update(writes)

    def graph(self, source: str, target: str) -> AutogradGraph:
        """Return what was written down, from one tensor to another."""
        found = AutogradGraph(tuple(self.ops), dict(self.sizes), source, target, frozenset(self.constants))
        return found._replace(held=frozenset(self.held))


class Walk(NamedTuple):
    """Bytes of a layer through a step, on top of what other layers hold."""

    saved: Mapping[str, int]
    """What stays from forward to backward, by name; the layer's input is among it if an operation keeps it.
    """
    forward_peak: int
    """Most bytes alive during the forward, the input and all that is kept included."""
    backward_peak: int
    """Most bytes alive during the backward: what was kept, the gradient handed in, and what is made on the
    way."""

    @property
    def saved_bytes(self) -> int:
        """Bytes kept from forward to backward."""
        return sum(self.saved.values())


def walk(
    graph: AutogradGraph,
    recomputed: frozenset[str] = frozenset(),
    retained: bool = False,
    discarded: frozenset[str] = frozenset(),
) -> Walk:
    """Replay one layer. `recomputed` are modules whose insides are computed again in the backward;
    `discarded` those of them that give up what they make too, and run again when the first operation behind
    them needs it (Megatron-Core's CheckpointWithoutOutput); `retained`: as retain_graph says.

    >>> square = AutogradGraph(
    ...     (Op("mul", ("x",), ("y",), ("x",)), Op("mul", ("y",), ("z",), ("y",))),
    ...     {"x": 8, "y": 8, "z": 8},
    ...     "x",
    ...     "z",
    ... )
    >>> walk(square)
    Walk(saved={'x': 8, 'y': 8}, forward_peak=24, backward_peak=32)
    >>> walk(square, frozenset({"first"}), discarded=frozenset({"first"})).saved_bytes
    16
    >>> first = square._replace(ops=(square.ops[0]._replace(module="first"), square.ops[1]))
    >>> (
    ...     walk(first, frozenset({"first"})).saved,
    ...     walk(first, frozenset({"first"}), False, frozenset({"first"})),
    ... )
    ({'x': 8, 'y': 8}, Walk(saved={'x': 8}, forward_peak=24, backward_peak=32))
    """
    saved = kept(graph, recomputed, discarded)
    peak_forward = _forward(graph, set(saved), graph.ops, {graph.source})
    return Walk(saved, peak_forward, _backward(graph, saved, recomputed, retained))


def kept(
    graph: AutogradGraph, recomputed: frozenset[str] = frozenset(), discarded: frozenset[str] = frozenset()
) -> dict[str, int]:
    """What stays alive from forward to backward: what operations keep, and of recomputed modules what comes
    in from outside; nothing that a discarded one makes."""
    given_up = {name for op in graph.ops if op.module in discarded for name in op.writes}
    made_inside = {name: op.module for op in graph.ops if op.module in recomputed for name in op.writes}
    names: dict[str, None] = {}
    for op in graph.ops:
        if op.module in recomputed:
            wanted: Iterable[str] = (name for name in op.reads if made_inside.get(name) != op.module)
        else:
            wanted = op.saves
        names.update(dict.fromkeys(name for name in wanted if name not in given_up))
    return {name: graph.sizes[name] for name in names}


def transient_peak(graph: AutogradGraph) -> int:
    """Most bytes alive while the layer runs and nothing is kept, its input included: the forward of a
    recomputed layer."""
    return _forward(graph, set(), graph.ops, {graph.source})


def walk_keeping_products(graph: AutogradGraph, every: int = 2, pruned: bool = False) -> Walk:
    """Op-level recomputation: attention, what arrives from other ranks and every `every`-th other matrix
    product are kept, the rest is computed again, the experts' grouped products too.

    `pruned`: a compiler drops those from which nothing that the backward reads is made (the layer's last
    product).

    Source: torchtitan 0.2, the selective policy "op" of distributed/activation_checkpoint.py and the list of
    models/deepseek_v3/infra/parallelize.py. In the backward the whole layer is there again, beside what was
    kept.
    """
    products = [op for op in graph.ops if op.product]
    chosen = [op for op in graph.ops if op.sent or (op.product and op.module == "core_attn")]
    chosen += [
        op for index, op in enumerate(op for op in products if op.module != "core_attn") if index % every == 0
    ]
    outputs = {
        name: graph.sizes[name]
        for op in chosen
        for name in op.writes
        if not pruned or name in wanted_again(graph)
    }
    saved = {graph.source: graph.sizes[graph.source], **outputs}
    whole = walk(graph)
    beside = sum(size for name, size in saved.items() if name not in whole.saved)
    forward = max(transient_peak(graph), _forward(graph, set(saved), graph.ops, {graph.source}))
    return Walk(saved, forward, whole.backward_peak + beside)


def wanted_again(graph: AutogradGraph) -> frozenset[str]:
    """Tensors that the backward reads, or from which those are made."""
    wanted = {name for op in graph.ops for name in op.saves}
    for op in reversed(graph.ops):
        if wanted & set(op.writes):
            wanted |= set(op.reads)
    return frozenset(wanted)


def _last_readers(ops: Sequence[Op]) -> dict[str, int]:
    return {name: index for index, op in enumerate(ops) for name in op.reads}


def _forward(graph: AutogradGraph, stay: set[str], ops: Sequence[Op], alive: set[str]) -> int:
    """Most bytes alive while `ops` run once; `stay` are never freed, nor is what the last operation makes."""
    sizes, last = graph.sizes, _last_readers(ops)
    alive = set(alive)
    live = sum(sizes[name] for name in alive)
    peak = live
    for index, op in enumerate(ops):
        fresh = [name for name in op.writes if name not in alive]
        taken = (
            op.reads[0]
            if op.in_place and op.reads and op.reads[0] in alive and op.reads[0] not in stay
            else ""
        )
        made = sum(sizes[name] for name in fresh) - (sizes[taken] if taken else 0)
        peak = max(peak, live + max(made, 0) + op.forward_temp)
        live += made
        alive.update(fresh)
        alive.discard(taken)
        for name in {*op.reads, *op.writes}:
            if (
                name in alive
                and name not in stay
                and last.get(name, -1 if name != graph.target else len(ops)) <= index
            ):
                alive.discard(name)
                live -= sizes[name]
    return peak


def _backward(
    graph: AutogradGraph, saved: Mapping[str, int], recomputed: frozenset[str], retained: bool
) -> int:
    """Most bytes alive while gradients run back, starting with what is kept and the gradient of the layer's
    output."""
    sizes, constants = graph.sizes, graph.constants
    users: dict[str, int] = {}
    for op in graph.ops:
        for name in _needs(op, recomputed):
            users[name] = users.get(name, 0) + 1
    kept_now = dict(saved)
    grads = {graph.target}
    live = sum(kept_now.values()) + sizes[graph.target]
    peak = live
    rerun = _Rerun(graph, recomputed)
    for index in range(len(graph.ops) - 1, -1, -1):
        op = graph.ops[index]
        for first in rerun.before(index, kept_now):
            fresh, most = rerun.block(first, kept_now)
            peak = max(peak, live + most)
            kept_now.update(fresh)
            live += sum(fresh.values())
        wanted = [name for name in dict.fromkeys(op.reads) if name not in constants]
        made = 0
        for name in wanted:
            made += sizes[name] if name not in op.ready else 0
        spare = sizes[op.writes[0]] if op.in_place and op.writes and op.writes[0] in grads else 0
        peak = max(peak, live + max(made - spare, 0) + op.backward_temp)
        for name in op.writes:
            if name in grads:
                grads.discard(name)
                live -= sizes[name]
        for name in wanted:
            if name not in grads:
                grads.add(name)
                live += sizes[name]
        for name in set(_needs(op, recomputed)):
            users[name] -= 1
            if not users[name] and name in kept_now and not retained:
                live -= kept_now.pop(name)
    return peak


def _needs(op: Op, recomputed: frozenset[str]) -> tuple[str, ...]:
    """What an operation's backward reads, or what its recomputation starts from."""
    return tuple(dict.fromkeys((*op.saves, *op.reads))) if op.module in recomputed else op.saves


class _Rerun:
    """Which runs of operations of recomputed modules have run again in a backward."""

    def __init__(self, graph: AutogradGraph, recomputed: frozenset[str]) -> None:
        self.graph, self.recomputed = graph, recomputed
        self.done: set[int] = set()
        self.made = {name: index for index, op in enumerate(graph.ops) for name in op.writes}

    def first(self, index: int) -> int:
        """The operation with which the run of one module begins that `index` is of."""
        ops = self.graph.ops
        while index and ops[index - 1].module == ops[index].module:
            index -= 1
        return index

    def before(self, index: int, kept_now: Mapping[str, int]) -> list[int]:
        """Runs that must run again before the backward of an operation, in the order in which they do: its
        own, and those that made what it needs and nobody kept."""
        op = self.graph.ops[index]
        if op.module in self.recomputed:
            start = self.first(index)
            return [*self.sources(self.block_of(start), kept_now), start] if start not in self.done else []
        return self.sources([op], kept_now)

    def sources(self, ops: Sequence[Op], kept_now: Mapping[str, int]) -> list[int]:
        """Runs of recomputed modules that make what operations need of others and that is not there."""
        inside = {name for op in ops for name in op.writes}
        found: list[int] = []
        for op in ops:
            needed = op.reads if op.module in self.recomputed else op.saves
            for name in needed:
                made = self.made.get(name)
                if name in inside or name in kept_now or made is None:
                    continue
                start = self.first(made)
                if self.graph.ops[made].module in self.recomputed and start not in {*self.done, *found}:
                    found += [*self.sources(self.block_of(start), kept_now), start]
        return list(dict.fromkeys(found))

    def block_of(self, start: int) -> list[Op]:
        """The run of operations of one module that begins at `start`."""
        ops, end = self.graph.ops, start
        while end < len(ops) and ops[end].module == ops[start].module:
            end += 1
        return list(ops[start:end])

    def block(self, start: int, kept_now: Mapping[str, int]) -> tuple[dict[str, int], int]:
        """Run a module again: what is there then and was not, and the most that it takes on the way."""
        self.done.add(start)
        ops, sizes = self.block_of(start), self.graph.sizes
        made = {name for op in ops for name in op.writes}
        stay = {name for op in ops for name in op.saves}
        stay |= {
            name for op in self.graph.ops if op.module != ops[0].module for name in op.saves if name in made
        }
        inputs = {name for op in ops for name in op.reads} - made
        most = _forward(self.graph, stay | inputs, ops, inputs) - sum(sizes[name] for name in inputs)
        return {name: sizes[name] for name in stay - set(kept_now)}, most
