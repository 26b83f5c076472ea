"""What data-parallel ranks send to share states: gradients summed, weights gathered, by the way states are
sharded."""

from collections.abc import Iterator
from typing import NamedTuple

from ...model.model import Model
from ...run.training import Mesh, Recipe, TrainingResolved, recipe
from .collectives import Transfer, all_reduce, gather
from .rank_portions import Group, PipelineStage, Portion, portions
from .states import sharding_ranks


class HeldParameters(NamedTuple):
    """Parameters of one rank of a stage in one group, before any sharding of states: in layers, in embedding
    and head; and their tensors."""

    layers: int
    ends: int
    num_tensors: int


def held(found: list[Portion], group: Group, trained: bool) -> HeldParameters:
    """What one rank trains, or computes with, of the dense tensors or of the experts.

    >>> from ...model.load import load
    >>> from .rank_portions import stages
    >>> v3, mesh = load("deepseek-v3"), Mesh(dp=16, ep=16)
    >>> held(portions(v3, mesh, stages(61, mesh)[0], TrainingResolved()), "expert", True)
    HeldParameters(layers=40869298176, ends=0, num_tensors=2784)
    """
    mine = [
        each
        for each in found
        if each.group == group and (each.trained or not trained) and (trained or not each.adapter)
    ]
    inside = sum(each.total for each in mine if each.layers)
    return HeldParameters(
        inside, sum(each.total for each in mine if not each.layers), sum(each.num for each in mine)
    )


class SharedGroup(NamedTuple):
    """Tensors that the same ranks share: the dense ones of a stage, or its experts."""

    name: Group
    ranks: int
    """That hold the same values."""
    shard: int
    """Of these, ranks that share one copy."""
    trained: HeldParameters
    used: HeldParameters
    types: Recipe
    batches: int
    """Times that a step gathers and scatters."""

    @property
    def values(self) -> int:
        """Trained values of one rank."""
        return self.trained.layers + self.trained.ends

    @property
    def gradient_bytes(self) -> int:
        return self.values * self.types.gradient


def states(model: Model, asked: TrainingResolved, mesh: Mesh, stage: PipelineStage) -> Iterator[Transfer]:
    """Gradients summed and weights gathered over the data-parallel ranks, by the way states are sharded.

    The cp ranks of a sequence share gradients too; routed experts go over dp x cp x tp / (ep x etp). Source:
    torch.distributed (fully_shard, DDP), arXiv 1910.02054, Megatron's dist_optimizer. Ignored: padding of
    uneven shards, DeepSpeed's reuse of gathered layers.
    """
    found = portions(model, mesh, stage, asked)
    groups: tuple[Group, ...] = ("dense", "expert")
    for name in groups:
        ranks = sharding_ranks(mesh._replace(shard_size=0), name, asked.framework)
        group = SharedGroup(
            name,
            ranks,
            mesh.shard_size if asked.sharding == "hsdp" and mesh.shard_size else ranks,
            held(found, name, True),
            held(found, name, False),
            recipe(asked.precision),
            asked.grad_accum if mesh.pp == 1 else 1,
        )
        match asked.sharding:
            case "none" | "ddp" | None:
                yield copied(group)
            case "zero1" | "zero2" | "distopt" | "megatron_fsdp":
                yield from scattered(group, group.batches if asked.sharding == "zero2" else 1)
            case "zero3" | "fsdp1" | "fsdp2" | "hsdp":
                yield from gathered_by_layer(group, 2 if mesh.pp == 1 and not asked.keep_gathered else 1)


def copied(group: SharedGroup) -> Transfer:
    """DDP: one all-reduce of gradients a step."""
    n = group.ranks
    return Transfer(
        "dp",
        "all-reduce",
        f"gradients, {group.name}",
        n,
        group.trained.num_tensors,
        all_reduce(group.gradient_bytes, n),
        f"2 ({n} - 1) / {n} x {group.values:,} x {group.types.gradient} B",
    )


def scattered(group: SharedGroup, times: int) -> Iterator[Transfer]:
    """ZeRO-1, distributed optimizer: reduce-scatter of gradients and all-gather of weights a step; ZeRO-2
    scatters in every micro-batch."""
    n, num = group.ranks, group.trained.num_tensors
    yield Transfer(
        "dp",
        "reduce-scatter",
        f"gradients, {group.name}",
        n,
        times * num,
        times * gather(group.gradient_bytes, n),
        f"{times} x ({n} - 1) / {n} x {group.values:,} x {group.types.gradient} B",
    )
    yield Transfer(
        "dp",
        "all-gather",
        f"weights, {group.name}",
        n,
        num,
        gather(group.values * group.types.weight, n),
        f"({n} - 1) / {n} x {group.values:,} x {group.types.weight} B",
    )


def gathered_by_layer(group: SharedGroup, again: int) -> Iterator[Transfer]:
    """FSDP, ZeRO-3: in every micro-batch each layer is gathered for the forward and again for the backward,
    the ends (the root unit) once, and gradients are scattered.

    Where layers stay gathered, as under a pipeline (torchtitan), once: `again` is 1. HSDP: the same within a
    shard, and an all-reduce of a rank's gradients over the copies."""
    d, m, width = group.shard, group.batches, group.types.gathered
    used, num = group.used, group.trained.num_tensors
    yield Transfer(
        "dp",
        "all-gather",
        f"weights, {group.name}",
        d,
        m * again * used.num_tensors,
        m * gather((again * used.layers + used.ends) * width, d),
        f"{m} x ({d} - 1) / {d} x ({again} x {used.layers:,} + {used.ends:,}) x {width} B",
    )
    yield Transfer(
        "dp",
        "reduce-scatter",
        f"gradients, {group.name}",
        d,
        m * num,
        m * gather(group.gradient_bytes, d),
        f"{m} x ({d} - 1) / {d} x {group.values:,} x {group.types.gradient} B",
    )
    copies = group.ranks // d
    if copies > 1:
        part = -(-group.gradient_bytes // d)
        yield Transfer(
            "dp",
            "all-reduce",
            f"shards of gradients, {group.name}",
            copies,
            m * num,
            m * all_reduce(part, copies),
            f"{m} x 2 ({copies} - 1) / {copies} x {part:,} B",
        )
