"""What one training step sends over the links: for each axis of the mesh the collectives, their number, and
the bytes that one rank sends.

Closed forms over the tensor list. Payload alone, by the algorithms that send least
(estimate/training/collectives.py); in steps after the first. Left out: norms of gradients, losses and scaling
flags (a few bytes), buffers that DDP repeats (rotary tables), barriers and checkpoints.
"""

from collections.abc import Iterator
from typing import NamedTuple

from ...frameworks.defaults import resolved
from ...model.model import Model
from ...run.training import Mesh, Training, recipe
from .collectives import Axis, Transfer, all_reduce, gather, grid, layer_widths
from .rank_portions import Group, PipelineStage, Portion, check_mesh, portions, stages
from .states import sharding_ranks
from .traffic_layers import context_parallel, expert_parallel, micro_batch_tokens, pipeline, tensor_parallel


class StageTraffic(NamedTuple):
    """The transfers of one rank of a pipeline stage (all are alike)."""

    stage: int
    num_ranks: int
    transfers: tuple[Transfer, ...]

    @property
    def sent_bytes(self) -> int:
        return sum(each.sent_bytes for each in self.transfers)


class AxisTraffic(NamedTuple):
    """What one rank sends in a step along one axis."""

    axis: Axis
    sent_bytes: int
    collectives: tuple[str, ...]


def by_axis(stage: StageTraffic) -> tuple[AxisTraffic, ...]:
    """The transfers of a stage, summed by axis."""
    found: dict[Axis, list[Transfer]] = {}
    for each in stage.transfers:
        found.setdefault(each.axis, []).append(each)
    return tuple(
        AxisTraffic(
            axis,
            sum(each.sent_bytes for each in group),
            tuple(dict.fromkeys(each.collective for each in group)),
        )
        for axis, group in found.items()
    )


def two_dimensional(model: Model, asked: Training, mesh: Mesh) -> str:
    """What two dimensions of tensor parallelism would change, in a sentence; "" where they are not defined.

    They are never launched: Colossal-AI's present release has left them out, and no other maintained library
    runs them.

    >>> from ...model.load import load
    >>> two_dimensional(load("profile-deepseek-pro-13b"), Training(seq_len=4096), Mesh(tp=4))
    '2D tensor parallelism (which no maintained library runs) would send 2.60 times as much over 4 ranks;
     less from 26,936 tokens a micro-batch on'
    """
    found = grid(model, mesh.tp, micro_batch_tokens(asked, mesh)) if mesh.tp > 1 else None
    if found is None:
        return ""
    times = found.two_dimensions / found.one_dimension
    when = f"less from {found.equal_tokens:,} tokens a micro-batch on" if found.equal_tokens else "never less"
    return (
        f"2D tensor parallelism (which no maintained library runs) would send {times:.2f} times "
        f"as much over {mesh.tp} ranks; {when}"
    )


def known(model: Model) -> bool:
    """Whether the model's products are known: a run that was read from an argument list of Megatron-LM has
    sizes alone."""
    return any(layer_widths(model.tensors, layer).out for layer in range(min(2, len(model.layers))))


def busiest(stages_of: tuple[StageTraffic, ...]) -> StageTraffic:
    """The stage whose ranks send most."""
    return max(stages_of, key=lambda each: each.sent_bytes)


def traffic(model: Model, asked: Training, world: int) -> tuple[StageTraffic, ...]:
    """The communication of one step, stage by stage.

    >>> from ...model.load import load
    >>> ddp = Training(framework="fsdp", sharding="ddp", precision="bf16", seq_len=2048)
    >>> [
    ...     (t.collective, t.num_calls, t.sent_bytes)
    ...     for t in traffic(load("deepseek-coder-1.3b"), ddp, 8)[0].transfers
    ... ]
    [('all-reduce', 219, 4712651776)]
    """
    asked = resolved(asked)
    if asked.seq_len is None:
        asked = asked._replace(seq_len=model.max_positions)
    mesh = check_mesh(model, asked.mesh or Mesh(), world)
    return tuple(
        StageTraffic(
            stage.rank,
            mesh.num_ranks // mesh.pp,
            tuple(each for each in _stage(model, asked, mesh, stage) if each.sent_bytes),
        )
        for stage in stages(len(model.layers), mesh)
    )


def _stage(model: Model, asked: Training, mesh: Mesh, stage: PipelineStage) -> Iterator[Transfer]:
    yield from states(model, asked, mesh, stage)
    yield from tensor_parallel(model, asked, mesh, stage)
    yield from context_parallel(model, asked, mesh, stage.layers)
    yield from expert_parallel(model, asked, mesh, stage.layers)
    yield from pipeline(model, asked, mesh, stage)


