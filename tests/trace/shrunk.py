"""Published configs made small: every dimension of a family's config shrinks, and nothing else changes."""

from typing import Any

from oomless import facts

SMALL: dict[str, int] = {
    "hidden_size": 256,
    "n_embd": 256,
    "intermediate_size": 448,
    "moe_intermediate_size": 96,
    "shared_expert_intermediate_size": 96,
    "num_attention_heads": 4,
    "n_head": 4,
    "head_dim": 64,
    "vocab_size": 4000,
    "n_routed_experts": 8,
    "num_local_experts": 8,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "n_group": 2,
    "topk_group": 1,
    "q_lora_rank": 96,
    "kv_lora_rank": 64,
    "qk_nope_head_dim": 32,
    "qk_rope_head_dim": 16,
    "v_head_dim": 32,
    "o_lora_rank": 64,
    "o_groups": 2,
    "index_n_heads": 4,
    "index_head_dim": 32,
    "index_topk": 64,
    "sliding_window": 64,
    "num_nextn_predict_layers": 0,
}


def shrunk(name: str, layers: int = 3) -> dict[str, Any]:
    """The config of a catalogue model with small dimensions and a few layers."""
    config = facts.model_config(name)
    small: dict[str, Any] = {"pad_token_id": 0}
    for key, value in config.items():
        if key in ("num_hidden_layers", "n_layer"):
            small[key] = layers
        elif key == "num_key_value_heads":
            small[key] = 4 if value == config["num_attention_heads"] else 1 if value == 1 else 2
        elif key in SMALL and isinstance(value, int) and not isinstance(value, bool):
            small[key] = SMALL[key]
        elif key in ("layer_types", "compress_ratios") and isinstance(value, list):
            small[key] = value[:layers]
        elif key.endswith("token_id"):
            small[key] = 1 if isinstance(value, int) else value
        elif key == "first_k_dense_replace":
            small[key] = min(value, 1)
        else:
            small[key] = value
    return small
