"""What one training step sends over the links: for each axis of the mesh the collectives, their number, and the bytes that one rank sends.

Closed forms over the tensor list. Payload alone, by the algorithms that send least (estimate/collectives.py); in steps after the first. Left
out: norms of gradients, losses and scaling flags (a few bytes), buffers that DDP repeats (rotary tables), barriers and checkpoints.
"""

from collections.abc import Iterator
from math import prod
from typing import NamedTuple

from ..errors import UsageError
from ..model.model import EMBEDDING, Model, Tensor
from ..run.training import Mesh, Training, recipe, resolved
from .collectives import Transfer, all_reduce, gather
from .traffic_layers import context_parallel, expert_parallel, pipeline, tensor_parallel


class StageTraffic(NamedTuple):
    """The transfers of one rank of a pipeline stage (all are alike)."""

    stage: int
    num_ranks: int
    transfers: tuple[Transfer, ...]

    @property
    def sent_bytes(self) -> int:
        return sum(each.sent_bytes for each in self.transfers)


def traffic(model: Model, asked: Training, world: int) -> tuple[StageTraffic, ...]:
    """The communication of one step, stage by stage.

    >>> from ..model.load import load
    >>> from ..run.training import Mesh
    >>> ddp = Training(framework="fsdp", sharding="ddp", precision="bf16", seq_len=2048, mesh=Mesh())
    >>> [(t.collective, t.num_calls, t.sent_bytes) for t in traffic(load("deepseek-coder-1.3b"), ddp, 8)[0].transfers]
    [('all-reduce', 219, 4712651776)]
    """
    asked = resolved(asked)
    if asked.seq_len is None:
        asked = asked._replace(seq_len=model.max_positions)
    mesh = _whole(asked.mesh or Mesh(), world, asked.framework)
    _check(model, mesh)
    return tuple(
        StageTraffic(stage, world // mesh.pp, tuple(each for each in _stage(model, asked, mesh, stage) if each.sent_bytes))
        for stage in range(mesh.pp)
    )


def _stage(model: Model, asked: Training, mesh: Mesh, stage: int) -> Iterator[Transfer]:
    layers = stage_layers(len(model.layers), mesh, stage)
    yield from states(model, asked, mesh, stage)
    yield from tensor_parallel(model, asked, mesh, stage, layers)
    yield from context_parallel(model, asked, mesh, layers)
    yield from expert_parallel(model, asked, mesh, layers)
    yield from pipeline(model, asked, mesh, stage)


def _whole(mesh: Mesh, world: int, framework: str) -> Mesh:
    """The mesh with sizes in place of zeros."""
    inner = mesh.tp * mesh.pp * mesh.cp
    if world % inner or (mesh.dp and mesh.dp * inner != world):
        raise UsageError(
            f"tp {mesh.tp} x pp {mesh.pp} x cp {mesh.cp} x dp {mesh.dp or '?'} is not {world} ranks", "sizes must multiply"
        )
    etp = mesh.etp or (mesh.tp if framework.startswith("megatron") else 1)
    return mesh._replace(dp=world // inner, etp=etp)


def _check(model: Model, mesh: Mesh) -> None:
    num_layers = len(model.layers)
    if mesh.pp * mesh.virtual_stages > num_layers:
        raise UsageError(f"--pp {mesh.pp} x {mesh.virtual_stages} chunks for {num_layers} layers", "a chunk holds a layer or more")
    inner = mesh.dp * mesh.cp * mesh.tp
    if inner % (mesh.ep * mesh.etp):
        raise UsageError(
            f"--ep {mesh.ep} x --etp {mesh.etp} does not divide dp x cp x tp = {inner}", "experts lie inside of these ranks"
        )


class Held(NamedTuple):
    """Parameters of one rank of a stage, before any sharding of states, and the tensors that they are."""

    layers: int
    ends: int
    """Embedding, head, last norm."""
    experts: int
    num_dense: int
    num_experts: int


def held(model: Model, asked: Training, mesh: Mesh, stage: int) -> Held:
    """What one rank of a stage trains (or, with `whole`, computes with): tensors of its layers, cut over tp, etp and ep.

    >>> from ..model.load import load
    >>> held(load("deepseek-v3"), Training(), Mesh(dp=16, tp=1, ep=16, etp=1), 0)
    Held(layers=15264283136, ends=1853365248, experts=40869298176, num_dense=851, num_experts=2784)
    """
    return _held(model, mesh, stage, asked.lora_rank if asked.method != "full" else 0, asked.lora_targets, asked.trained_ends)


def _held(model: Model, mesh: Mesh, stage: int, rank: int, targets: tuple[str, ...], ends_too: bool) -> Held:
    mine = set(stage_layers(len(model.layers), mesh, stage))
    layers = ends = experts = num_dense = num_experts = 0
    for tensor in model.tensors:
        if tensor.part != "main" or tensor.copy_of or (tensor.lookup and tensor.name != EMBEDDING):
            continue
        expert = tensor.role == "expert"
        count = len(mine.intersection(tensor.layers)) if tensor.layers else int(_at_end(model, tensor, mesh, stage))
        if not count:
            continue
        if rank and (tensor.layers or not ends_too):
            numel = rank * sum(tensor.shape) if tensor.layers and not expert and _targeted(tensor, targets) else 0
            each = 2 if numel else 0
        else:
            numel, each = _share(tensor, mesh.etp if expert else mesh.tp), 1
        repeat = -(-tensor.repeat // mesh.ep) if expert else tensor.repeat
        if expert:
            experts, num_experts = experts + count * repeat * numel, num_experts + each * count * repeat
        elif tensor.layers:
            layers, num_dense = layers + count * repeat * numel, num_dense + each * count * repeat
        else:
            ends, num_dense = ends + numel, num_dense + each
    return Held(layers, ends, experts, num_dense, num_experts)


def _share(tensor: Tensor, ranks: int) -> int:
    """Numbers of one tensor on one of `ranks` tensor-parallel ranks; key and value heads are repeated where there are too few."""
    pieces = min(ranks, tensor.cut.units) if tensor.cut.how == "column" and tensor.cut.units else ranks
    return prod(tensor.shape) if tensor.cut.how == "whole" else -(-prod(tensor.shape) // pieces)


def _targeted(tensor: Tensor, targets: tuple[str, ...]) -> bool:
    return len(tensor.shape) == 2 and tensor.role == "linear" and ("all-linear" in targets or tensor.name.split(".")[-2] in targets)


def _at_end(model: Model, tensor: Tensor, mesh: Mesh, stage: int) -> bool:
    if tensor.name == EMBEDDING:
        return stage == 0 or (model.tied and stage == mesh.pp - 1)
    return stage == (mesh.pp - 1)


def stage_layers(num_layers: int, mesh: Mesh, stage: int) -> list[int]:
    """The layers of one pipeline rank: chunks in turn, as even as they come, the longer ones first.

    >>> stage_layers(8, Mesh(pp=2, virtual_stages=2), 0), len(stage_layers(61, Mesh(pp=16), 15))
    ([0, 1, 4, 5], 3)
    """
    chunks = mesh.pp * mesh.virtual_stages
    small, longer = divmod(num_layers, chunks)
    starts = [chunk * small + min(chunk, longer) for chunk in range(chunks + 1)]
    return [layer for chunk in range(stage, chunks, mesh.pp) for layer in range(starts[chunk], starts[chunk + 1])]


def states(model: Model, asked: Training, mesh: Mesh, stage: int) -> Iterator[Transfer]:
    """Gradients summed and weights gathered over the data-parallel ranks, by the way states are sharded.

    ddp: one all-reduce of gradients a step. zero1, distopt: reduce-scatter of gradients and all-gather of weights a step. zero2: the
    reduce-scatter in every micro-batch. fsdp, zero3: each layer is gathered for the forward and again for the backward, the ends (the root
    unit) once, and gradients are scattered, in every micro-batch; under a pipeline once a step (torchtitan keeps layers gathered then).
    hsdp: the same within a shard, and an all-reduce of a rank's gradients over the copies. The cp ranks of a sequence share gradients too; routed
    experts go over dp x cp x tp / (ep x etp). Source: torch.distributed (fully_shard, DDP), arXiv 1910.02054, Megatron's dist_optimizer.
    Ignored: padding of uneven shards, DeepSpeed's reuse of gathered layers.
    """
    sharding = asked.sharding or "none"
    types = recipe(asked.precision or "bf16")
    trained = held(model, asked, mesh, stage)
    used = _held(model, mesh, stage, 0, (), False)
    group, edp = mesh.dp * mesh.cp, mesh.dp * mesh.cp * mesh.tp // (mesh.ep * mesh.etp)
    batches = asked.grad_accum if mesh.pp == 1 else 1
    parts = (
        ("dense", group, trained.layers, trained.ends, used.layers, used.ends, trained.num_dense, used.num_dense),
        ("experts", edp, trained.experts, 0, used.experts, 0, trained.num_experts, used.num_experts),
    )
    for name, ranks, layers, ends, all_layers, all_ends, num_trained, num_used in parts:
        grads = (layers + ends) * types.gradient
        shard = mesh.shard_size if sharding == "hsdp" and mesh.shard_size else ranks
        match sharding:
            case "none" | "ddp":
                formula = f"2 ({ranks} - 1) / {ranks} x {layers + ends:,} x {types.gradient} B"
                yield Transfer("dp", "all-reduce", f"gradients, {name}", ranks, num_trained, all_reduce(grads, ranks), formula)
            case "zero1" | "zero2" | "distopt" | "megatron_fsdp":
                times = batches if sharding == "zero2" else 1
                scattered = f"{times} x ({ranks} - 1) / {ranks} x {layers + ends:,} x {types.gradient} B"
                yield Transfer(
                    "dp", "reduce-scatter", f"gradients, {name}", ranks, times * num_trained, times * gather(grads, ranks), scattered
                )
                gathered = f"({ranks} - 1) / {ranks} x {layers + ends:,} x {types.weight} B"
                weights = gather((layers + ends) * types.weight, ranks)
                yield Transfer("dp", "all-gather", f"weights, {name}", ranks, num_trained, weights, gathered)
            case "zero3" | "fsdp1" | "fsdp2" | "hsdp":
                again = 2 if mesh.pp == 1 else 1
                width = types.compute if types.name.startswith("mixed") else types.weight
                weights = batches * gather((again * all_layers + all_ends) * width, shard)
                formula = f"{batches} x ({shard} - 1) / {shard} x ({again} x {all_layers:,} + {all_ends:,}) x {width} B"
                yield Transfer("dp", "all-gather", f"weights, {name}", shard, batches * again * num_used, weights, formula)
                formula = f"{batches} x ({shard} - 1) / {shard} x {layers + ends:,} x {types.gradient} B"
                scattered_bytes = batches * gather(grads, shard)
                yield Transfer("dp", "reduce-scatter", f"gradients, {name}", shard, batches * num_trained, scattered_bytes, formula)
                copies = ranks // shard
                if copies > 1:
                    part = -(-grads // shard)
                    formula = f"{batches} x 2 ({copies} - 1) / {copies} x {part:,} B"
                    sent = batches * all_reduce(part, copies)
                    yield Transfer("dp", "all-reduce", f"shards of gradients, {name}", copies, batches * num_trained, sent, formula)