class HeldParameters(NamedTuple):
    """Parameters of one rank of a stage in one group, before any sharding of states: in layers, in embedding
    and head; and their tensors."""

    layers: int
    ends: int
    num_tensors: int


def held(found: list[Portion], group: Group, trained: bool) -> HeldParameters:
    """What one rank trains, or computes with, of the dense tensors or of the experts.

    >>> from ...model.load import load
    >>> v3, mesh = load("deepseek-v3"), Mesh(dp=16, ep=16)
    >>> held(portions(v3, mesh, stages(61, mesh)[0], Training()), "expert", True)
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


def states(model: Model, asked: Training, mesh: Mesh, stage: PipelineStage) -> Iterator[Transfer]:
    """Gradients summed and weights gathered over the data-parallel ranks, by the way states are sharded.

    ddp: one all-reduce of gradients a step. zero1, distopt: reduce-scatter of gradients and all-gather of
    weights a step. zero2: the reduce-scatter in every micro-batch. fsdp, zero3: each layer is gathered for
    the forward and again for the backward, the ends (the root unit) once, and gradients are scattered, in
    every micro-batch; under a pipeline once a step (torchtitan keeps layers gathered then). hsdp: the same
    within a shard, and an all-reduce of a rank's gradients over the copies. The cp ranks of a sequence share
    gradients too; routed experts go over dp x cp x tp / (ep x etp). Source: torch.distributed (fully_shard,
    DDP), arXiv 1910.02054, Megatron's dist_optimizer. Ignored: padding of uneven shards, DeepSpeed's reuse of
    gathered layers.
    """
    sharding = asked.sharding or "none"
    types = recipe(asked.precision or "bf16")
    found = portions(model, mesh, stage, asked)
    batches = asked.grad_accum if mesh.pp == 1 else 1
    groups: tuple[Group, ...] = ("dense", "expert")
    for name in groups:
        layers, ends, num_trained = held(found, name, True)
        all_layers, all_ends, num_used = held(found, name, False)
        ranks = mesh.dp * mesh.cp if name == "dense" else sharding_ranks(mesh._replace(shard_size=0), name)
        grads = (layers + ends) * types.gradient
        shard = mesh.shard_size if sharding == "hsdp" and mesh.shard_size else ranks
        match sharding:
            case "none" | "ddp":
                formula = f"2 ({ranks} - 1) / {ranks} x {layers + ends:,} x {types.gradient} B"
                yield Transfer(
                    "dp",
                    "all-reduce",
                    f"gradients, {name}",
                    ranks,
                    num_trained,
                    all_reduce(grads, ranks),
                    formula,
                )
            case "zero1" | "zero2" | "distopt" | "megatron_fsdp":
                times = batches if sharding == "zero2" else 1
                scattered = f"{times} x ({ranks} - 1) / {ranks} x {layers + ends:,} x {types.gradient} B"
                yield Transfer(
                    "dp",
                    "reduce-scatter",
                    f"gradients, {name}",
                    ranks,
                    times * num_trained,
                    times * gather(grads, ranks),
                    scattered,
                )
                gathered = f"({ranks} - 1) / {ranks} x {layers + ends:,} x {types.weight} B"
                weights = gather((layers + ends) * types.weight, ranks)
                yield Transfer("dp", "all-gather", f"weights, {name}", ranks, num_trained, weights, gathered)
            case "zero3" | "fsdp1" | "fsdp2" | "hsdp":
                again = 2 if mesh.pp == 1 else 1
                width = types.gathered
                weights = batches * gather((again * all_layers + all_ends) * width, shard)
                formula = (
                    f"{batches} x ({shard} - 1) / {shard} x ({again} x {all_layers:,} + "
                    f"{all_ends:,}) x {width} B"
                )
                yield Transfer(
                    "dp",
                    "all-gather",
                    f"weights, {name}",
                    shard,
                    batches * again * num_used,
                    weights,
                    formula,
                )
                formula = f"{batches} x ({shard} - 1) / {shard} x {layers + ends:,} x {types.gradient} B"
                scattered_bytes = batches * gather(grads, shard)
                yield Transfer(
                    "dp",
                    "reduce-scatter",
                    f"gradients, {name}",
                    shard,
                    batches * num_trained,
                    scattered_bytes,
                    formula,
                )
                copies = ranks // shard
                if copies > 1:
                    part = -(-grads // shard)
                    formula = f"{batches} x 2 ({copies} - 1) / {copies} x {part:,} B"
                    sent = batches * all_reduce(part, copies)
                    yield Transfer(
                        "dp",
                        "all-reduce",
                        f"shards of gradients, {name}",
                        copies,
                        batches * num_trained,
                        sent,
                        formula,
                    )
