"""What a caching allocator cannot give back of a Megatron step: `python -m bench.megatron_segments`.

The operations of the layers (frameworks/megatron/layers.py) make and free their tensors in the order of the
pipeline's schedule, in the simulated allocator; rows of experts are drawn anew for every layer and
micro-batch. Printed: what comes and goes, and over it what is reserved without a limit and the smallest
device that runs it. kept_share and kept_slack of facts/engines.csv are the envelope.
"""

import random
from collections import deque
from typing import Any, NamedTuple

from oomless.frameworks.defaults import resolved
from oomless.frameworks.graphs.graph import AutogradGraph, Op, _last_readers, _needs, _Rerun, kept
from oomless.frameworks.megatron.activations import passes
from oomless.frameworks.megatron.ends import head_graph
from oomless.frameworks.megatron.environment import Device
from oomless.frameworks.megatron.layers import layer_graph
from oomless.frameworks.megatron.models import described
from oomless.frameworks.megatron.moe import ROUTED
from oomless.frameworks.megatron.placement import Chunk, chunks
from oomless.frameworks.megatron.run import Megatron
from oomless.frameworks.megatron.selective import DISCARDED, MODULES
from oomless.frameworks.megatron.states import states
from oomless.model.load import load
from oomless.recording.replay import replay, smallest_capacity
from oomless.run.allocator import AllocatorSettings
from oomless.run.training import Mesh, TrainingAsked
from oomless.units import GIB

Tensor = int | None


class Events:
    """Tensors that come and go: n makes tensor n, ~n frees it."""

    def __init__(self) -> None:
        self.events: list[int] = []
        self.sizes: list[int] = []

    def made(self, size: int) -> Tensor:
        if size <= 0:
            return None
        self.sizes.append(size)
        self.events.append(len(self.sizes) - 1)
        return len(self.sizes) - 1

    def freed(self, *tensors: Tensor) -> None:
        self.events += [~tensor for tensor in tensors if tensor is not None]


class Layer(NamedTuple):
    """A layer of one micro-batch: its graph, with the rows that its experts are given, and what it keeps."""

    graph: AutogradGraph
    again: frozenset[str]
    given: Tensor
    held: dict[str, Tensor]


def run_ops(
    events: Events, graph: AutogradGraph, ops: tuple[Op, ...], alive: dict[str, Tensor], stay: set[str]
) -> None:
    """Run operations once, as graphs.graph does; `stay` are never freed, nor is the layer's output."""
    last = _last_readers(ops)
    for index, op in enumerate(ops):
        beside = events.made(op.forward_temp)
        for name in op.writes:
            if name not in alive:
                alive[name] = events.made(graph.sizes[name])
        events.freed(beside)
        for name in {*op.reads, *op.writes}:
            if name in alive and name not in stay and last.get(name, -1) <= index and name != graph.target:
                events.freed(alive.pop(name))


def forward(
    events: Events, graph: AutogradGraph, again: frozenset[str], given: Tensor
) -> tuple[Layer, Tensor]:
    """Run a layer; what it keeps, and its output."""
    names = set(kept(graph, again, again & DISCARDED)) - {graph.source}
    alive = {graph.source: given}
    run_ops(events, graph, graph.ops, alive, {*names, graph.source})
    del alive[graph.source]
    out = alive.pop(graph.target, None)
    held = {name: alive.pop(name) for name in names if name in alive}
    events.freed(*alive.values())
    return Layer(graph, again, given, held), out


def backward(events: Events, layer: Layer, gradient: Tensor) -> Tensor:
    """Run a layer backward; the gradient of its input."""
    graph, again = layer.graph, layer.again
    users: dict[str, int] = {}
    for op in graph.ops:
        for name in _needs(op, again):
            users[name] = users.get(name, 0) + 1
    held, rerun = {**layer.held, graph.source: layer.given}, _Rerun(graph, again)
    gradients = {graph.target: gradient}
    sizes: Any = dict.fromkeys(held, 0)
    for index in range(len(graph.ops) - 1, -1, -1):
        op = graph.ops[index]
        for first in rerun.before(index, sizes):
            fresh, _ = rerun.block(first, sizes)
            ops = tuple(rerun.block_of(first))
            alive: dict[str, Tensor] = dict.fromkeys(name for each in ops for name in each.reads)
            inputs = set(alive) - {name for each in ops for name in each.writes}
            alive = dict.fromkeys(inputs)
            run_ops(events, graph, ops, alive, {*fresh, *inputs})
            held |= {name: alive.pop(name) for name in fresh if name in alive}
            events.freed(*alive.values())
            sizes |= fresh
        beside = events.made(op.backward_temp)
        wanted = [name for name in dict.fromkeys(op.reads) if name not in graph.constants]
        fresh_ones = [(name, events.made(graph.sizes[name])) for name in wanted if name not in op.ready]
        events.freed(beside, *(gradients.pop(name, None) for name in op.writes))
        for name, tensor in fresh_ones:
            if name in gradients:
                events.freed(tensor)  # added to the one that is there
            else:
                gradients[name] = tensor
        for name in set(_needs(op, again)):
            users[name] -= 1
            if not users[name] and name != graph.source:
                sizes.pop(name, None)
                events.freed(held.pop(name, None))
    found = gradients.pop(graph.source, None)
    events.freed(*gradients.values(), *(tensor for name, tensor in held.items() if name != graph.source))
    return found


