"""How DeepSeek-V3 was trained, by its report: a question on 2,048 cards."""

from typing import Any

PAPER: dict[str, Any] = {
    "framework": "megatron-lm",
    "pp": 16,
    "ep": 64,
    "sharding": "distopt",
    "schedule": "dualpipe",
    "seq_len": 4096,
    "global_batch": 15360,
    "precision": "fp8-bf16-moments",
    "activation_bits": 8,
    "recompute": "selective",
    "recompute_modules": "norm,mla_up_proj,moe_act",
}
