"""Gemma 1 to 3: heads of a width of their own, tied embeddings; norms around each part and windows from 2 on;
a vision tower in 3."""

from ..attention import GQA, Attention
from ..config import MAX_LAYERS, Config
from ..feedforward import Dense
from ..layer_weights import BlockNorms
from ..model import Layer, Model, Rope, Vision
from .decoder import decoder
from .layer_types import read_layer_types, windowed
from .nested import unread_inside, with_outer
from .rope_and_storage import read_rope
from .vision import siglip

SANDWICH = BlockNorms(("input", "post_attention", "pre_feedforward", "post_feedforward"))


def read(config: Config, name: str) -> Model:
    """Gemma's text models, and Gemma 3 with its tower around one."""
    if config.word("model_type") == "gemma3":
        return read_multimodal(config, name)
    family = config.word("model_type")
    num_layers = config.size("num_hidden_layers", most=MAX_LAYERS)
    max_positions = config.size("max_position_embeddings")
    gqa = GQA(
        config.size("num_attention_heads"),
        config.size("num_key_value_heads"),
        config.size("head_dim"),
        qk_norm=family == "gemma3_text",
    )
    bias = config.flag("attention_bias", False)
    gqa = gqa._replace(qkv_bias=bias, output_bias=bias)
    dense = Dense(config.size("intermediate_size"))
    attentions: list[Attention] = [gqa] * num_layers
    if family != "gemma":
        period = config.size("sliding_window_pattern", 2 if family == "gemma2" else 6)
        window = config.size("sliding_window")
        attentions = windowed(read_kinds(config, num_layers, period), gqa, window)
    layers = tuple(Layer(each, dense) for each in attentions)
    norms = BlockNorms() if family == "gemma" else SANDWICH
    return decoder(
        config, name, layers, norms=norms, ropes=read_ropes(config, gqa.head_dim, max_positions), tied=True
    )


def read_kinds(config: Config, num_layers: int, period: int) -> list[str]:
    """Which layers slide: layer_types says so, older configs by a period whose last layer sees everything."""
    if not config.has("layer_types"):
        return [
            "full_attention" if (layer + 1) % period == 0 else "sliding_attention"
            for layer in range(num_layers)
        ]
    return read_layer_types(config, num_layers)


def read_ropes(config: Config, head_dim: int, max_positions: int) -> tuple[Rope, ...]:
    """One table, from Gemma 3 on two: the windows' plain one and the scaled one of full layers."""
    full = read_rope(
        config,
        head_dim,
        max_positions,
        "full_attention",
        1e6 if config.word("model_type") == "gemma3_text" else 1e4,
    )
    if config.word("model_type") != "gemma3_text":
        return (full,)
    local = config.number("rope_local_base_freq", 10000.0)
    return full._replace(reaches_scaled=True), Rope(head_dim, local, max_positions)


def read_multimodal(config: Config, name: str) -> Model:
    """Gemma 3 from 4B on: SigLIP-SO400M over 896 pixels, pooled to 256 tokens, one projection into the
    language model."""
    inner = with_outer(config, "text_config")
    inner.values = {**GEMMA3_DEFAULTS, "model_type": "gemma3_text", **inner.values}
    vision = config.section("vision_config")
    tokens = config.size("mm_tokens_per_image", 256)
    model = read(inner, name)
    tower = siglip(vision, dtype=model.dtype)
    tower.add("projector.mm_input_projection_weight", (tower.width, model.hidden_size))
    tower.add("projector.mm_soft_emb_norm.weight", (tower.width,))
    config.check()
    return model._replace(
        family="gemma3",
        tensors=(*model.tensors, *tower.tensors),
        vision=Vision(tokens, 3 * vision.size("image_size") ** 2),
        warnings=(*model.warnings, *unread_inside(inner)),
    )


GEMMA3_DEFAULTS = {
    "vocab_size": 262208,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "max_position_embeddings": 131072,
    "sliding_window": 4096,
}
"""Of transformers' Gemma3TextConfig; the 4B's config leaves out what equals them."""
