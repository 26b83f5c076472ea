"""What a caching allocator reserves where lengths vary: `python -m bench.varied_lengths`.

Micro-batches of drawn lengths make and free the tensors of their graphs (frameworks/graphs) in the simulated
allocator, with what sharded ranks gather and reduce a layer at a time. Lengths are log-normal about a seventh
of the limit, one is as long as the limit; or all are. Printed: the most that comes and goes, and over it what
is reserved without a limit and the smallest device that runs it, and that once more where what is gathered
has a pool of its own. Rows of reserved_share with `variable` in facts/engines.csv are the envelope;
kept_share of ZeRO with its kept_slack holds nine of ten.
"""

import random
from typing import Any, NamedTuple

from oomless.estimate.training.estimate import job_of
from oomless.estimate.training.head_and_loss import kind_of_loss
from oomless.estimate.training.job import Job
from oomless.estimate.training.micro_batch_work import work_of
from oomless.frameworks.graphs.blocks import Builder, rms_norm
from oomless.frameworks.graphs.graph import AutogradGraph
from oomless.frameworks.graphs.layers import layer_graph, norms_of
from oomless.frameworks.graphs.loss import loss_graph
from oomless.frameworks.graphs.loss_kinds import LossShape
from oomless.model.load import load
from oomless.recording.replay import replay, smallest_capacity
from oomless.run.allocator import AllocatorSettings
from oomless.run.hardware import parse_gpu
from oomless.run.training import TrainingAsked
from oomless.units import GIB

from .megatron_segments import Events, Tensor, backward, forward

MICRO_BATCHES = 60
SPREAD = 0.8
MEDIAN = 1 / 7
"""Of the logarithm of lengths, and over the limit."""
FIXED = 6
"""Micro-batches of one length."""
MULTIPLE = 8
"""Lengths are rounded up to it, so that graphs are made once."""


class Pass(NamedTuple):
    """The graphs of a micro-batch of one length."""

    layers: tuple[AutogradGraph, ...]
    ends: tuple[AutogradGraph, ...]
    """The last norm, and the loss with the head."""


def pass_of(job: Job) -> Pass:
    """The graphs of a question's micro-batch."""
    model, work = job.model, work_of(job)
    width = model.hidden_size
    b = Builder(work)
    b.sizes["x"] = work.stream_tokens * width * work.residual
    rms_norm(b, "x", width, "hidden")
    sizes = (work.tokens, width, model.vocab_size, work.compute, work.trained, job.recipe.compute, work.batch)
    loss = loss_graph(kind_of_loss(job.request, False), LossShape(*sizes, room=job.capacity_bytes))
    layers = tuple(
        layer_graph(layer, width, norms_of(model, index), work, model.streams)
        for index, layer in enumerate(model.layers)
    )
    return Pass(layers, (b.graph("x", "hidden"), loss))


