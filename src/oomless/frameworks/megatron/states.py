"""What stays allocated between steps: parameters, gradient buffers, optimizer shards, buffers and workspaces,
in the order in which they are made.

Rules of core/distributed (param_and_grad_buffer.py), core/optimizer (optimizer.py, distrib_optimizer.py,
param_layout.py) and Transformer Engine.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import lcm
from typing import NamedTuple

from ...ledger import Key
from .placement import Chunk
from .run import Megatron
from .weights import Weight, rank_weights


class StateTensors(NamedTuple):
    """Tensors of one part of the states, each with its bytes."""

    key: Key
    what: str
    sizes: tuple[int, ...]


def states(run: Megatron, mine: tuple[Chunk, ...]) -> tuple[StateTensors, ...]:
    """A rank's states, tensor by tensor, in the order of allocation."""
    return _states(run.without_step, mine)


@lru_cache(maxsize=128)
def _states(run: Megatron, mine: tuple[Chunk, ...]) -> tuple[StateTensors, ...]:
    found: list[StateTensors] = []
    per_chunk = [rank_weights(run, chunk) for chunk in mine]
    weights = [weight for each in per_chunk for weight in each]
    b, g = run.num_bytes, run.grad_bytes
    master = run.master_bytes
    if run.fsdp:
        return _sharded(run, weights, master)
    if run.distributed and "muon" in run.optimizer:
        return _layer_wise(run, weights, master)
    if not run.distributed:
        found.append(
            StateTensors(
                "weights.trained", "parameters", tuple(w.num * weight_bytes(run, w) for w in weights)
            )
        )
        found.append(
            StateTensors(
                "gradients.trained",
                "gradient buffers",
                tuple(_group(each, expert) * g for each in per_chunk for expert in (False, True)),
            )
        )
        num = tuple(w.num for w in weights)
    else:
        buffers = [_buffer(run, each, expert) for each in per_chunk for expert in (False, True)]
        thin = sum(w.num for w in weights if weight_bytes(run, w) == 1)
        found.append(
            StateTensors(
                "weights.trained",
                "parameter buffers",
                (*(size * b for size in buffers), -thin) if thin else tuple(size * b for size in buffers),
            )
        )
        found.append(
            StateTensors("gradients.trained", "gradient buffers", tuple(size * g for size in buffers))
        )
        num = tuple(
            size for each in per_chunk for expert in (False, True) for size in _shards(run, each, expert)
        )
    if master:
        found.append(
            StateTensors(
                "optimizer.master_copies",
                "F32 copies of parameters" if master == 4 else "what F32 copies have beyond parameters",
                tuple(n * master for n in num),
            )
        )
    if run.dtype == "fp16" and g == 2:
        found.append(
            StateTensors("gradients.master_copies", "F32 copies of gradients", tuple(n * 4 for n in num))
        )
    found.append(StateTensors("optimizer.moments", "moments", _moments(run, weights, num)))
    return tuple(kept._replace(sizes=tuple(size for size in kept.sizes if size)) for kept in found)


def weight_bytes(run: Megatron, weight: Weight) -> int:
    """Bytes of a stored parameter: one under --fp8-param-gather, for matrices of Transformer Engine's
    products."""
    return 1 if run.fp8_params and weight.product else run.num_bytes


def _moments(run: Megatron, weights: Sequence[Weight], num: tuple[int, ...]) -> tuple[int, ...]:
    """Adam keeps two moments, of F32 where nothing else is said; Muon one for each matrix of the layers, and
    Adam's two for the rest."""
    if "muon" in run.optimizer and not run.distributed:
        return tuple(n * 4 for w in weights for n in ([w.num] if _by_muon(w) else [w.num, w.num]))
    if run.optimizer == "sgd":
        return tuple(n * 4 for n in num)
    return tuple(n * size for n in num for size in run.moment_bytes)


