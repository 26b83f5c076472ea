"""The seconds of a training step on one rank, part by part: compute, communication that nothing hides, the
pipeline's bubble, the optimizer."""

from itertools import repeat
from math import log, prod, sqrt

from ..frameworks import framework
from ..model.feedforward import MoE
from .band import TimePart
from .collectives import all_reduce_s, all_to_all_s, fabric, gather_s, send_s
from .data_parallel import gathers_each_micro_batch, optimizer_s, traffic
from .forward import kernels_of
from .offloaded_step import host_parts, updates_on_host
from .steady import added, hidden, steady
from .training_step import Passes, TrainingStep, passes_of


def step_parts(step: TrainingStep) -> tuple[TimePart, ...]:
    """Return what a step's seconds are made of; the pipeline's stages divide the layers evenly."""
    mesh, machine, n = step.mesh, step.machine, step.asked.grad_accum
    done = passes_of(step)
    passes, moved = elementwise(step)
    bandwidth = machine.bytes_per_s * machine.reached("weights")
    moved_s = moved / bandwidth * (1 + done.again / (done.forward + done.backward))
    inside_s = inside_layers_s(step, done.again > 0) + experts_s(step, done)
    micro_s = done.forward_s + done.backward_s + done.again_s + moved_s + inside_s
    kernels = kernels_of_step(step)
    kernels += kernels * machine.efficiencies.value("forward", "train") * (step.asked.recompute == "full")
    launched_s = launches_s(step, kernels, micro_s)
    micro_s += launched_s
    exposed_s, moves = exposed(step, done, launched_s)
    frozen_s = frozen_forwards_s(step)
    micro_s += frozen_s
    jitter, cite = machine.efficiencies.value("jitter", "train"), machine.efficiencies.cite
    waiting_s = n * micro_s * jitter * sqrt(2 * steady(log(mesh.num_ranks)))
    forward = f"{n} x {done.forward:.4g} operations / (peak x share reached)"
    backward, again = f"{n} x {done.backward:.4g} operations", f"{n} x {done.again:.4g} operations"
    stream = f"{n} x {moved:.4g} B / bandwidth: {passes:g} passes a layer"
    inside, hosts = "tensor, context and expert parallelism", "data, logging, launches that nothing hides"
    stages = f"{mesh.schedule}, {mesh.pp} stages, {n} micro-batches"
    waits = f"{mesh.num_ranks} ranks: jitter x sqrt(2 ln ranks)"
    states, tables = "states read and written once", "recipes.csv, optimizers.csv"
    found = (
        TimePart("forward", done.forward_s * n, forward, cite("matrix train")),
        TimePart("backward", done.backward_s * n, backward, cite("matrix train")),
        TimePart("recomputation", done.again_s * n, again, cite("matrix train")),
        TimePart(
            "frozen forward passes",
            frozen_s * n,
            f"{n} x {step.frozen} x {done.forward:.4g} operations",
            BESIDE,
        ),
        TimePart("elementwise", moved_s * n, stream, cite("train_passes")),
        TimePart("launches", launched_s * n, f"{n} x {kernels:,.0f} {LAUNCHED}", cite("launch")),
        TimePart(inside, inside_s * n, f"{n} micro-batches, not hidden", "speed/collectives.py"),
        TimePart("pipeline bubble", bubble_s(step, micro_s), stages, "speed/training_parts.py"),
        TimePart("data parallelism, not hidden", exposed_s, moves, "speed/collectives.py"),
        TimePart("waiting for the slowest", waiting_s, waits, cite("jitter")),
        *(
            host_parts(step, done)
            if updates_on_host(step)
            else (TimePart("optimizer", optimizer_s(step), states, tables),)
        ),
        TimePart("host", machine.reached("host", "train"), hosts, cite("host")),
    )
    return tuple(part for part in found if part.seconds > 0)


