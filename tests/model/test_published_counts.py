"""Parameters of published models that the catalogue does not have, to the unit: the hub's counts, where the
config is short enough to stand here."""

from typing import Any

import pytest

from oomless.model.families import build
from oomless.model.load import load

GLM_2024: dict[str, Any] = {
    "model_type": "chatglm",
    "add_bias_linear": False,
    "add_qkv_bias": True,
    "ffn_hidden_size": 13696,
    "hidden_size": 4096,
    "kv_channels": 128,
    "multi_query_attention": True,
    "multi_query_group_num": 2,
    "num_attention_heads": 32,
    "rmsnorm": True,
}
INTERN_VIT = {
    "hidden_size": 1024,
    "image_size": 448,
    "intermediate_size": 4096,
    "norm_type": "layer_norm",
    "num_attention_heads": 16,
    "num_hidden_layers": 24,
    "patch_size": 14,
    "qk_normalization": False,
    "qkv_bias": True,
}
QWEN_7B = {
    "model_type": "qwen2",
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "max_position_embeddings": 32768,
    "num_attention_heads": 28,
    "num_hidden_layers": 28,
    "num_key_value_heads": 4,
    "vocab_size": 151674,
}
GLM_45V = {
    "model_type": "glm4v_moe_text",
    "attention_bias": True,
    "first_k_dense_replace": 1,
    "head_dim": 128,
    "hidden_size": 4096,
    "intermediate_size": 10944,
    "max_position_embeddings": 65536,
    "moe_intermediate_size": 1408,
    "n_routed_experts": 128,
    "n_shared_experts": 1,
    "num_attention_heads": 96,
    "num_experts_per_tok": 8,
    "num_hidden_layers": 46,
    "num_key_value_heads": 8,
    "partial_rotary_factor": 0.5,
    "use_qk_norm": False,
    "vocab_size": 151552,
}
GLM_EYES = {
    "depth": 24,
    "hidden_size": 1536,
    "image_size": 336,
    "intermediate_size": 10944,
    "num_heads": 12,
    "out_hidden_size": 4096,
    "patch_size": 14,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
}
BLOOM = {"model_type": "bloom", "vocab_size": 250880}

PUBLISHED: dict[str, tuple[int, dict[str, Any]]] = {
    "bigscience/bloom": (
        176_247_271_424,
        {**BLOOM, "n_embed": 14336, "n_layer": 70, "num_attention_heads": 112},
    ),
    "bigscience/bloom-560m": (
        559_214_592,
        {**BLOOM, "n_embed": 1024, "n_layer": 24, "num_attention_heads": 16},
    ),
    "tiiuae/falcon-rw-1b": (
        1_311_625_216,
        {
            "model_type": "falcon",
            "alibi": True,
            "bias": True,
            "hidden_size": 2048,
            "multi_query": False,
            "num_attention_heads": 32,
            "num_hidden_layers": 24,
            "parallel_attn": False,
            "vocab_size": 50304,
        },
    ),
    "EleutherAI/gpt-j-6b": (
        6_050_882_784,
        {
            "model_type": "gptj",
            "n_embd": 4096,
            "n_head": 16,
            "n_layer": 28,
            "n_positions": 2048,
            "rotary_dim": 64,
            "tie_word_embeddings": False,
            "vocab_size": 50400,
        },
    ),
    "EleutherAI/gpt-neo-2.7B": (
        2_651_307_520,
        {
            "model_type": "gpt_neo",
            "attention_types": [[["global", "local"], 16]],
            "hidden_size": 2560,
            "max_position_embeddings": 2048,
            "num_heads": 20,
            "num_layers": 32,
            "vocab_size": 50257,
        },
    ),
    "bigcode/starcoder": (
        15_517_456_384,
        {
            "model_type": "gpt_bigcode",
            "multi_query": True,
            "n_embd": 6144,
            "n_head": 48,
            "n_inner": 24576,
            "n_layer": 40,
            "n_positions": 8192,
            "vocab_size": 49152,
        },
    ),
    "mosaicml/mpt-7b": (
        6_649_286_656,
        {
            "model_type": "mpt",
            "attn_config": {"alibi": True},
            "d_model": 4096,
            "expansion_ratio": 4,
            "max_seq_len": 2048,
            "n_heads": 32,
            "n_layers": 32,
            "no_bias": True,
            "vocab_size": 50432,
        },
    ),
    "facebook/opt-350m": (
        331_196_416,
        {
            "model_type": "opt",
            "do_layer_norm_before": False,
            "ffn_dim": 4096,
            "hidden_size": 1024,
            "max_position_embeddings": 2048,
            "num_attention_heads": 16,
            "num_hidden_layers": 24,
            "vocab_size": 50272,
            "word_embed_proj_dim": 512,
        },
    ),
    "stabilityai/stablelm-2-12b": (
        12_143_185_920,
        {
            "model_type": "stablelm",
            "hidden_size": 5120,
            "intermediate_size": 13824,
            "max_position_embeddings": 4096,
            "num_attention_heads": 32,
            "num_hidden_layers": 40,
            "num_key_value_heads": 8,
            "partial_rotary_factor": 0.25,
            "qk_layernorm": True,
            "use_parallel_residual": True,
            "vocab_size": 100352,
        },
    ),
    "zai-org/chatglm3-6b": (
        6_243_584_000,
        {**GLM_2024, "num_layers": 28, "padded_vocab_size": 65024, "seq_length": 8192},
    ),
    "zai-org/glm-4-9b-chat": (
        9_399_951_360,
        {**GLM_2024, "num_layers": 40, "padded_vocab_size": 151552, "seq_length": 131072},
    ),
    "zai-org/GLM-4.5V": (
        107_710_933_120,
        {
            "model_type": "glm4v_moe",
            "text_config": GLM_45V,
            "vision_config": GLM_EYES,
            "tie_word_embeddings": False,
        },
    ),
    "OpenGVLab/InternVL3-8B": (
        7_944_373_760,
        {
            "model_type": "internvl_chat",
            "llm_config": QWEN_7B,
            "vision_config": INTERN_VIT,
            "downsample_ratio": 0.5,
        },
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts_are_those_of_the_hub(name: str) -> None:
    published, config = PUBLISHED[name]
    model = build({"torch_dtype": "bfloat16", **config}, name, name)
    assert sum(tensor.num_parameters for tensor in model.tensors) == published
    assert not model.warnings


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("llama-3.1-nemotron-ultra-253b", 253.4),
        ("nemotron-h-47b", 46.8),
        ("mimo-v2.5-pro", 1020),
        ("mellum2-12b-a2.5b", 12.15),
    ],
)
def test_counts_of_cards_without_an_index(name: str, billions: float) -> None:
    """MLPs that follow each other are all counted: four of Nemotron-H-47B's 98 blocks."""
    assert load(name).num_parameters / 1e9 == pytest.approx(billions, rel=0.002)