def _layer_wise(run: Megatron, weights: Sequence[Weight], master: int) -> tuple[StateTensors, ...]:
    """Muon's distributed optimizer gives whole matrices to ranks (core/optimizer/layer_wise_optimizer.py).

    With the parameter layout, what Adam manages is cut evenly as the distributed optimizer does it; before
    it, all parameters were dealt by size, forth and back over the ranks, the last of which may hold the whole
    embedding.
    """
    mine: list[Weight] = []
    even = 0
    for expert in (False, True):
        ranks = data_ranks(run, expert)
        group = [weight for weight in weights if weight.expert == expert]
        if run.muon_layout:
            even += -(-sum(w.num for w in group if not _by_muon(w)) // ranks)
            group = [weight for weight in group if _by_muon(weight)]
        order = [*range(ranks), *reversed(range(ranks))]
        dealt = enumerate(sorted(group, key=lambda weight: weight.num))
        mine += [weight for index, weight in dealt if order[index % len(order)] == ranks - 1]
    moments = tuple(w.num * 4 * (1 if _by_muon(w) else 2) for w in mine)
    return (
        StateTensors("weights.trained", "parameters", tuple(w.num * run.num_bytes for w in weights)),
        StateTensors(
            "gradients.trained",
            "gradient buffers",
            tuple(_group(weights, expert) * run.grad_bytes for expert in (False, True)),
        ),
        StateTensors(
            "optimizer.master_copies",
            "F32 copies of parameters",
            (*(w.num * master for w in mine), even * master),
        ),
        StateTensors("optimizer.moments", "moments", (*moments, even * 8)),
    )


def _by_muon(weight: Weight) -> bool:
    return weight.rows > 1 and not weight.name.startswith(("embedding", "output_layer"))


def _group(weights: Sequence[Weight], expert: bool) -> int:
    return sum(w.num for w in weights if w.expert == expert)


def data_ranks(run: Megatron, expert: bool) -> int:
    """Ranks that share one copy of the optimizer's states: data times context parallel, or those of the
    experts, by instance; twice as many where two ranks of a pipeline hold the same layers."""
    ranks = (run.expert_dp if expert else run.dp * run.cp) * (2 if run.dualpipe else 1)
    return max(ranks // run.instances, 1)


def _buckets(run: Megatron, weights: Sequence[Weight], expert: bool) -> list[list[tuple[int, int]]]:
    """Buckets of (start, end) in a buffer: parameters in reverse order, each start padded to 64 elements,
    each bucket's end to the ranks."""
    ranks = data_ranks(run, expert)
    step = lcm(ranks, 128, 1 << 16) if run.pad_buckets else lcm(ranks, 128)
    buckets: list[list[tuple[int, int]]] = [[]]
    at = begin = 0
    for weight in reversed([w for w in weights if w.expert == expert]):
        at = -(-at // 64) * 64
        buckets[-1].append((at, at + weight.num))
        at += weight.num
        if run.bucket_size is not None and at - begin >= run.bucket_size:
            at = begin = -(-at // step) * step
            buckets.append([])
    return [bucket for bucket in buckets if bucket]


def _buffer(run: Megatron, weights: Sequence[Weight], expert: bool) -> int:
    """Elements of a parameter or gradient buffer of the distributed optimizer."""
    buckets = _buckets(run, weights, expert)
    if not buckets:
        return 0
    ranks = data_ranks(run, expert)
    step = lcm(ranks, 128, 1 << 16) if run.pad_buckets else lcm(ranks, 128)
    return -(-buckets[-1][-1][1] // step) * step


def _shards(run: Megatron, weights: Sequence[Weight], expert: bool) -> list[int]:
    """Elements of the last data-parallel rank's piece of each parameter: the distributed optimizer cuts
    buckets, not parameters."""
    ranks = data_ranks(run, expert)
    step = lcm(ranks, 128, 1 << 16) if run.pad_buckets else lcm(ranks, 128)
    found: list[int] = []
    for bucket in _buckets(run, weights, expert):
        begin, end = bucket[0][0], -(-bucket[-1][1] // step) * step
        first = end - (end - begin) // ranks
        found += [stop - max(start, first) for start, stop in bucket if stop > first]
    return found[::-1]


def _sharded(run: Megatron, weights: Sequence[Weight], master: int) -> tuple[StateTensors, ...]:
    """Megatron-FSDP, optim_grads_params: weights, gradients and optimizer states all cut over the
    data-parallel ranks."""
    cut = {"no_shard": 0, "optim": 1, "optim_grads": 2, "optim_grads_params": 3}.get(run.fsdp, 3)
    weight_size = gradient_size = state_size = 0
    for expert in (False, True):
        num, ranks = _group(weights, expert), data_ranks(run, expert)
        shard = -(-num // ranks)
        bits = sum(w.num * weight_bytes(run, w) for w in weights if w.expert == expert)
        weight_size += -(-bits // ranks) if cut >= 3 else bits
        gradient_size += (shard if cut >= 2 else num) * run.grad_bytes
        state_size += shard if cut >= 1 else num
    return (
        StateTensors("weights.trained", "parameter shards", (weight_size,)),
        StateTensors("gradients.trained", "gradient shards", (gradient_size,)),
        StateTensors(
            "optimizer.states", "F32 copies and moments", (state_size * (master + sum(run.moment_bytes)),)
        ),
    )


def step_copies(run: Megatron, mine: tuple[Chunk, ...]) -> int:
    """F32 copies of narrow states that Transformer Engine's Adam makes in its step: of one group of
    parameters at a time, of which experts and all else are optimizers of their own."""
    if not run.copied_bytes:
        return 0
    weights = [weight for chunk in mine for weight in rank_weights(run, chunk)]
    ranks = {expert: data_ranks(run, expert) if run.distributed else 1 for expert in (False, True)}
    return run.copied_bytes * max(-(-_group(weights, expert) // ranks[expert]) for expert in ranks)


def gathered(run: Megatron, mine: tuple[Chunk, ...]) -> int:
    """Megatron-FSDP, optim_grads_params: weights that are whole at a time: what is outside of the layers, the
    running layer and the next one."""
    if run.fsdp != "optim_grads_params":
        return 0
    units: dict[str, int] = {}
    for weight in (weight for chunk in mine for weight in rank_weights(run, chunk)):
        first, _, rest = weight.name.partition(".")
        unit = f"{first}.{rest.split('.')[0]}" if first in ("decoder", "encoder", "mtp") else ""
        units[unit] = units.get(unit, 0) + weight.num * run.num_bytes
    root = units.pop("", 0)
    return root + 2 * max(units.values(), default=0)