def uneven(graph: AutogradGraph, spread: float, chance: random.Random) -> AutogradGraph:
    """A layer whose experts are given other rows than the mean, normal by `spread`."""
    rows = min(1.6, max(0.4, chance.gauss(1, spread)))
    sizes = {
        name: int(size * rows) if name.startswith(ROUTED) else size for name, size in graph.sizes.items()
    }
    return graph._replace(sizes=sizes)


def step(run: Megatron, mine: tuple[Chunk, ...], rank: int, spread: float) -> tuple[Events, int]:
    """The tensors of a rank's step, and the bytes of its states, which come first."""
    events, device, chance = Events(), Device(9), random.Random(0)
    for each in states(run, mine):
        for size in each.sizes:
            events.made(size)
    steady = sum(events.sizes)
    again = frozenset(MODULES.get(name, name) for name in run.recompute_modules)
    kinds, head = run.kinds.replace("|", ""), head_graph(run)
    waiting: list[deque[tuple[list[Layer], Tensor]]] = [deque() for _ in mine]
    for each_pass in passes(run, rank, len(mine)):
        chunk = mine[each_pass.chunk]
        if each_pass.forward:
            graphs = [layer_graph(run, kinds[index], device) for index in chunk.layers]
            graphs = [uneven(graph, spread, chance) if spread else graph for graph in graphs]
            ends = [head] if chunk.loss else []
            given, layers = events.made((graphs or ends)[0].sizes[(graphs or ends)[0].source]), []
            for graph in (*graphs, *ends):
                layer, given = forward(events, graph, frozenset() if graph is head else again, given)
                layers.append(layer)
            waiting[each_pass.chunk].append((layers, given))
        else:
            layers, out = waiting[each_pass.chunk].popleft()
            gradient = events.made(layers[-1].graph.sizes[layers[-1].graph.target])
            events.freed(out)
            for layer in reversed(layers):
                gradient, last = backward(events, layer, gradient), layer
                events.freed(last.given)
            events.freed(gradient)
    return events, steady


def of_model(name: str, mesh: Mesh, **more: Any) -> Megatron:
    """A model's run, 4,096 tokens, 32 micro-batches."""
    words = {"seq_len": 4096, "grad_accum": 32, **more}
    asked = TrainingAsked(framework="megatron-lm", mesh=mesh, sharding="distopt", **words)
    found = described(load(name), resolved(asked), mesh)
    assert found is not None
    return found


def runs() -> list[tuple[str, Megatron, tuple[int, ...]]]:
    """(What it is, run, ranks.)"""
    lite: dict[str, Any] = {
        "recompute": "selective",
        "recompute_modules": ("norm", "mla_up_proj", "moe_act"),
    }
    cut, both = Mesh(dp=2, tp=4, pp=4, sequence_parallel=True), Mesh(dp=128, pp=16, ep=64)
    ends, fp8 = both._replace(schedule="dualpipe"), {"precision": "fp8-bf16-moments", "activation_bits": 8}
    return [
        ("llama-3-8b", of_model("llama-3-8b", Mesh(dp=8)), (0,)),
        ("llama-3-70b", of_model("llama-3-70b", cut), (0, 3)),
        ("llama-3-70b in 5 chunks", of_model("llama-3-70b", cut._replace(virtual_stages=5)), (0, 3)),
        ("qwen3-30b-a3b", of_model("qwen3-30b-a3b", Mesh(dp=8, ep=8)), (0,)),
        ("the same on 2 stages", of_model("qwen3-30b-a3b", cut._replace(dp=4, tp=2, pp=2, ep=4)), (0, 1)),
        ("deepseek-v2-lite", of_model("deepseek-v2-lite", Mesh(dp=8, ep=8)), (0,)),
        ("qwen3-235b-a22b", of_model("qwen3-235b-a22b", cut._replace(dp=8, pp=8, ep=8)), (0, 7)),
        ("deepseek-v3", of_model("deepseek-v3", both, **lite), (0, 1)),
        ("the same, dualpipe", of_model("deepseek-v3", ends, **lite), (1,)),
        ("llama-3-70b, two at once", of_model("llama-3-70b", cut, micro_batch=2), (0,)),
        ("llama-3.1-405b", of_model("llama-3.1-405b", cut._replace(tp=8, pp=16)), (0, 15)),
        ("qwen3-235b-a22b, 16", of_model("qwen3-235b-a22b", Mesh(dp=8, pp=16, ep=8)), (0, 15)),
        ("glm-4.5", of_model("glm-4.5", cut._replace(dp=8, tp=2, pp=8, ep=8)), (0,)),
        ("deepseek-v3 in FP8", of_model("deepseek-v3", both, **fp8, **lite), (0, 1, 15)),
        ("the same, dualpipe", of_model("deepseek-v3", ends, **fp8, **lite), (0, 1, 7, 15)),
    ]


def main() -> None:
    """Print the table."""
    print("run, stage, rows' spread, expandable: GiB that come and go; reserved, smallest device over it")
    for name, run, ranks in runs():
        for rank in ranks:
            for spread in (0.0, 0.1, 0.2) if run.experts else (0.0,):
                events, steady = step(run, chunks(run)[rank], rank, spread)
                for expandable in (False, True):
                    settings = AllocatorSettings(expandable_segments=expandable)
                    found = replay(events.events, events.sizes, settings)
                    least = smallest_capacity(events.events, events.sizes, settings, found)
                    passing = found.peak_allocated - steady
                    shares = ((size - steady) / passing for size in (found.peak_reserved, least))
                    print(
                        name, rank, spread, expandable, round(passing / GIB, 1), *(f"{x:.3f}" for x in shares)
                    )


if __name__ == "__main__":
    main()
