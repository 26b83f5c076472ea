"""What data-parallel ranks send each other in a training step, and what the optimizer reads and writes."""

from math import prod
from typing import NamedTuple

from ..run.training import optimizer
from .collectives import all_reduce_s, fabric, gather_s
from .steady import added
from .training_step import TrainingStep, trained_share

GATHERS_EACH = ("zero3", "fsdp1", "fsdp2", "hsdp", "megatron_fsdp")
"""Shardings that gather the weights for each micro-batch."""
GATHERS_ONCE = ("zero1", "zero2", "distopt")
"""Shardings of states alone: weights are gathered once a step."""


class DataParallelTraffic(NamedTuple):
    """Collectives of a step before anything is hidden."""

    gather_s: float
    reduce_s: float
    words: str


def gathers_each_micro_batch(step: TrainingStep) -> bool:
    """Return whether weights are gathered for each micro-batch."""
    return step.asked.sharding in GATHERS_EACH


def traffic(step: TrainingStep) -> DataParallelTraffic:
    """Return the seconds of gathering weights and of reducing gradients: of experts among the ranks that hold
    the same ones, of all else among all data-parallel ranks."""
    mesh = step.mesh
    if mesh.dp * mesh.cp <= 1:
        return DataParallelTraffic(0.0, 0.0, "one data-parallel rank")
    rest, experts = held_parts(step)
    full = step.asked.method == "full"
    found = [collectives(step, rest, trained_params(step, rest), *copies_of_rest(step))]
    if experts:
        found.append(collectives(step, experts, experts if full else 0.0, *copies_of_experts(step)))
    words = "; ".join(each.words for each in found)
    return DataParallelTraffic(
        added(each.gather_s for each in found), added(each.reduce_s for each in found), words
    )


def copies_of_rest(step: TrainingStep) -> tuple[int, int]:
    """Return (ranks that hold the same matrices, those of them in one node): data-parallel ranks lie beside
    each other outside of tensor ranks, stages outside of all (Megatron's order tp-cp-ep-dp-pp, torchtitan's
    mesh)."""
    mesh = step.mesh
    return mesh.dp * mesh.cp, max(step.hardware.per_node // mesh.tp, 1)


def copies_of_experts(step: TrainingStep) -> tuple[int, int]:
    """Return the same of experts: ranks of one node hold others, so that what one sends to other nodes its
    neighbours do not send.

    >>> from ..model.load import load
    >>> from ..run.hardware import parse_gpu
    >>> from ..run.training import Mesh, TrainingAsked
    >>> from ..frameworks.defaults import resolved
    >>> from .training_step import training_step
    >>> asked = resolved(TrainingAsked(framework="megatron-bridge", mesh=Mesh(dp=16, ep=8)), 4096)
    >>> step = training_step(load("deepseek-v2-lite"), asked, asked.mesh, parse_gpu("h100:8x2"))
    >>> copies_of_rest(step), copies_of_experts(step)
    ((16, 8), (2, 1))
    """
    mesh = step.mesh
    each = max(mesh.ep, mesh.tp)
    return max(mesh.dp * mesh.cp * mesh.tp // each, 1), max(step.hardware.per_node // each, 1)


def collectives(
    step: TrainingStep, held: float, trained: float, ranks: int, per_node: int
) -> DataParallelTraffic:
    """Return the seconds that parameters of a rank take of which `ranks` ranks have copies, `per_node` of
    them in a node."""
    mesh, n = step.mesh, step.asked.grad_accum
    if ranks <= 1:
        return DataParallelTraffic(0.0, 0.0, "no copies of experts")
    group = fabric(step.machine, min(mesh.shard_size or ranks, ranks), per_node)
    weights, gradients = held * step.states.compute, trained * max(step.states.gradient, 2)
    if gathers_each_micro_batch(step):
        times = n if step.asked.keep_gathered else 2 * n
        reduce_s = n * gather_s(group, gradients)
        if mesh.shard_size and mesh.shard_size < ranks:
            copies = fabric(step.machine, ranks // mesh.shard_size, 1)
            reduce_s += all_reduce_s(copies, gradients / mesh.shard_size)
        words = f"{times} gathers of {weights:.4g} B, {n} reductions"
        return DataParallelTraffic(times * gather_s(group, weights), reduce_s, words)
    if step.asked.sharding in GATHERS_ONCE:
        words = f"one gather of {weights:.4g} B, one reduction of {gradients:.4g} B"
        return DataParallelTraffic(gather_s(group, weights), gather_s(group, gradients), words)
    words = f"one all-reduce of {gradients:.4g} B over {ranks}"
    return DataParallelTraffic(0.0, all_reduce_s(group, gradients), words)


def held_parts(step: TrainingStep) -> tuple[float, float]:
    """Return the parameters of a rank before data-parallel sharding: (all but experts, experts)."""
    mesh = step.mesh
    experts = added(prod((each.num_layers, each.num_experts)) * each.params_each for each in step.net.experts)
    rest = step.model.num_parameters - experts
    return rest / mesh.tp / mesh.pp, experts / mesh.pp / max(mesh.ep, mesh.tp)


def held_params(step: TrainingStep) -> float:
    """Return the parameters of a rank before data-parallel sharding."""
    return added(held_parts(step))


def trained_params(step: TrainingStep, held: float) -> float:
    """Return the parameters of them that get gradients: all, or adapters of the asked rank on the matrices of
    a layer."""
    asked, mesh = step.asked, step.mesh
    if asked.method == "full":
        return held * trained_share(step)
    per_layer = 4 if asked.lora_targets != ("all-linear",) else 7
    return step.net.num_layers * per_layer * 2 * asked.lora_rank * step.net.hidden / mesh.tp / mesh.pp


def updated_params(step: TrainingStep) -> float:
    """Return the trained parameters whose states a rank updates."""
    asked, ranks = step.asked, step.mesh.dp * step.mesh.cp
    trained = trained_params(step, held_params(step))
    if asked.sharding in (*GATHERS_EACH, *GATHERS_ONCE):
        trained /= min(step.mesh.shard_size or ranks, ranks)
    return trained


def state_bytes(step: TrainingStep) -> float:
    """Return the bytes of a parameter that an update in one pass moves: gradient, master copy and moments
    read, master and moments written."""
    used, states = optimizer(step.asked.optimizer), step.states
    moment = used.moment_bits / 8 if used.moment_bits else states.moment
    return states.gradient + 2 * (states.master + used.moments * moment)


def optimizer_s(step: TrainingStep) -> float:
    """Return the seconds of an optimizer on the card: its states once over, the weight read and written."""
    rate = step.machine.bytes_per_s * step.machine.reached("weights")
    return updated_params(step) * (state_bytes(step) + 2 * step.states.weight) / rate
