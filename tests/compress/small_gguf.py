"""Checkpoints of the families that become GGUF files: those of small_checkpoints, and what llama.cpp's
converter treats on its own: experts of other names, scaled rotary frequencies, biases."""

from pathlib import Path
from typing import Any

import small_checkpoints
from small_checkpoints import FAMILIES, LATENT, write_family

YARN: dict[str, Any] = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 128,
}
LLAMA3: dict[str, Any] = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
DEEP_YARN = {**YARN, "beta_fast": 32, "beta_slow": 1, "mscale": 0.707, "mscale_all_dim": 0.707}
MORE: dict[str, tuple[str, dict[str, Any]]] = {
    "llama3": ("llama", {"rope_parameters": LLAMA3, "attention_bias": True}),
    "llama_linear": (
        "llama",
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}},
    ),
    "mistral": ("mistral", {}),
    "mixtral": ("mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "qwen2": ("qwen2", {"rope_parameters": YARN}),
    "qwen2_moe": (
        "qwen2_moe",
        {
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 192,
            "shared_expert_intermediate_size": 128,
        },
    ),
    "deepseek_v2_lite": (
        "deepseek_v2",
        {**FAMILIES["deepseek_v2"], "q_lora_rank": None, "rope_parameters": DEEP_YARN},
    ),
    "deepseek_v3_yarn": ("deepseek_v3", {**LATENT, "rope_parameters": DEEP_YARN}),
}
NAMES = ("llama", "qwen3", "qwen3_moe", "deepseek_v2", "deepseek_v3", *MORE)


def write_gguf_family(name: str, folder: Path) -> Path:
    """A folder with the small model of a name."""
    family, config = MORE.get(name, (name, FAMILIES.get(name, {})))
    before = small_checkpoints.FAMILIES.get(family)
    small_checkpoints.FAMILIES[family] = config
    try:
        return write_family(family, folder)
    finally:
        if before is None:
            del small_checkpoints.FAMILIES[family]
        else:
            small_checkpoints.FAMILIES[family] = before
