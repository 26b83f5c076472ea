"""Layouts of an engine's ranks: those to try where none is asked for, and those that a plan may try."""

from collections.abc import Iterator
from math import lcm

from ..errors import UsageError
from ..model.attention import DSA
from ..model.model import Model
from ..run.cards import Hardware
from ..run.serving import Layout


def need_even_experts(layout: Layout) -> None:
    """Raise UsageError where the ranks that divide the experts do not divide those of a layer."""
    if layout.ep_size and layout.tp % layout.ep_size:
        raise UsageError(
            f"--ep-size {layout.ep_size} does not divide --tp {layout.tp}", "choose a size that divides it"
        )


def tensor_parallel_layouts(hardware: Hardware, asked: Layout) -> list[Layout]:
    """Return tensor-parallel sizes 1, 2, 4, 8 within a node, then pipeline stages over the nodes; those that
    the asked ranks of experts, and groups of attention, divide. Nodes of one card are cut across, as their
    owners run them (two DGX Sparks: TP 2).

    >>> from ..run.hardware import parse_gpu
    >>> [(each.tp, each.pp) for each in tensor_parallel_layouts(parse_gpu("h100:8x2"), Layout())]
    [(1, 1), (2, 1), (4, 1), (8, 1), (8, 2)]
    >>> [(each.tp, each.pp) for each in tensor_parallel_layouts(parse_gpu("dgx-spark:1x2"), Layout())]
    [(1, 1), (2, 1)]
    >>> [each.tp for each in tensor_parallel_layouts(parse_gpu("h200:8"), Layout(ep_size=4))]
    [4, 8]
    """
    alone = hardware.per_node == 1
    within = hardware.num_gpus if alone else min(hardware.per_node, hardware.num_gpus)
    sizes = [tp for tp in (1, 2, 4, 8) if tp <= within]
    groups = lcm(asked.ep_size or 1, asked.dp if asked.enable_dp_attention else 1)
    even = [tp for tp in sizes if tp % groups == 0] or sizes[-1:]
    found = [asked._replace(tp=tp) for tp in even]
    if alone:
        pipelines = [hardware.num_gpus] if hardware.num_gpus not in sizes else []
        return [*found, *(asked._replace(pp=num) for num in pipelines)]
    for nodes in range(2, hardware.num_nodes + 1):
        if hardware.num_nodes % nodes == 0:
            stages = nodes * (within // sizes[-1] or 1)
            found.append(asked._replace(tp=sizes[-1], pp=stages))
    return found


MOST_CARDS = 16
"""Of one machine."""


def layers_over_cards(hardware: Hardware, asked: Layout, most: int = MOST_CARDS) -> list[Layout]:
    """Return the layers over one card, two ... all of a machine: a pipeline of one sequence."""
    return [Layout(pp=num) for num in range(1, min(hardware.num_gpus, most) + 1)]


def tensor_parallel(model: Model, hardware: Hardware) -> Iterator[tuple[Layout, int]]:
    """Yield (layout, replicas) on all cards: fewer ranks and more replicas on one machine, else stages.

    >>> from ..model.load import load
    >>> from ..run.hardware import parse_gpu
    >>> [(each.tp, num) for each, num in tensor_parallel(load("qwen3-8b"), parse_gpu("h100:4"))]
    [(4, 1), (2, 2), (1, 4)]
    """
    num, within = hardware.num_gpus, min(hardware.num_gpus, hardware.per_node)
    if num <= within:
        size = num
        while size >= 1:
            if num % size == 0:
                yield Layout(tp=size), num // size
            size //= 2
    elif within == 1:
        yield Layout(tp=num), 1
        yield Layout(pp=num), 1
    else:
        yield Layout(tp=within, pp=num // within), 1


def experts_apart(model: Model, hardware: Hardware) -> Iterator[tuple[Layout, int]]:
    """Yield those, and ranks that have their own sequences and share the experts out."""
    yield from tensor_parallel(model, hardware)
    num, within = hardware.num_gpus, min(hardware.num_gpus, hardware.per_node)
    if num > 1 and model.kinds.has_experts:
        yield Layout(dp=num, enable_expert_parallel=True), 1
        if num > within > 1:
            yield Layout(tp=within, dp=num // within, enable_expert_parallel=True), 1


def attention_apart(model: Model, hardware: Hardware) -> Iterator[tuple[Layout, int]]:
    """Yield those, and ranks whose attention has its own sequences and which share the experts out."""
    yield from tensor_parallel(model, hardware)
    num = hardware.num_gpus
    if num > 1 and model.kinds.has_experts:
        yield Layout(tp=num, dp=num, enable_dp_attention=True, ep_size=num), 1


def one_machine(model: Model, hardware: Hardware) -> Iterator[tuple[Layout, int]]:
    """Yield the layers over all cards of one machine, and a copy on each."""
    num = hardware.num_gpus
    if hardware.num_nodes == 1:
        yield Layout(pp=num), 1
        if num > 1:
            yield Layout(pp=1), num


def one_card(model: Model, hardware: Hardware) -> Iterator[tuple[Layout, int]]:
    """Yield one card of one machine."""
    if hardware.num_nodes == 1:
        yield Layout(tp=1), 1


def tensor_and_data(model: Model, hardware: Hardware) -> Iterator[Layout]:
    """Yield further divisions of all cards of vLLM: experts whole under tensor ranks, data-parallel groups of
    tensor ranks, two stages in a machine, and tensor ranks that divide the cache of a latent.

    >>> from ..model.load import load
    >>> from ..run.hardware import parse_gpu
    >>> [(each.tp, each.pp, each.dp) for each in tensor_and_data(load("deepseek-v3.2"), parse_gpu("h200:8"))]
    [(8, 1, 1), (4, 1, 2), (2, 1, 4), (4, 2, 1)]
    """
    num, within = hardware.num_gpus, min(hardware.num_gpus, hardware.per_node)
    if model.kinds.has_experts and num > 1:
        yield Layout(tp=within, pp=num // within, enable_expert_parallel=True)
        for tp in (each for each in (8, 4, 2) if each < num and num % each == 0 and each <= within):
            yield Layout(tp=tp, dp=num // tp, enable_expert_parallel=True)
    if num == within and num > 2 and num % 2 == 0:
        yield Layout(tp=num // 2, pp=2)
    if model.kinds.latents and not model.kinds.has(DSA) and num == within > 1:
        yield Layout(tp=num, dcp=num)


def attention_and_experts(model: Model, hardware: Hardware) -> Iterator[Layout]:
    """Yield further divisions of all cards of SGLang: experts whole under tensor ranks, and attention in
    fewer groups than cards.

    >>> from ..model.load import load
    >>> from ..run.hardware import parse_gpu
    >>> found = attention_and_experts(load("deepseek-v3.2"), parse_gpu("h200:8"))
    >>> [(each.tp, each.dp, each.ep_size) for each in found]
    [(8, 1, 8), (8, 4, 8), (8, 2, 8)]
    """
    num = hardware.num_gpus
    if model.kinds.has_experts and num > 1:
        yield Layout(tp=num, ep_size=num)
        for groups in (each for each in (4, 2) if each < num and num % each == 0):
            yield Layout(tp=num, dp=groups, enable_dp_attention=True, ep_size=num)
