"""The symmetric buffer of DeepGEMM's fused experts (--moe-backend deep_gemm_mega_moe), which every rank maps
for the others.

DeepGEMM: csrc/apis/mega.hpp and include/deep_gemm/layout/mega_moe.cuh, April to June 2026, as vLLM 0.21 to
0.25 carry it.
"""

from ...errors import UnsupportedError
from ...ledger import Line, exact
from ...model.feedforward import MoE
from ...model.model import Model
from ...run.cards import Hardware
from ...run.serving import Resolved
from .release import VllmRules

BLOCKS = (8, 16, 32, 64, 96, 128, 192)
"""Rows of an expert's tile that the kernel may choose; buffers are aligned to their least common multiple."""
ALIGN = 384
SCALE_BLOCK = 128
"""Rows of scales are padded to this many for each tile, however small."""


def aligned(value: int, to: int) -> int:
    return -(-value // to) * to


def symmetric_bytes(num_ranks: int, num_experts: int, tokens: int, topk: int, hidden: int, inner: int) -> int:
    """Bytes on each rank: inputs, a pool for whatever all ranks may send here, its products, and what goes
    back in BF16.

    `tokens` is the batch of one rank, `inner` the width of an expert; activations are fp8 with a scale byte
    for 32 values.

    DeepSeek-V4-Flash on 8 cards with a batch of 8,192:

    >>> symmetric_bytes(8, 256, 8192, 6, 4096, 2048)
    4321690912
    """
    tokens = aligned(tokens, ALIGN)
    local = num_experts // num_ranks
    received = num_ranks * tokens
    pool = aligned(received * min(topk, local) + local * (max(BLOCKS) - 1), ALIGN)
    scales = max(pool // block * aligned(block, SCALE_BLOCK) for block in BLOCKS)
    counts = 32 + num_experts * 16 + local * 8
    arrivals = aligned(pool // min(BLOCKS), 2) * 4 + pool // min(BLOCKS) * 8
    workspace = aligned(counts + arrivals + local * num_ranks * received * 4 + pool * 12, 16)
    inputs = tokens * (hidden + hidden // 32 + topk * 12)
    first = pool * (hidden + 4) + scales * (hidden // 32)
    second = pool * inner + scales * (inner // 32)
    return workspace + inputs + first + second + topk * tokens * 2 * hidden


def mega_moe_lines(model: Model, asked: Resolved, hardware: Hardware, rules: VllmRules) -> list[Line]:
    """The buffer as a line; refused where vLLM refuses it (models/deepseek_v4/nvidia/model.py)."""
    layout = asked.layout
    ffn = next((each for each in reversed(model.kinds.ffns) if isinstance(each, MoE)), None)
    if ffn is None or model.family not in FAMILIES or not rules.has_mega_moe:
        raise UnsupportedError(
            f"--moe-backend {asked.moe_backend} is for DeepSeek-V4, from vllm 0.21 on", "leave it out"
        )
    if not layout.enable_expert_parallel:
        raise UnsupportedError(
            f"--moe-backend {asked.moe_backend} needs expert parallelism", "add --enable-expert-parallel"
        )
    if hardware.card.capability and int(hardware.card.capability) != 10:
        name, capability = hardware.card.name, hardware.card.compute_capability
        raise UnsupportedError(
            f"--moe-backend {asked.moe_backend} needs compute capability 10; {name} has {capability}",
            "leave it out",
        )
    ranks, num_experts = layout.tp * layout.dp, ffn.num_experts + asked.num_redundant_experts
    tokens = asked.max_num_batched_tokens
    size = symmetric_bytes(
        ranks, num_experts, tokens, ffn.num_active_experts, model.hidden_size, ffn.expert_width
    )
    formula = (
        f"{tokens} tokens x {ranks} ranks x "
        f"{min(ffn.num_active_experts, num_experts // ranks)} experts, and their scales"
    )
    line = exact(
        "communication.symmetric",
        "engine",
        "symmetric buffer of fused experts",
        size,
        formula,
        "DeepGEMM csrc/apis/mega.hpp",
    )
    if rules.has_later_mega_moe:
        line = line._replace(kind="assumed", low_bytes=size // 2, high_bytes=size * 5 // 4)
    return [line]


FAMILIES = ("deepseek_v4", "deepseek_v41")
"""Model types whose classes know the backend."""
