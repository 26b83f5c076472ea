"""What DeepEP holds in SGLang: buffers that every rank sends tokens to, and the products of those that came.

Both come with the first step, after the pool is cut: beside it. The mode for prompts (normal) has but the
smaller buffers; auto, the default, has both.
"""

from ...ledger import Line, ranged
from ...model.feedforward import MoE
from ...model.model import Model
from ...run.serving import Resolved
from ...units import MIB
from ..rank import Stage
from .release import expert_ranks

TOKENS_A_RANK = 128
"""SGLANG_DEEPEP_NUM_MAX_DISPATCH_TOKENS_PER_RANK, where nothing else is said."""
NORMAL_BYTES = 512 * MIB
"""At most, within and between nodes, of the mode for prompts: 20 SMs, 256 and 128 tokens of 7,168 values
(csrc/config.hpp, get_nvl_buffer_size_hint, get_rdma_buffer_size_hint)."""


def low_latency_bytes(hidden: int, num_experts: int) -> int:
    """Return the buffers of single steps, in bytes: two of each that sends and that receives 128 tokens for
    each expert, messages of 16 B and `hidden` values of 16 bit, and two of flags (csrc/config.hpp,
    LowLatencyLayout).

    >>> low_latency_bytes(7168, 256)  # DeepSeek-V3
    1880098816
    """
    message = 16 + 2 * hidden
    flags = -(-4 * num_experts // 128) * 128
    return 2 * (num_experts * TOKENS_A_RANK * (2 * hidden + message) + flags)


def masked_bytes(hidden: int, width: int, tokens: int) -> int:
    """Return what the masked products of `tokens` rows hold at most, in bytes: rows of 8 bit, a scale for 128
    of them, and two halves of `width` in 16 bit; or one of 8 bit and results of 16 (layers/moe/ep_moe).

    >>> masked_bytes(7168, 2048, 256 * 128)  # DeepSeek-V3, of all 256 experts
    538968064
    """
    first = hidden + hidden // 32 + 4 * width
    second = width + width // 32 + 2 * hidden
    return tokens * max(first, second)


def deepep_lines(model: Model, asked: Resolved, stage: Stage) -> list[Line]:
    """The lines of DeepEP, where it carries the tokens."""
    layers = model.layers[stage.start : stage.stop]
    experts = [layer.ffn for layer in layers if isinstance(layer.ffn, MoE)]
    if asked.moe_a2a_backend != "deepep" or not experts:
        return []
    most = max(experts, key=lambda ffn: ffn.num_experts * ffn.expert_width)
    sent = low_latency_bytes(model.hidden_size, most.num_experts)
    rows = most.num_experts // expert_ranks(asked) * TOKENS_A_RANK * asked.layout.tp
    held = masked_bytes(model.hidden_size, most.expert_width, rows)
    per_rank = f"{TOKENS_A_RANK} tokens of each rank"
    return [
        ranged(
            "communication.buffers",
            "engine",
            "buffers of DeepEP",
            (sent, 0, sent + NORMAL_BYTES),
            "assumed",
            f"{most.num_experts} experts x {per_rank}",
            "DeepEP csrc/config.hpp; none of single steps in the normal mode",
        ),
        ranged(
            "temporaries.running",
            "engine",
            "products of tokens that came",
            (held, 0, held),
            "assumed",
            f"{rows:,} rows: {per_rank} for each of its experts",
            "layers/moe/ep_moe/layer.py, forward_deepgemm_masked",
        ),
    ]