def gathered(job: Job) -> tuple[list[int], list[int]]:
    """Bytes of the matrices of a layer and of the head that a sharded rank gathers, and whose gradients it
    makes whole; ZeRO-2 has the latter alone."""
    if job.request.sharding not in ("zero2", "zero3", "fsdp1", "fsdp2"):
        return [], []
    model, width = job.model, job.recipe.gathered
    matrices = [each for each in model.tensors if 0 in each.layers and len(each.shape) > 1]
    layer = [each.num_parameters // len(each.layers) * width for each in matrices]
    return layer, [model.vocab_size * model.hidden_size * width]


def micro_batch(events: Events, aside: Events, made: Pass, job: Job) -> None:
    """Forward and backward: layers that run again keep their input alone. `aside`: the pool of the stream
    that gathers (DeepSpeed's partitioned_param_coordinator.py), which may be the same."""
    of_layer, of_head = gathered(job)
    layer_whole, head_whole = ([], []) if job.request.sharding == "zero2" else (of_layer, of_head)
    again = job.request.recompute == "full"
    given: Tensor = events.made(made.layers[0].sizes[made.layers[0].source])
    inputs, waiting = [], []
    for graph in made.layers:
        inputs.append(given)
        whole = [aside.made(size) for size in layer_whole]
        layer, given = forward(events, graph, frozenset(), given)
        if again:
            events.freed(*layer.held.values())
        waiting.append(layer)
        aside.freed(*whole)
    whole = [aside.made(size) for size in head_whole]
    ends = []
    for graph in made.ends:
        layer, given = forward(events, graph, frozenset(), given)
        ends.append(layer)
    events.freed(given)
    gradient, fresh = events.made(4), [events.made(size) for size in of_head]
    for layer in reversed(ends):
        gradient = backward(events, layer, gradient)
        events.freed(layer.given, *fresh)
        aside.freed(*whole)
        fresh = whole = []
    for layer, first in zip(reversed(waiting), reversed(inputs), strict=True):
        whole = [aside.made(size) for size in layer_whole]
        if again:
            layer, out = forward(events, layer.graph, frozenset(), first)
            events.freed(out)
        fresh = [events.made(size) for size in of_layer]
        gradient = backward(events, layer, gradient)
        events.freed(first, *fresh)
        aside.freed(*whole)
    events.freed(gradient)


def drawn(limit: int, batch: int, chance: random.Random) -> list[int]:
    """Lengths of micro-batches: each is as long as its longest sample."""

    def sample() -> int:
        while not 16 <= (found := int(chance.lognormvariate(0, SPREAD) * limit * MEDIAN)) <= limit:
            pass
        return found

    found = [max(sample() for _ in range(batch)) for _ in range(MICRO_BATCHES)]
    found[chance.randrange(MICRO_BATCHES)] = limit
    return [-(-length // MULTIPLE) * MULTIPLE for length in found]


class Pools(NamedTuple):
    """What the pools of the streams saw."""

    computing: Events
    gathering: Events


def events_of(
    name: str, gpu: str, asked: TrainingAsked, limit: int, chance: random.Random, apart: bool = False
) -> Pools:
    """All that micro-batches make and free; what a flat step makes comes between them. Packed ones are as
    long as the limit. `apart`: what is gathered has a pool of its own."""
    model, hardware, events, known = load(name), parse_gpu(gpu), Events(), {}
    pools = Pools(events, Events() if apart else events)
    shard = model.num_parameters * 4 // hardware.num_gpus if asked.sharding == "zero3" else 0
    lengths = [limit] * FIXED if asked.packed else drawn(limit, asked.micro_batch, chance)
    for at, length in enumerate(lengths):
        job = job_of(model, asked._replace(seq_len=length), hardware)
        if length not in known:
            known[length] = pass_of(job)
        micro_batch(events, pools.gathering, known[length], job)
        if shard and at % 2:
            events.freed(events.made(shard // 2), events.made(shard // 2))
    return pools


def held(pools: Pools, settings: AllocatorSettings) -> tuple[int, int]:
    """Bytes reserved without a limit, and on the smallest device that runs it."""
    events = pools.computing
    found = replay(events.events, events.sizes, settings)
    least = smallest_capacity(events.events, events.sizes, settings, found)
    aside = pools.gathering
    more = 0 if aside is events else replay(aside.events, aside.sizes, settings).peak_reserved
    return found.peak_reserved + more, least + more


def runs() -> list[tuple[str, str, int, dict[str, Any]]]:
    """(Model, cards, limit of lengths, what is asked.)"""
    swift: dict[str, Any] = {"framework": "ms-swift", "task": "sft", "attention": "flash", "loss": "plain"}
    again = swift | {"recompute": "full"}
    zero: dict[str, Any] = {"sharding": "zero3", "precision": "deepspeed-bf16"}
    fixed = again | zero | {"packed": True}
    away = again | zero | {"sharding": "zero2", "offload": ("optimizer",)}
    fsdp: dict[str, Any] = {"framework": "torchtune", "task": "sft", "sharding": "fsdp2"}
    return [
        ("qwen2.5-7b", "a100-80gb:4", 8192, again | zero),
        ("qwen2.5-7b", "a100-80gb:4", 8192, again | zero | {"loss": "fused", "micro_batch": 8}),
        ("llama-3-8b", "a100-80gb:8", 4096, again | zero | {"micro_batch": 2}),
        ("qwen2.5-32b", "a100-80gb:16", 8192, again | zero),
        ("qwen2.5-32b", "a100-80gb:8", 1024, again | zero),
        ("llama-3-8b", "a100-80gb:8", 8192, again | zero | {"micro_batch": 4}),
        ("llama-3-8b", "a100-80gb:4", 4096, fsdp | {"recompute": "full", "micro_batch": 2}),
        ("qwen2.5-7b", "a100-80gb:2", 8192, fsdp | {"recompute": "full"}),
        ("qwen-1.8b", "a100-80gb", 8192, again),
        ("qwen-1.8b", "a100-80gb", 2048, again),
        ("qwen2.5-7b", "a100-80gb", 2048, again | {"method": "lora"}),
        ("qwen2.5-7b", "a100-80gb", 4096, swift | {"method": "lora"}),
        ("qwen2.5-7b", "a100-80gb:4", 2048, swift | zero),
        ("llama-3-8b", "a100-80gb:4", 2048, fsdp),
        ("qwen-1.8b", "a100-80gb", 2048, swift),
        ("qwen-1.8b", "a100-80gb", 512, swift),
        *(
            (name, "a100-80gb:4", length, away | {"micro_batch": batch, "packed": length != 8000})
            for name, length, batch in (
                ("yi-34b", 4096, 1),
                ("yi-34b", 4096, 4),
                ("yi-34b", 8000, 1),
                ("llama-3-8b", 2048, 1),
                ("llama-3-8b", 8192, 2),
                ("llama-3-8b", 8000, 1),
                ("qwen2.5-7b", 4096, 2),
                ("llama-2-13b", 4096, 1),
                ("qwen2.5-1.5b", 4096, 1),
                ("qwen2.5-1.5b", 8000, 4),
            )
        ),
        *(
            (name, f"a100-80gb:{ranks}", length, fixed | {"micro_batch": batch})
            for name, ranks, length, batch in (
                ("llama-3-8b", 8, 2048, 1),
                ("llama-3-8b", 8, 8192, 1),
                ("llama-3-8b", 8, 8192, 4),
                ("qwen2.5-7b", 4, 8192, 1),
                ("qwen2.5-32b", 16, 1024, 1),
                ("qwen2.5-32b", 16, 8192, 1),
                ("yi-34b", 16, 16384, 1),
                ("llama-2-70b", 32, 16384, 1),
            )
        ),
    ]


def main() -> None:
    """Print the table."""
    print("run, limit, expandable: GiB that come and go; reserved and least over it, of each draw")
    for name, gpu, limit, words in runs():
        asked = TrainingAsked(**words)
        draws, ways = (
            range(1 if asked.packed else 3),
            (False, True) if asked.sharding == "zero3" else (False,),
        )
        common = [events_of(name, gpu, asked, limit, random.Random(seed)) for seed in draws]
        settings = AllocatorSettings()
        passing = max(
            replay(each.computing.events, each.computing.sizes, settings).peak_allocated for each in common
        )
        for apart in ways:
            made = (
                [events_of(name, gpu, asked, limit, random.Random(seed), True) for seed in draws]
                if apart
                else common
            )
            for expandable in (False, True):
                settings, shares = AllocatorSettings(expandable_segments=expandable), []
                for each in made:
                    shares += [f"{size / passing:.2f}" for size in held(each, settings)]
                kind = f"{words.get('sharding', 'whole')}, recompute {words.get('recompute', 'none')}"
                where = "apart" if apart else "common"
                print(name, gpu, kind, limit, where, expandable, round(passing / GIB, 1), *shares, flush=True)


if __name__ == "__main__":
    main()
