"""The symmetric buffer of DeepGEMM's fused experts (vLLM's --moe-backend deep_gemm_mega_moe, SGLang's
--moe-a2a-backend megamoe), which every rank maps for the others.

DeepGEMM: csrc/apis/mega.hpp and include/deep_gemm/layout/mega_moe.cuh, April to June 2026, as vLLM 0.21 to
0.25 carry it.
"""

from ..ledger import Line, exact
from ..model.feedforward import MoE

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


def symmetric_line(ffn: MoE, hidden: int, ranks: int, num_experts: int, tokens: int, later: bool) -> Line:
    """The buffer as a line; `num_experts` has copies of busy ones, `later` kernels have other tiles."""
    size = symmetric_bytes(ranks, num_experts, tokens, ffn.num_active_experts, hidden, ffn.expert_width)
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
    return line._replace(kind="assumed", low_bytes=size // 2, high_bytes=size * 5 // 4) if later else line
