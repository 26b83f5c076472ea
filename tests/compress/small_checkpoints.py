"""Checkpoints of small models, a folder a family: made by transformers' own classes with random weights,
named as their publishers name them."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file

BASE: dict[str, Any] = {
    "vocab_size": 512,
    "hidden_size": 256,
    "intermediate_size": 384,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-6,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
LATENT: dict[str, Any] = {
    "kv_lora_rank": 128,
    "q_lora_rank": 128,
    "qk_nope_head_dim": 64,
    "qk_rope_head_dim": 32,
    "v_head_dim": 64,
    "num_key_value_heads": 4,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 128,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
    "n_group": 2,
    "topk_group": 1,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen3": {"tie_word_embeddings": True, "head_dim": 64},
    "gemma3_text": {
        "head_dim": 64,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    },
    "qwen3_moe": {
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 128,
        "head_dim": 64,
        "norm_topk_prob": True,
    },
    "deepseek_v2": {**LATENT, "topk_method": "greedy", "n_group": 1},
    "deepseek_v3": LATENT,
    "bert": {"num_key_value_heads": None, "rms_norm_eps": None},
}
"""Grouped-query, tied, sliding windows, experts, MLA with experts, V3's shape (in FP8 below), an encoder."""
MAX_SHARD = "1MB"


def small_config(family: str) -> Any:
    """The config of a family's small model."""
    values = {key: value for key, value in {**BASE, **FAMILIES[family]}.items() if value is not None}
    return transformers.AutoConfig.for_model(family, **values)


def write_family(family: str, folder: Path, dtype: torch.dtype = torch.bfloat16, seed: int = 0) -> Path:
    """A folder with a family's small model in several shards."""
    torch.manual_seed(seed)
    auto = transformers.AutoModel if family == "bert" else transformers.AutoModelForCausalLM
    build: Any = auto.from_config  # transformers leaves it without types
    model = build(small_config(family)).to(dtype)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                spread = (
                    1 + (torch.arange(parameter.shape[-1]) % 7 == 0) * 2.0
                )  # columns that stand out, as real ones do
                parameter.mul_(spread.to(dtype))
            elif "norm" in name.lower():
                parameter.add_(torch.randn(parameter.shape).to(dtype) * 0.01)
    model.save_pretrained(folder, max_shard_size=MAX_SHARD)
    write_tokenizer(folder)
    return folder


def write_tokenizer(folder: Path) -> None:
    """A tokenizer of bytes, a token each, and of one word."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*alphabet, "th", "the"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[("t", "h"), ("th", "e")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))


def write_fp8(source: Path, folder: Path) -> Path:
    """The same model as DeepSeek stores it: E4M3 and a float32 scale for each 128x128, by torch alone."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.glob("*.safetensors")):
        tensors: dict[str, torch.Tensor] = {}
        for name, tensor in load_file(path).items():
            if tensor.dim() == 2 and "_proj" in name:
                tensors[name], tensors[f"{name}_scale_inv"] = fp8_blocks(tensor)
            else:
                tensors[name] = tensor
        save_file(tensors, folder / path.name, metadata={"format": "pt"})
    config = json.loads((source / "config.json").read_text())
    config["quantization_config"] = {
        "quant_method": "fp8",
        "fmt": "e4m3",
        "activation_scheme": "dynamic",
        "weight_block_size": [128, 128],
    }
    (folder / "config.json").write_text(json.dumps(config))
    write_index(folder)
    write_tokenizer(folder)
    return folder


def write_index(folder: Path) -> None:
    """An index of what lies in a folder."""
    from safetensors import safe_open

    weight_map: dict[str, str] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            weight_map |= dict.fromkeys(file.keys(), path.name)
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": weight_map})
    )


def fp8_blocks(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """E4M3 codes of a matrix and the scales of its blocks, as DeepSeek's own kernel makes them; with edges of
    any size."""
    rows, columns = (-(-size // 128) for size in weight.shape)
    padded = torch.zeros(rows * 128, columns * 128)
    padded[: weight.shape[0], : weight.shape[1]] = weight.float()
    blocks = padded.view(rows, 128, columns, 128)
    scales = blocks.abs().amax((1, 3)).clamp(min=1e-12) / 448.0
    codes = (blocks / scales[:, None, :, None]).to(torch.float8_e4m3fn).view(rows * 128, columns * 128)
    return codes[: weight.shape[0], : weight.shape[1]].contiguous(), scales


def own_cast(codes: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """What DeepSeek's own cast makes of a weight: code in float32 times the scale of its block, rounded to
    bfloat16."""
    spread = scales.repeat_interleave(128, 0).repeat_interleave(128, 1)[: codes.shape[0], : codes.shape[1]]
    return (codes.to(torch.float32) * spread).to(torch.bfloat16)


@cache
def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a folder."""
    found: dict[str, torch.Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        found |= load_file(path)
    return found
