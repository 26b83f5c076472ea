"""Seconds that the ranks of a pass spend on each other: all-reduces of a layer, tokens on their way to
experts."""

from ..engines.speed_classes import speed_class
from .collectives import all_reduce_s, all_to_all_s, fabric, gather_s, send_s
from .load import Split
from .machine import Machine
from .network import Network

SUMS_OF_SQUARES = 8
"""Bytes of a token: one FP32 sum of its queries and one of its keys, which ranks add up in one all-reduce
(sgl-project/sglang#14416, vllm-project/vllm#31493)."""


def communication(
    net: Network, machine: Machine, split: Split, engine: str, tokens: float, everywhere: float
) -> tuple[str, float]:
    """Return (in words, seconds): two all-reduces a layer under tensor parallelism; tokens to experts and
    back where groups of sequences share them."""
    if split.tp == 1 and split.expert_ranks == 1:
        return "", 0.0
    message = tokens * net.hidden * 2
    inside = fabric(machine, split.tp, split.per_node)
    if not speed_class(engine).reduces_in_switch:
        inside = inside._replace(adds=False)
    moe_layers = sum(experts.num_layers for experts in net.experts)
    total, words = 0.0, []
    if split.tp > 1:
        count = 2 * net.num_layers - (moe_layers if split.dp > 1 else 0)
        total += count * all_reduce_s(inside, message)
        words.append(f"{count} all-reduces of {message:,.0f} B over {split.tp}")
        if net.joint_norms:
            total += net.joint_norms * all_reduce_s(inside, tokens * SUMS_OF_SQUARES)
            words.append(f"{net.joint_norms} of sums of squares of queries and keys")
    if split.dp > 1 and moe_layers and split.expert_ranks > 1:
        group = fabric(machine, split.expert_ranks, split.per_node)
        whole = everywhere * net.hidden * 2
        if split.experts_whole:
            active = net.experts[0].num_active
            sent = tokens / split.tp * active * net.hidden * 2
            total += moe_layers * min(2 * all_to_all_s(group, 0.75 * sent), gather_s(group, whole) * 2)
            words.append(f"{moe_layers} x tokens to {active} experts and back")
        else:
            total += moe_layers * 2 * gather_s(group, whole)
            words.append(f"{moe_layers} all-gathers and reduce-scatters of {whole:,.0f} B")
    return ", ".join(words), total


def stages_s(net: Network, machine: Machine, split: Split, tokens: float) -> float:
    """Return the seconds of sending hidden states from one pipeline stage to the next, over all stages."""
    if split.pp <= 1:
        return 0.0
    line = fabric(machine, split.pp, 1 if split.tp >= split.per_node else split.per_node)
    return (split.pp - 1) * send_s(line, tokens * net.hidden * 2)
