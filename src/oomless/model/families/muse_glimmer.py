"""Muse Glimmer: a decoder of windows and of full layers without rotation, each with a gate beside its queries
and four norms; a ViT in windows, two products and a projection (transformers, models/muse_glimmer)."""

from ..attention import GQA
from ..config import MAX_LAYERS, Config
from ..feedforward import Dense
from ..model import Layer, Model, Vision
from .decoder import decoder
from .gemma import SANDWICH
from .layer_types import read_layer_types, windowed
from .nested import unread_inside, with_outer
from .rope_and_storage import read_rope
from .vision import Tower

ITEM_TOKENS = 4096
"""max_image_tokens of transformers' image processor."""


def read(config: Config, name: str) -> Model:
    """The decoder alone where a config has no text_config."""
    if not config.has("text_config"):
        return read_text(config, name)
    inner = with_outer(config, "text_config")
    vision = config.section("vision_config")
    model = read_text(inner, name)
    for key in ("video_token_id", "projector_hidden_act"):
        config.has(key)
    widths = config.size("out_hidden_size", 6144), config.size("projector_hidden_size", 4096)
    tower = read_tower(vision, *widths, model.hidden_size)
    patch, merged = vision.size("patch_size", 14), vision.size("merge_size", 2)
    values = 3 * patch * patch * vision.size("patch_temporal", 2)
    config.check()
    return model._replace(
        family="muse_glimmer",
        tensors=(*model.tensors, *tower.tensors),
        vision=Vision(ITEM_TOKENS, ITEM_TOKENS * merged * merged * values),
        warnings=(*model.warnings, *unread_inside(inner)),
    )


def read_text(config: Config, name: str) -> Model:
    """Norms of embeddings, queries and keys have no weights."""
    for key in ("post_norm_eps", "qk_scale_factor", "output_multiplier", "layer_rope_theta"):
        config.has(key)
    num_layers = config.size("num_hidden_layers", most=MAX_LAYERS)
    gqa = GQA(
        config.size("num_attention_heads"),
        config.size("num_key_value_heads"),
        config.size("head_dim"),
        wide_gate=True,
    )
    bias = config.flag("attention_bias", False)
    gqa = gqa._replace(qkv_bias=bias, output_bias=bias)
    kinds = read_layer_types(config, num_layers)
    dense = Dense(config.size("intermediate_size"))
    layers = tuple(Layer(each, dense) for each in windowed(kinds, gqa, config.size("sliding_window")))
    rope = read_rope(config, gqa.head_dim, config.size("max_position_embeddings"))
    return decoder(config, name, layers, norms=SANDWICH, ropes=(rope,))


def read_tower(vision: Config, merged: int, projected: int, hidden: int) -> Tower:
    """Biases and LayerNorms throughout, patches of two frames without a bias.

    >>> tower = read_tower(Config({}, "example"), 6144, 4096, 6656)
    >>> sum(tensor.num_parameters for tensor in tower.tensors)  # Muse-Glimmer-30B
    1921845760
    """
    width = vision.size("hidden_size", 1536)
    patch, frames = vision.size("patch_size", 14), vision.size("patch_temporal", 2)
    tower = Tower(width)
    tower.add("patch_embedding.weight", (width, 3 * patch * patch * frames))
    positions = vision.size("pos_emb_height", 32) * vision.size("pos_emb_width", 32)
    tower.add("position_embedding.weight", (positions, width))
    tower.norm("pre_layernorm", width)
    num_layers = vision.size("num_hidden_layers", 50, most=MAX_LAYERS)
    inner, heads = vision.size("intermediate_size", 8960), vision.size("num_attention_heads", 16)
    tower.blocks(num_layers, inner, heads)
    tower.norm("post_layernorm", width)
    tower.linear("vision_adapter.fc1", projected, merged, bias=False)
    tower.linear("vision_adapter.fc2", projected, projected, bias=False)
    tower.linear("vision_projection", hidden, projected, bias=False)
    return tower