def elementwise(step: TrainingStep) -> tuple[float, float]:
    """Return (passes over the residual stream a layer, bytes that they move) of a micro-batch; the rows of
    experts are gathered, activated and summed beside, forward once and backward twice."""
    passes = step.machine.efficiencies.value("train_passes", conditions=step.conditions)
    layers, divided = step.net.num_layers / step.mesh.pp, step.mesh.tp if step.mesh.sequence_parallel else 1
    stream = layers * passes * step.micro_tokens * step.net.hidden * step.states.compute / divided
    rows = added(
        each.num_layers * each.num_active * 3 * (each.hidden + each.width) for each in step.net.experts
    )
    if step.net.expert_biases:
        added_s = step.machine.efficiencies.value("bias_passes", "", "train", step.conditions)
        rows += (
            added(each.num_layers * each.num_active * each.hidden for each in step.net.experts) * added_s / 3
        )
    routed = 3 * rows * step.micro_tokens * step.states.compute / step.mesh.pp / step.mesh.tp
    return passes, stream + routed


LAUNCHED = "kernels launched one by one, hidden in part"
BESIDE = "speed/training_parts.py: frozen_forwards_s; assumed"


def kernels_of_step(step: TrainingStep) -> float:
    """Return the kernels that the host launches for a micro-batch, forward and backward.

    Each expert of a rank is multiplied on its own, so that many small ones keep the card waiting. Ignored:
    graphs of parts of a layer.
    """
    kernels = added(count * kernels_of("train", kind, step.conditions) for kind, count in step.net.kinds)
    each = kernels_of("train", "expert", step.conditions)
    kernels += added(one.num_layers * one.num_experts for one in step.net.experts) / step.mesh.ep * each
    return kernels / step.mesh.pp


def launches_s(step: TrainingStep, kernels: float, device_s: float) -> float:
    """Return the seconds by which launches are longer than what kernels of `device_s` hide."""
    launch_s = kernels * step.machine.reached("launch", "train", step.conditions)
    return hidden(device_s, launch_s, step.machine.reached("hiding", "train")) - device_s


def frozen_forwards_s(step: TrainingStep) -> float:
    """Return the seconds of the forward passes without a graph beside a micro-batch: products as in the
    policy's own, of what moves, of kernels and of collectives within layers a forward pass's share; weights
    that are gathered for each micro-batch are gathered once more (TRL, trainer/dpo_trainer.py and
    kto_trainer.py: the reference runs on the batch that the policy ran on)."""
    if not step.frozen:
        return 0.0
    machine, constants, done = step.machine, step.machine.efficiencies, passes_of(step)
    share, overlap = constants.value("forward", "train"), constants.value("overlap", "train")
    plain = step._replace(asked=step.asked._replace(recompute="none"))
    _, moved = elementwise(plain)
    inside_s = inside_layers_s(plain, False) + experts_s(plain, done._replace(again=0.0))
    device_s = done.forward_s + share * moved / (machine.bytes_per_s * machine.reached("weights"))
    device_s += inside_s / 2
    device_s += launches_s(step, share * kernels_of_step(step), device_s)
    gather_s = traffic(step).gather_s / (2 * step.asked.grad_accum) if gathers_each_micro_batch(step) else 0.0
    hidden_s = min(gather_s, overlap * device_s) * (1 - constants.value("contention", "train"))
    return step.frozen * (device_s + gather_s - hidden_s)


