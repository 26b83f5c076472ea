"""Ascend's groups of ranks: which there are, and their buffers, of which each that talks has two."""

from ...ledger import Line
from ...model.model import Model
from ...run.cards import Hardware
from ...run.serving import Resolved
from ...units import MIB
from .release import VllmRules

A2_LINK, A2_RANKS = "HCCS", 16
"""How NPUs of an Atlas A2 see one another, and of how many of them MC2 is worth it there."""
USUAL_MIB = 200
"""Of a buffer, where nothing is said (hiascend.com, HCCL_BUFFSIZE: two buffers for each communicator)."""
GROUPS, GROUPS_OF_EXPERTS = (1, 1, 2), (2, 1, 4)
"""Groups that talk (value, least, most), as engines.csv counts them: that of tensor parallelism; with that
of experts."""


def moves_experts(model: Model, asked: Resolved, hardware: Hardware, rules: VllmRules) -> bool:
    """Return whether ranks on Ascend send experts their tokens through groups of their own (MC2, all-to-all),
    and do not gather them in that of tensor parallelism (vllm_ascend/ascend_forward_context.py,
    select_moe_comm_method).

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> from ...run.serving import Layout
    >>> from .release import RELEASES
    >>> model, rules = load("qwen3-30b-a3b"), RELEASES.at("0.14.0")
    >>> apart = Resolved(layout=Layout(tp=8, enable_expert_parallel=True))
    >>> [moves_experts(model, apart, parse_gpu(cards), rules) for cards in ("ascend-910b:8", "ascend-910c:8")]
    [False, True]
    """
    layout = asked.layout
    ranks = layout.tp * layout.dp
    if hardware.card.vendor != "Huawei" or not model.kinds.has_experts or ranks == 1 or rules.v0:
        return False
    if not rules.tries_moved_experts:
        return True
    return layout.enable_expert_parallel and (hardware.card.link != A2_LINK or ranks >= A2_RANKS)


def with_buffers(line: Line, rules: VllmRules, tags: tuple[str, ...]) -> Line:
    """Return the line of what lies outside of PyTorch, with buffers of the size that is said.

    >>> from ..overhead_lines import measured
    >>> from .release import RELEASES
    >>> rules, tags = RELEASES.at("0.18.0 (HCCL of 1024)"), ("v1", "ascend", "tp")
    >>> line = measured("vllm", "runtime.non_torch", "non_torch", rules.release, tags)
    >>> found = with_buffers(line, rules, tags)
    >>> (found.bytes - line.bytes) // MIB, (found.high_bytes - line.high_bytes) // MIB
    (1648, 3296)
    """
    more = 2 * (rules.hccl_mib - USUAL_MIB) * MIB
    if not more or not {"ascend", "tp"} <= {*tags}:
        return line
    value, least, most = GROUPS_OF_EXPERTS if "moves_experts" in tags else GROUPS
    return line._replace(
        bytes=max(line.bytes + value * more, 0),
        low_bytes=max(line.low_bytes + least * more, 0),
        high_bytes=max(line.high_bytes + most * more, line.bytes),
        formula=f"{line.formula}, buffers of {rules.hccl_mib} MiB",
    )
