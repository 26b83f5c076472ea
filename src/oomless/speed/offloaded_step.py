"""An optimizer in the host's memory: its processors update the states where they lie, gradients come down
over PCIe and weights go up."""

from ..frameworks import framework
from ..run.this_host import Host, slowest_that_holds
from ..run.training import optimizer
from .band import Figure, TimePart
from .data_parallel import GATHERS_EACH, state_bytes, updated_params
from .training_step import Passes, TrainingStep

ZERO = ("zero1", "zero2", "zero3")
CLIPPED, NARROWED = 8, 6
"""Bytes a parameter that DeepSpeed moves beside CPU-Adam: F32 gradients are scaled in place, the new weights
are cast to 16 bit (0.19.8, stage_1_and_2.py, step)."""
LOOP = 20 / 7
"""What torch's Adam moves on a processor without fused=True, in what one pass moves: 20 reads and writes of a
value in place of 7 (torch.optim.adam, _single_tensor_adam)."""


def updates_on_host(step: TrainingStep) -> bool:
    """Return whether the host's processors run the optimizer: its states were sent there, and nobody pages
    them back."""
    return "optimizer" in step.asked.offload and not optimizer(step.asked.optimizer).paged


def deepspeed(step: TrainingStep) -> bool:
    """Return whether DeepSpeed's engine runs the step."""
    return step.asked.sharding in ZERO and framework(step.asked.framework).zero_is_deepspeed


def host_bytes(step: TrainingStep) -> float:
    """Return the bytes of host memory that the update of one parameter moves.

    DeepSpeed keeps F32 gradients there, whatever the card has; Megatron-LM asks torch for its fused Adam
    (optimizer/__init__.py).
    """
    states = step.states
    once = state_bytes(step) + (0 if states.master else 2 * states.weight)
    if deepspeed(step):
        return once + 4 - states.gradient + CLIPPED + NARROWED
    fused = framework(step.asked.framework).megatron_core or optimizer(step.asked.optimizer).step == "fused"
    return once if fused else once * LOOP


def update_on_host(step: TrainingStep) -> tuple[Figure, Host]:
    """Return (the seconds of the update, the host): its memory, which all ranks of a node share, at the share
    that updates reach; the ends of the band are the least and the largest share that was ever seen."""
    there, ranks = updated_params(step), min(step.mesh.num_ranks, step.hardware.per_node)
    host = slowest_that_holds(int(16 * there * ranks), step.hardware.card)
    share = step.machine.efficiencies.row("host_update", engine="train").constant
    least_s = there * ranks * host_bytes(step) / host.bytes_per_s
    return Figure(least_s / share.value, least_s / share.high, least_s / share.low, "assumed"), host


def over_pcie(step: TrainingStep, done: Passes) -> tuple[float, str]:
    """Return (seconds on the wire that no pass hides, in words what moves).

    DeepSpeed copies the gradients of each micro-batch into the host's memory, adds up the next ones on the
    card (down and up again), and sends their sum in F32 (stage_1_and_2.py, copy_grads_in_partition); copies
    hide behind the backward pass as reductions do. The weights follow the update, and nothing hides them;
    weights that live on the host go up for each pass instead.
    """
    states, asked, there = step.states, step.asked, updated_params(step)
    n, weights = asked.grad_accum, step.states.gathered
    wire = step.machine.pcie_bytes_per_s or step.machine.link_bytes_per_s
    rate = wire * step.machine.efficiencies.value("wire", "pcie")
    adds = (4 * n - 2) * (n > 1) + 4 if deepspeed(step) else states.gradient * n
    resident = "params" in asked.offload and asked.sharding in GATHERS_EACH
    gathers = 2 * n * states.weight if resident else 0
    passes_s = (done.forward_s + done.backward_s + done.again_s) * n
    overlap = step.machine.efficiencies.value("overlap", "train")
    hidden_s = min(there * (adds + gathers) / rate, overlap * passes_s)
    up = 0 if resident else weights
    words = f"{there:.4g} values: {adds + gathers:g} B behind the passes, {up:g} B after the update"
    return there * (adds + gathers + up) / rate - hidden_s, words


def host_parts(step: TrainingStep, done: Passes) -> tuple[TimePart, ...]:
    """Return what the optimizer takes on the host, and on the way there."""
    update, host = update_on_host(step)
    wire_s, words = over_pcie(step, done)
    cite = step.machine.efficiencies.cite
    return (
        TimePart(UPDATE, update.value, f"{host_bytes(step):g} B a value, {host.what}", cite("host_update")),
        TimePart("to the host and back", wire_s, words, cite("wire")),
    )


UPDATE = "optimizer in host memory"
