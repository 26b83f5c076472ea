"""What a caching allocator reserves where lengths vary: `python -m bench.varied_lengths`.

Micro-batches of drawn lengths make and free the tensors of their graphs (frameworks/graphs) in the simulated
allocator, with what sharded ranks gather and reduce a layer at a time. Lengths are log-normal about a seventh
of the limit; one is as long as the limit. Printed: the most that comes and goes, and over it what is reserved
without a limit and the smallest device that runs it. Rows of reserved_share with `variable`, and kept_share
of ZeRO-3, in facts/engines.csv are the envelope.
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
    makes whole."""
    if job.request.sharding not in ("zero3", "fsdp1", "fsdp2"):
        return [], []
    model, width = job.model, job.recipe.gathered
    matrices = [each for each in model.tensors if 0 in each.layers and len(each.shape) > 1]
    layer = [each.num_parameters // len(each.layers) * width for each in matrices]
    return layer, [model.vocab_size * model.hidden_size * width]


def micro_batch(events: Events, made: Pass, job: Job) -> None:
    """Forward and backward: layers that run again keep their input alone."""
    of_layer, of_head = gathered(job)
    again = job.request.recompute == "full"
    given: Tensor = events.made(made.layers[0].sizes[made.layers[0].source])
    inputs, waiting = [], []
    for graph in made.layers:
        inputs.append(given)
        whole = [events.made(size) for size in of_layer]
        layer, given = forward(events, graph, frozenset(), given)
        if again:
            events.freed(*layer.held.values())
        waiting.append(layer)
        events.freed(*whole)
    whole = [events.made(size) for size in of_head]
    ends = []
    for graph in made.ends:
        layer, given = forward(events, graph, frozenset(), given)
        ends.append(layer)
    events.freed(given)
    gradient, fresh = events.made(4), [events.made(size) for size in of_head]
    for layer in reversed(ends):
        gradient = backward(events, layer, gradient)
        events.freed(layer.given, *fresh, *whole)
        fresh = whole = []
    for layer, first in zip(reversed(waiting), reversed(inputs), strict=True):
        whole = [events.made(size) for size in of_layer]
        if again:
            layer, out = forward(events, layer.graph, frozenset(), first)
            events.freed(out)
        fresh = [events.made(size) for size in of_layer]
        gradient = backward(events, layer, gradient)
        events.freed(first, *fresh, *whole)
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


def events_of(name: str, gpu: str, asked: TrainingAsked, limit: int, chance: random.Random) -> Events:
    """All that micro-batches make and free; what a flat step makes comes between them."""
    model, hardware, events, known = load(name), parse_gpu(gpu), Events(), {}
    shard = model.num_parameters * 4 // hardware.num_gpus if asked.sharding == "zero3" else 0
    for at, length in enumerate(drawn(limit, asked.micro_batch, chance)):
        job = job_of(model, asked._replace(seq_len=length), hardware)
        if length not in known:
            known[length] = pass_of(job)
        micro_batch(events, known[length], job)
        if shard and at % 2:
            events.freed(events.made(shard // 2), events.made(shard // 2))
    return events


def runs() -> list[tuple[str, str, int, dict[str, Any]]]:
    """(Model, cards, limit of lengths, what is asked.)"""
    swift: dict[str, Any] = {"framework": "ms-swift", "task": "sft", "attention": "flash", "loss": "plain"}
    again = swift | {"recompute": "full"}
    zero: dict[str, Any] = {"sharding": "zero3", "precision": "deepspeed-bf16"}
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
    ]


def main() -> None:
    """Print the table."""
    print("run, limit, expandable: GiB that come and go; reserved and least over it, three draws")
    for name, gpu, limit, words in runs():
        asked = TrainingAsked(**words)
        made = [events_of(name, gpu, asked, limit, random.Random(seed)) for seed in range(3)]
        for expandable in (False, True):
            settings, shares = AllocatorSettings(expandable_segments=expandable), []
            for each in made:
                found = replay(each.events, each.sizes, settings)
                least = smallest_capacity(each.events, each.sizes, settings, found)
                passing = found.peak_allocated
                shares += [f"{found.peak_reserved / passing:.2f}", f"{least / passing:.2f}"]
            kind = f"{words.get('sharding', 'whole')}, recompute {words.get('recompute', 'none')}"
            print(name, gpu, kind, limit, expandable, round(passing / GIB, 1), *shares, flush=True)


if __name__ == "__main__":
    main()
