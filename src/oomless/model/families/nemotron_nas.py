"""Nemotron by architecture search (Llama-3.3-Nemotron-Super): a llama whose blocks differ, some without
attention, some without MLP."""

from typing import Any

from ..attention import GQA, Attention
from ..config import MAX_LAYERS, Config
from ..feedforward import Dense
from ..layer_weights import BlockNorms
from ..model import WHOLE, Layer, Model
from .decoder import decoder
from .rope_and_storage import read_rope

FFN_MULTIPLE = 256


def read(config: Config, name: str) -> Model:
    """block_configs says of each layer how many queries share a key-value head, and how wide its MLP is."""
    num_layers = config.size("num_hidden_layers", most=MAX_LAYERS)
    hidden, heads = config.size("hidden_size"), config.size("num_attention_heads")
    head_dim, bias = hidden // heads or 1, config.flag("attention_bias", False)
    for key in ("intermediate_size", "num_key_value_heads"):  # null: each block has its own
        config.used.add(key)
    blocks = config.values.get("block_configs") if config.has("block_configs") else None
    if not isinstance(blocks, list) or len(blocks) != num_layers:
        config.fault(f"block_configs is no list of {num_layers} blocks")
        blocks = []
    layers = []
    for index, block in enumerate(blocks):
        attention, ffn = (
            block.get(part) if isinstance(block, dict) else None for part in ("attention", "ffn")
        )
        if not isinstance(attention, dict) or not isinstance(ffn, dict):
            config.fault(f"block {index} has no attention and ffn")
            continue
        layers.append(
            Layer(
                read_attention(
                    config, attention, index, GQA(heads, 0, head_dim, qkv_bias=bias, output_bias=bias)
                ),
                read_ffn(config, ffn, index, hidden),
            )
        )
    config.check()
    rope = read_rope(config, head_dim, config.size("max_position_embeddings"))
    model = decoder(config, name, tuple(layers), norms=BlockNorms(()), ropes=(rope,))
    norms = []
    for what, has in (
        (
            "input_layernorm",
            [bool(layer.attention.num_heads) for layer in layers if isinstance(layer.attention, GQA)],
        ),
        (
            "post_attention_layernorm",
            [bool(layer.ffn.intermediate_size) for layer in layers if isinstance(layer.ffn, Dense)],
        ),
    ):
        norm = model.tensors[0]._replace(
            name=f"model.layers.{{}}.{what}.weight", shape=(hidden,), cut=WHOLE, lookup=False
        )
        norms.append(norm._replace(layers=tuple(index for index, holds in enumerate(has) if holds)))
    return model._replace(tensors=(*model.tensors, *norms))


def read_attention(config: Config, block: dict[str, Any], index: int, full: GQA) -> Attention:
    """Grouped queries, or none at all: then nothing is stored and nothing cached."""
    if block.get("no_op"):
        return full._replace(num_heads=0, borrows_cache=True)
    group = block.get("n_heads_in_group")
    others = [
        key
        for key in ("replace_with_linear", "sparsify", "window_length", "num_sink_tokens")
        if block.get(key)
    ]
    if others or not isinstance(group, int) or group < 1 or full.num_heads % group:
        what = (
            f"{others[0]}, which is not known"
            if others
            else f"n_heads_in_group {str(group)[:40]} of {full.num_heads} heads"
        )
        config.fault(f"block {index}: attention has {what}")
        return full._replace(num_kv_heads=1)
    return full._replace(num_kv_heads=full.num_heads // group)


def read_ffn(config: Config, block: dict[str, Any], index: int, hidden: int) -> Dense:
    """SwiGLU of 2/3 x ffn_mult x hidden, rounded up to 256.

    >>> read_ffn(Config({}, "config.json"), {"ffn_mult": 5.25}, 0, 8192).intermediate_size
    28672
    """
    if block.get("no_op"):
        return Dense(0)
    multiple = block.get("ffn_mult")
    others = [key for key in ("replace_with_linear", "sparsify") if block.get(key)]
    if others or not isinstance(multiple, int | float) or not 0 < multiple < 1000:
        what = f"{others[0]}, which is not known" if others else f"ffn_mult {str(multiple)[:40]}"
        config.fault(f"block {index}: ffn has {what}")
        return Dense(FFN_MULTIPLE)
    return Dense(-(-int(2 * multiple * hidden / 3) // FFN_MULTIPLE) * FFN_MULTIPLE)
