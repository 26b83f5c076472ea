"""Where vLLM runs DeepGEMM's fused experts (--moe-backend deep_gemm_mega_moe), whose buffer
symmetric_buffer.py counts."""

from ...errors import UnsupportedError
from ...ledger import Line
from ...model.feedforward import MoE
from ...model.model import Model
from ...run.cards import Hardware
from ...run.serving import Resolved
from ..symmetric_buffer import symmetric_line
from .release import VllmRules


def mega_moe_lines(model: Model, asked: Resolved, hardware: Hardware, rules: VllmRules) -> list[Line]:
    """The buffer as a line; refused where vLLM refuses it (models/deepseek_v4/nvidia/model.py)."""
    layout = asked.layout
    ffn = next(reversed(model.kinds.of(MoE)), None)
    if ffn is None or model.family not in rules.has_mega_moe:
        raise UnsupportedError(
            f"--moe-backend {asked.moe_backend} is for DeepSeek-V4, from vllm 0.21 on", "leave it out"
        )
    if not layout.enable_expert_parallel:
        raise UnsupportedError(
            f"--moe-backend {asked.moe_backend} needs expert parallelism", "add --enable-expert-parallel"
        )
    if hardware.card.major not in (0, 10):
        name, capability = hardware.card.name, hardware.card.compute_capability
        raise UnsupportedError(
            f"--moe-backend {asked.moe_backend} needs compute capability 10; {name} has {capability}",
            "leave it out",
        )
    ranks, num_experts = layout.tp * layout.dp, ffn.num_experts + asked.num_redundant_experts
    tokens = asked.max_num_batched_tokens or 0
    later = rules.has_later_mega_moe
    return [symmetric_line(ffn, model.hidden_size, ranks, num_experts, tokens, later)]
