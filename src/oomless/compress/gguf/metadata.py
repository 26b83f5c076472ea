"""What a GGUF file says of its model, under llama.cpp's keys, as its own converter fills them in.

Source: conversion/base.py, llama.py, qwen.py and deepseek.py of ggml-org/llama.cpp (October 2026). Numbers of
general information (author, licence, base model) are left out: the card has them.
"""

from math import pi
from typing import Any

from ...errors import OomlessError, UnsupportedError, need
from .families import GgufFamily

EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")


def add_metadata(writer: Any, family: GgufFamily, config: dict[str, Any], name: str, file_type: int) -> None:
    """Add all keys but the vocabulary's to a writer of the gguf package; `config` is the language model's."""
    try:
        writer.add_type("model")
        writer.add_name(name)
        writer.add_quantization_version(need("gguf.constants", "compress").GGML_QUANT_VERSION)
        writer.add_file_type(file_type)
        add_sizes(writer, config)
        add_experts(writer, family, config)
        add_rope(writer, config)
        if family.architecture == "deepseek2":
            add_latent(writer, config)
        else:
            add_heads(writer, config)
    except KeyError as error:
        raise OomlessError(
            f"config.json has no {error.args[0]!s:.60}, which a GGUF file says", "fetch it again"
        ) from None


def add_sizes(writer: Any, config: dict[str, Any]) -> None:
    """Add what every model has: layers, widths, vocabulary, norms."""
    writer.add_vocab_size(config["vocab_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_rms_eps(config.get("rms_norm_eps", 1e-6))


def add_heads(writer: Any, config: dict[str, Any]) -> None:
    """Add the shape of grouped-query heads."""
    heads = config["num_attention_heads"]
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    length = config.get("head_dim")
    if length:
        writer.add_key_length(length)
        writer.add_value_length(length)
    writer.add_rope_dimension_count(length or config["hidden_size"] // heads)


def add_latent(writer: Any, config: dict[str, Any]) -> None:
    """Add the shape of DeepSeek's latent attention: one wide head for all, and what it opens into."""
    rank, rotary = config["kv_lora_rank"], config["qk_rope_head_dim"]
    writer.add_head_count_kv(1)
    if config.get("q_lora_rank"):
        writer.add_q_lora_rank(config["q_lora_rank"])
    writer.add_kv_lora_rank(rank)
    writer.add_key_length(rank + rotary)
    writer.add_value_length(rank)
    writer.add_key_length_mla(config["qk_nope_head_dim"] + rotary)
    writer.add_value_length_mla(config["v_head_dim"])
    writer.add_rope_dimension_count(rotary)
    mscale = rope_of(config).get("mscale_all_dim")
    if mscale:
        writer.add_rope_scaling_yarn_log_mul(0.1 * mscale)


def add_experts(writer: Any, family: GgufFamily, config: dict[str, Any]) -> None:
    """Add what there is of experts and of how they are chosen."""
    count = next((config[key] for key in EXPERTS if config.get(key)), 0)
    if not count:
        return
    normalized = bool(config.get("norm_topk_prob"))
    if family.normalizes not in (None, normalized):
        what = f"norm_topk_prob {normalized}: llama.cpp's {family.architecture} computes the other"
        raise UnsupportedError(what, "no GGUF file can say it")
    writer.add_expert_count(count)
    writer.add_expert_used_count(config["num_experts_per_tok"])
    if config.get("moe_intermediate_size"):
        writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
    if config.get("shared_expert_intermediate_size"):
        writer.add_expert_shared_feed_forward_length(config["shared_expert_intermediate_size"])
    if family.architecture != "deepseek2":
        return
    gating = need("gguf.constants", "compress").ExpertGatingFuncType
    usual = "sigmoid" if config["model_type"] == "deepseek_v3" else "softmax"
    writer.add_expert_gating_func(gating[str(config.get("scoring_func") or usual).upper()])
    writer.add_leading_dense_block_count(config.get("first_k_dense_replace") or 0)
    writer.add_expert_shared_count(config.get("n_shared_experts") or 0)
    writer.add_expert_weights_scale(float(config.get("routed_scaling_factor") or 1.0))
    writer.add_expert_weights_norm(bool(config.get("norm_topk_prob", usual == "sigmoid")))
    if config.get("n_group") and config.get("topk_group"):
        writer.add_expert_group_count(config["n_group"])
        writer.add_expert_group_used_count(config["topk_group"])


def add_rope(writer: Any, config: dict[str, Any]) -> None:
    """Add base and scaling of rotary frequencies; Llama 3's scaling is a tensor (rotary.py)."""
    rope, types = rope_of(config), need("gguf.constants", "compress").RopeScalingType
    writer.add_rope_freq_base(float(rope["rope_theta"]))
    match rope["rope_type"]:
        case "default" | "llama3":
            pass
        case "linear":
            writer.add_rope_scaling_type(types.LINEAR)
            writer.add_rope_scaling_factor(float(rope["factor"]))
        case "yarn":
            writer.add_rope_scaling_type(types.YARN)
            writer.add_rope_scaling_factor(float(rope["factor"]))
            writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
            if rope.get("beta_fast"):
                writer.add_rope_scaling_yarn_beta_fast(float(rope["beta_fast"]))
            if rope.get("beta_slow"):
                writer.add_rope_scaling_yarn_beta_slow(float(rope["beta_slow"]))
        case other:
            raise UnsupportedError(
                f"rotary scaling {other!s:.40} is not written as GGUF here",
                "llama.cpp's own converter may know it",
            )


def rope_of(config: dict[str, Any]) -> dict[str, Any]:
    """Return the rotary keys of a config, under the names of transformers 5 whichever release wrote them."""
    found = {**(config.get("rope_scaling") or {}), **(config.get("rope_parameters") or {})}
    if "rope_type" not in found and "type" in found:
        found["rope_type"] = found["type"]
    found.setdefault("rope_type", "default")
    found.setdefault("rope_theta", config.get("rope_theta") or 10000.0)
    return found


def llama3_factors(rope: dict[str, Any], dim: int) -> tuple[float, ...]:
    """Return by how much each frequency of a rotary head is divided: Llama 3 scales them, and no checkpoint
    stores the factors.

    Short waves stay, long ones are divided by `factor`, those between by a mixture:
    1 / ((1 - s) / factor + s), s = (positions / wave - low) / (high - low). Source: Llama 3.1's own
    `apply_scaling` (meta-llama/llama-models).

    >>> scaled = {"rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    >>> found = llama3_factors({**scaled, "original_max_position_embeddings": 8192}, 128)
    >>> found[0], round(found[32], 3), found[-1]
    (1.0, 2.695, 8.0)
    """
    factor, low, high = (float(rope[key]) for key in ("factor", "low_freq_factor", "high_freq_factor"))
    positions = rope["original_max_position_embeddings"]
    factors = []
    for place in range(0, dim, 2):
        wave = 2 * pi * rope["rope_theta"] ** (place / dim)
        if wave < positions / high:
            factors.append(1.0)
        elif wave > positions / low:
            factors.append(factor)
        else:
            smooth = (positions / wave - low) / (high - low)
            factors.append(1 / ((1 - smooth) / factor + smooth))
    return tuple(factors)
