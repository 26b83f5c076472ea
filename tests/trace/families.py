"""Small configs of every causal language model that the installed transformers has, made from its config
classes alone."""

from typing import Any

HIDDEN, HEADS, LAYERS = 64, 4, 3
EXACT: dict[str, Any] = {
    "vocab_size": 1000,
    "vocab_size_per_layer_input": 1000,
    "max_position_embeddings": 512,
    "n_positions": 512,
    "n_ctx": 512,
    "intermediate_size": 112,
    "moe_intermediate_size": 48,
    "shared_expert_intermediate_size": 48,
    "n_routed_experts": 8,
    "num_local_experts": 8,
    "num_experts": 8,
    "moe_num_experts": 8,
    "num_experts_per_tok": 2,
    "num_experts_per_token": 2,
    "moe_topk": 2,
    "moe_k": 2,
    "n_group": 2,
    "topk_group": 1,
    "q_lora_rank": 48,
    "kv_lora_rank": 32,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "qk_head_dim": 24,
    "v_head_dim": 16,
    "head_dim": 16,
    "sliding_window": 32,
    "initializer_range": 0.02,
    "mamba_d_head": 32,
    "mamba_n_heads": 4,
    "mamba_num_heads": 4,
    "mamba_head_dim": 32,
    "hidden_size_per_layer_input": 16,
    "first_k_dense_replace": 1,
    "num_nextn_predict_layers": 0,
}
WIDTHS = ("hidden_size", "n_embd", "d_model", "dim", "embedding_size")
DEPTHS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers")
NUM_HEADS = (
    "num_attention_heads",
    "n_head",
    "n_heads",
    "encoder_attention_heads",
    "decoder_attention_heads",
    "attention_heads",
)


def causal_families() -> list[str]:
    """Model types with a causal language model."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


MIX = ["linear_attention", "hybrid", "linear_attention"]
MORE: dict[str, dict[str, Any]] = {
    "codegen": {"rotary_dim": 16},
    "gptj": {"rotary_dim": 16},
    "cohere_compass_text": {
        "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 10000.0}}
    },
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 10000.0},
        "ffn_config": {"hidden_size": HIDDEN, "ffn_hidden_size": 48, "moe_num_experts": 8, "moe_top_k": 2},
    },
    "deepseek_v2": {
        "n_shared_experts": 1,
        "n_routed_experts": 8,
        "num_experts_per_tok": 2,
        "first_k_dense_replace": 1,
        "head_dim": 8,
    },
    "deepseek_v3": {"head_dim": 8},
    "dots1": {
        "n_shared_experts": 1,
        "n_routed_experts": 8,
        "num_experts_per_tok": 2,
        "first_k_dense_replace": 1,
    },
    "dory": {"n_input_layers": 1, "n_recurrent_layers": 1, "n_output_layers": 1},
    "falcon_h1": {
        "mamba_d_ssm": 128,
        "mamba_n_heads": 4,
        "mamba_d_head": 32,
        "mamba_d_state": 16,
        "mamba_chunk_size": 32,
    },
    "gemma3n_text": {
        "intermediate_size": 112,
        "activation_sparsity_pattern": [0.95, 0.0, 0.0],
        "num_kv_shared_layers": 1,
    },
    "gpt_neo": {"attention_types": [[["global", "local"], 1], [["global"], 1]], "window_size": 32},
    "hunyuan_v1_dense": {"head_dim": 16},
    "hunyuan_v1_moe": {"head_dim": 16},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "use_mamba_kernels": False},
    "laguna": {"num_attention_heads_per_layer": [4, 4, 4]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention", "conv"], "num_dense_layers": 1},
    "longcat_flash": {
        "ffn_hidden_size": 112,
        "expert_ffn_hidden_size": 48,
        "zero_expert_num": 2,
        "head_dim": 8,
    },
    "mamba2": {"num_heads": 4, "head_dim": 32, "n_groups": 2, "state_size": 16, "chunk_size": 32},
    "ministral": {"head_dim": 16, "num_key_value_heads": 2},
    "nemotron_h": {
        "n_groups": 2,
        "ssm_state_size": 16,
        "chunk_size": 32,
        "head_dim": 16,
        "num_key_value_heads": 2,
    },
    "nemotron": {"num_key_value_heads": 2},
    "recurrent_gemma": {"lru_width": HIDDEN, "num_key_value_heads": 1, "attention_window_size": 32},
    "reformer": {"is_decoder": True},
    "rwkv": {"attention_hidden_size": HIDDEN, "context_length": 512},
    "zamba": {
        "layers_block_type": MIX,
        "attention_hidden_size": 128,
        "attention_head_dim": 32,
        "use_mamba_kernels": False,
    },
    "zamba2": {
        "layers_block_type": MIX,
        "hybrid_layer_ids": [1],
        "attention_hidden_size": 128,
        "attention_head_dim": 32,
        "mamba_headdim": 32,
        "n_mamba_heads": 4,
        "mamba_d_state": 16,
        "kv_channels": 16,
        "num_query_groups": 4,
        "chunk_size": 32,
        "use_mamba_kernels": False,
    },
    "xlstm": {"num_heads": 4, "chunk_size": 32},
    "zaya": {"num_experts_per_tok": 1, "sliding_window": 32, "router_hidden_size": 16},
}
"""What a family needs beyond small dimensions."""


def small(kind: str, more: dict[str, Any] | None = None) -> dict[str, Any]:
    """The defaults of a config class with small dimensions and three layers."""
    from transformers import CONFIG_MAPPING

    config_class = CONFIG_MAPPING[kind]
    document = config_class().to_dict()
    document = shrunk_text(document) | MORE.get(kind, {}) | (more or {})
    return {"model_type": kind, **document}


def shrunk_text(document: dict[str, Any]) -> dict[str, Any]:
    """A text model's config in small; the text part of a composed one."""
    small: dict[str, Any] = {}
    heads = next((document[key] for key in NUM_HEADS if isinstance(document.get(key), int)), 0)
    for key, value in document.items():
        number = isinstance(value, int) and not isinstance(value, bool)
        if key == "text_config" and isinstance(value, dict):
            small[key] = shrunk_text(value)
        elif key == "per_layer_config":
            small[key] = {"2": next(iter(value.values()))} if value else value
        elif key in (
            "transformers_version",
            "architectures",
            "model_type",
            "dtype",
            "torch_dtype",
            "_name_or_path",
        ):
            continue
        elif key in WIDTHS and number:
            small[key] = HIDDEN
        elif key in DEPTHS and number:
            small[key] = LAYERS
        elif key in NUM_HEADS and number:
            small[key] = HEADS
        elif key == "num_key_value_heads" and number:
            small[key] = HEADS if value == heads else 1 if value == 1 else 2
        elif key in ("layer_types", "mlp_layer_types") and isinstance(value, list):
            small[key] = ends_of(value)
        elif key in EXACT and (number or isinstance(value, float)):
            small[key] = EXACT[key]
        elif key.endswith("token_id"):
            small[key] = None if value is None else 1
        else:
            small[key] = value
    return small


def ends_of(values: list[Any]) -> list[Any]:
    """The first and then different kinds of layers, as many as the small model has."""
    kinds = list(dict.fromkeys(values))
    return (kinds + [values[-1]] * LAYERS)[:LAYERS]