def inside_layers_s(step: TrainingStep, again: bool) -> float:
    """Return the seconds of the collectives within the layers of a micro-batch: forward, backward and, where
    a layer is computed again, once more."""
    mesh, machine, per_node = step.mesh, step.machine, step.hardware.per_node
    layers, tokens = step.net.num_layers / mesh.pp, step.micro_tokens
    message = tokens * step.net.hidden * step.states.compute
    times, total = 6 if again else 4, 0.0
    if mesh.tp > 1:
        total += times * layers * all_reduce_s(fabric(machine, mesh.tp, per_node), message)
    if mesh.cp > 1:
        read = added(cache.num_layers * cache.read for cache in step.net.caches)
        keys = read / mesh.pp / mesh.tp * tokens * step.states.compute
        group = fabric(machine, mesh.cp, max(per_node // mesh.tp, 1))
        total += 3 * gather_s(group, keys * mesh.cp) / 3
    if mesh.pp > 1:
        line = fabric(machine, mesh.pp, 1 if mesh.tp * mesh.cp >= per_node else per_node)
        total += 2 * send_s(line, message / mesh.tp) * mesh.virtual_stages
    return total


def experts_s(step: TrainingStep, done: Passes) -> float:
    """Return the seconds that tokens of a micro-batch are on their way to experts and back, as far as nothing
    hides them.

    Over nodes a token goes to each node once, whichever of its experts are there (DeepEP, internode kernels):
    to as many as its groups of experts lie on. Megatron-Bridge's recipes run one micro-batch's exchange
    behind another's compute (moe_a2a_overlap; stages must have chunks for it), as DualPipe does; within a
    node or a domain of switches they do not.
    """
    mesh, machine, per_node = step.mesh, step.machine, step.hardware.per_node
    routed = [layer.ffn for layer in step.model.layers if isinstance(layer.ffn, MoE)]
    if mesh.ep <= 1 or not routed:
        return 0.0
    group = fabric(machine, mesh.ep, per_node)
    active = step.net.experts[0].num_active
    copies = float(active)
    if group.nodes > 1:
        reached = max(1.0, group.nodes * routed[0].group_share)
        copies = min(copies, reached * (1 - prod(repeat(1 - 1 / reached, active))))
    sent = step.micro_tokens * step.net.hidden * step.states.compute * copies
    sent /= mesh.tp if mesh.sequence_parallel else 1
    total = (6 if done.again > 0 else 4) * len(routed) / mesh.pp * all_to_all_s(group, sent)
    behind = mesh.schedule.startswith("dualpipe") or (
        framework(step.asked.framework).megatron_core and (mesh.pp == 1 or mesh.virtual_stages > 1)
    )
    if group.nodes > 1 and behind:
        hidden = machine.efficiencies.value("overlap", "train") * (done.forward_s + done.backward_s)
        contention = machine.efficiencies.value("contention", "train")
        total -= min(total, hidden) * (1 - contention)
    return total


def bubble_s(step: TrainingStep, micro_s: float) -> float:
    """Return the idle seconds of a stage: (stages - 1) micro-batches, divided by the chunks of an interleaved
    schedule.

    Zero-bubble schedules fill it with weight gradients: a third of it stays (zb1p), nearly nothing (zbv,
    dualpipe).
    """
    idle = (step.mesh.pp - 1) * micro_s
    match step.mesh.schedule:
        case "interleaved":
            return idle / step.mesh.virtual_stages
        case "zb1p":
            return idle / 3
        case "zbv" | "dualpipe" | "dualpipev":
            return idle / 6
    return idle


def exposed(step: TrainingStep, done: Passes, launched_s: float) -> tuple[float, str]:
    """Return (seconds of data parallelism that nothing hides, in words what moves). Gathers and reductions go
    over one network: what hides behind a layer's compute, or while a card waits for launches, does so once.
    """
    moved = traffic(step)
    constants, n = step.machine.efficiencies, step.asked.grad_accum
    overlap = constants.value("overlap", "train")
    backward_s = done.backward_s + done.again_s + launched_s
    times = n if gathers_each_micro_batch(step) else 1
    reduce_s = min(moved.reduce_s, overlap * backward_s * times)
    gather_s = min(moved.gather_s, overlap * n * (done.forward_s + backward_s) - reduce_s)
    hidden_s = reduce_s + gather_s
    contention = constants.value("contention", "train")
    return moved.gather_s + moved.reduce_s - hidden_s * (1 - contention), moved.words
