"""The header of a GGUF file -> the Model that it describes, with the types that its tensors really have."""

from math import prod
from typing import Any

from ..errors import OomlessError, UnsupportedError
from .families import build
from .gguf import Array, GGUFFile, GGUFTensor
from .gguf_mixes import KvB
from .gguf_model import pieces, with_types
from .gguf_types import FILE_TYPES
from .model import Model, Tensor

HYPERPARAMETERS = {
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
}
HYPERPARAMETERS |= {"feed_forward_length": "intermediate_size", "attention.head_count": "num_attention_heads"}
HYPERPARAMETERS |= {"attention.head_count_kv": "num_key_value_heads", "rope.freq_base": "rope_theta"}
HYPERPARAMETERS |= {
    "expert_used_count": "num_experts_per_tok",
    "expert_feed_forward_length": "moe_intermediate_size",
}
HYPERPARAMETERS |= {
    "expert_shared_count": "n_shared_experts",
    "leading_dense_block_count": "first_k_dense_replace",
}
HYPERPARAMETERS |= {"attention.q_lora_rank": "q_lora_rank", "attention.kv_lora_rank": "kv_lora_rank"}
HYPERPARAMETERS |= {"expert_shared_feed_forward_length": "shared_expert_intermediate_size"}
EXPERT_COUNTS = {"llama": "num_local_experts", "qwen2moe": "num_experts", "qwen3moe": "num_experts"}
ARCHITECTURES = {
    "llama": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "qwen2moe": "qwen2_moe",
    "qwen3moe": "qwen3_moe",
}
ARCHITECTURES |= {"deepseek": "deepseek", "deepseek2": "deepseek_v2"}


def model_from_gguf(file: GGUFFile, name: str, where: str) -> Model:
    """The model of a file's hyperparameters, its weights as the file stores them, byte for byte.

    Tensors that the hyperparameters do not explain are kept, with a warning; ones that are missing are an
    error.
    """
    stored = {tensor.name: tensor for tensor in file.tensors}
    model = build(_config(file, stored, where), name, where)
    has = [f"blk.0.attn_{part}.weight" in stored for part in ("kv_b", "k_b")]
    kv_b: KvB = "both" if all(has) else "whole" if has[0] else "split"
    chosen, missing = [], []
    for piece in pieces(model, kv_b):
        tensor = stored.pop(piece.name, None)
        if tensor is None or (prod(tensor.shape), tensor.shape[-1:]) != (prod(piece.shape), piece.shape[-1:]):
            held = f"is {list(tensor.shape)}" if tensor else "is missing"
            missing.append(f"{piece.name} {list(piece.shape)} {held}")
        else:
            chosen.append((piece, tensor.type.name))
    if missing:
        more = f" and {len(missing) - 3:,} more" if len(missing) > 3 else ""
        raise OomlessError(
            f"{where}: {', '.join(missing[:3])}{more}", "the header does not fit its own hyperparameters"
        )
    model = with_types(
        model, chosen, f"gguf {FILE_TYPES.get(_whole(file, 'general.file_type', -1, where), '')}".strip()
    )
    extra = tuple(Tensor(each.name, each.shape, each.type.format(each.shape[-1])) for each in stored.values())
    model = model._replace(
        tensors=(*model.tensors, *extra), stored_bytes=sum(tensor.num_bytes for tensor in file.tensors)
    )
    if extra:
        note = (
            f"{where}: {len(extra):,} tensors are not explained by its hyperparameters, "
            f"the first is {extra[0].name!a}"
        )
        model = model._replace(warnings=(*model.warnings, note))
    return model


def _whole(file: GGUFFile, key: str, default: int, where: str) -> int:
    """A hyperparameter that is a whole number, or an array of equal ones (llama.cpp writes some by layer)."""
    value = file.metadata.get(key, default)
    if isinstance(value, Array) and value.values and len(set(value.values)) == 1:
        value = value.values[0]
    if isinstance(value, Array):
        raise UnsupportedError(f"{where}: {key} differs from layer to layer, which no family here does")
    if not isinstance(value, int):
        raise OomlessError(
            f"{where}: {key} is {ascii(value)[:40]}, not a whole number",
            "the header is wrong: check the file",
        )
    return value


def _config(file: GGUFFile, stored: dict[str, GGUFTensor], where: str) -> dict[str, Any]:
    """The config.json that the hyperparameters stand for."""
    architecture = file.metadata.get("general.architecture")
    if architecture not in ARCHITECTURES or "token_embd.weight" not in stored:
        what = (
            "has no token_embd.weight"
            if architecture in ARCHITECTURES
            else f"has the architecture {architecture!a}"
        )
        known = f"known are {', '.join(ARCHITECTURES)}"
        raise UnsupportedError(
            f"{where}: {what}; the header alone says {sum(t.num_bytes for t in stored.values()):,} bytes",
            known,
        )

    def whole(key: str, default: int = 0) -> int:
        return _whole(file, f"{architecture}.{key}", default, where)

    config: dict[str, Any] = {
        "model_type": ARCHITECTURES[architecture],
        "vocab_size": stored["token_embd.weight"].shape[0],
    }
    for theirs, ours in HYPERPARAMETERS.items():
        if (value := file.metadata.get(f"{architecture}.{theirs}")) is not None:
            config[ours] = whole(theirs) if isinstance(value, Array) else value
    config["tie_word_embeddings"] = "output.weight" not in stored
    config["attention_bias"] = "blk.0.attn_q.bias" in stored
    kind = stored["token_embd.weight"].type.name
    config["torch_dtype"] = {"F32": "float32", "BF16": "bfloat16"}.get(kind, "float16")
    scaling = file.metadata.get(f"{architecture}.rope.scaling.type", "none")
    if "rope_freqs.weight" in stored or scaling not in ("none", ""):
        config["rope_scaling"] = {"rope_type": "llama3" if "rope_freqs.weight" in stored else scaling}
        config["rope_scaling"]["factor"] = file.metadata.get(f"{architecture}.rope.scaling.factor", 1.0)
        if original := whole("rope.scaling.original_context_length"):
            config["rope_scaling"]["original_max_position_embeddings"] = original
    if experts := whole("expert_count"):
        config[EXPERT_COUNTS.get(architecture, "n_routed_experts")] = experts
        config["model_type"] = "mixtral" if architecture == "llama" else config["model_type"]
    if architecture == "deepseek2":
        rope = whole("rope.dimension_count")
        config["qk_rope_head_dim"] = rope
        config["qk_nope_head_dim"] = whole("attention.key_length_mla", whole("attention.key_length")) - rope
        config["v_head_dim"] = whole("attention.value_length_mla", whole("attention.value_length"))
        if any(name.endswith("exp_probs_b.bias") for name in stored):
            config |= {"model_type": "deepseek_v3", "topk_method": "noaux_tc"}
    elif length := whole("attention.key_length"):
        config["head_dim"] = length
    return config
