"""Qwen with eyes: Qwen2-VL, 2.5-VL, 3-VL, and EXAONE 4.5, whose tower is 2.5-VL's. A decoder with positions
in three axes, and a tower that merges patches."""

from ..config import MAX_LAYERS, Config
from ..model import Model, Rope, Vision
from ..scope import columns, rows
from ..storage import Format
from .nested import read_nested, text_of, unread_inside
from .sparse_experts_mtp import with_draft
from .vision import Tower

TEXT = {
    "exaone4_5": "exaone4",
    "qwen2_vl": "qwen2",
    "qwen2_5_vl": "qwen2",
    "qwen3_vl": "qwen3",
    "qwen3_vl_moe": "qwen3_moe",
}
"""The decoder that each has."""
MOST_PIXELS = {"exaone4_5": 12845056, "qwen2_vl": 12845056, "qwen2_5_vl": 12845056}
"""max_pixels of the image processors; from Qwen3-VL on 2**24."""


def read(config: Config, name: str) -> Model:
    """The decoder (under text_config, or spelled out beside vision_config) and the tower."""
    family = config.word("model_type")
    vision = config.section("vision_config")
    text = text_of(config)
    for key in ("video_token_id", "vision_start_token_id", "vision_end_token_id", "vision_token_id"):
        config.has(key)
        text.has(key)
    model = read_nested(text, name, model_type=TEXT[family])
    if family == "exaone4_5":
        text.values = {**text.values, "model_type": TEXT[family]}
        model = with_draft(model, text, text.size("intermediate_size"))
    tower = (
        read_old_tower(vision, family, model) if family in MOST_PIXELS else read_tower(vision, model.dtype)
    )
    config.check()
    seeing = with_eyes(model, family, tower, largest_image(vision, MOST_PIXELS.get(family, 1 << 24)))
    return seeing._replace(warnings=(*model.warnings, *unread_inside(text, config)))


def with_eyes(model: Model, family: str, tower: Tower, vision: Vision) -> Model:
    """A decoder behind a tower: its positions have three axes."""
    return model._replace(
        family=family, ropes=with_axes(model.ropes), tensors=(*model.tensors, *tower.tensors), vision=vision
    )


def with_axes(ropes: tuple[Rope, ...]) -> tuple[Rope, ...]:
    """Tables for positions in time, height and width, which some copies of the configs leave unsaid."""
    return tuple(rope._replace(scaling="mrope") if rope.scaling == "default" else rope for rope in ropes)


def largest_image(vision: Config, pixels: int) -> Vision:
    """The largest image that the processor lets through: merge x merge patches a token, each pixel in two
    frames.

    >>> largest_image(
    ...     Config({"patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2}, "example"), 12845056
    ... )
    Vision(item_tokens=16384, item_values=77070336, sees_both_ways=False)
    """
    side = vision.size("patch_size") * vision.size("spatial_merge_size")
    return Vision(max(pixels // side**2, 1), pixels * 3 * vision.size("temporal_patch_size"))


def read_old_tower(vision: Config, family: str, model: Model) -> Tower:
    """Qwen2-VL's and 2.5-VL's ViT: no position table; RMS norms and a gated MLP from 2.5 on; one merger at
    the end."""
    gated = family != "qwen2_vl"
    width = vision.size("hidden_size" if gated else "embed_dim")
    vision.size("out_hidden_size" if gated else "hidden_size")
    inner = vision.size("intermediate_size") if gated else int(width * vision.number("mlp_ratio", 4.0))
    channels = vision.size("in_chans", vision.size("in_channels", 3))
    patch = vision.size("patch_size")
    merged = width * vision.size("spatial_merge_size") ** 2
    for key in ("fullatt_block_indexes", "window_size", "tokens_per_second", "spatial_patch_size"):
        vision.has(key)
    tower = Tower(width, model.dtype)
    tower.add("patch_embed.weight", (width, channels, vision.size("temporal_patch_size"), patch, patch))
    num_layers, heads = vision.size("depth", most=MAX_LAYERS), vision.size("num_heads")
    keys = width // heads * vision.size("num_key_value_heads", 8) if family == "exaone4_5" else 0
    tower.blocks(num_layers, inner, heads, gated=gated, norm_bias=not gated, keys=keys)
    tower.norm("merger.ln_q", width, bias=not gated)
    tower.linear("merger.fc1", merged, merged, columns(merged))
    tower.linear("merger.fc2", model.hidden_size, merged, rows(merged))
    return tower


def read_tower(vision: Config, dtype: Format) -> Tower:
    """Qwen3-VL's ViT, which Qwen3.5 keeps: a position table, a merger at the end and one at each deepstack
    layer."""
    width, inner = vision.size("hidden_size"), vision.size("intermediate_size")
    num_layers = vision.size("depth", most=MAX_LAYERS)
    patch, out = vision.size("patch_size"), vision.size("out_hidden_size")
    merged = width * vision.size("spatial_merge_size") ** 2
    deep = len(vision.sizes("deepstack_visual_indexes"))
    tower = Tower(width, dtype)
    tower.add(
        "patch_embed.weight",
        (width, vision.size("in_channels", 3), vision.size("temporal_patch_size"), patch, patch),
    )
    tower.add("patch_embed.bias", (width,))
    tower.add("pos_embed.weight", (vision.size("num_position_embeddings"), width))
    tower.blocks(num_layers, inner, vision.size("num_heads"))
    tower.norm("merger.norm", width)
    tower.norm("deepstack_merger.norm", merged, repeat=deep)
    tower.linear("merger.fc1", merged, merged, columns(merged), repeat=1 + deep)
    tower.linear("merger.fc2", out, merged, rows(merged), repeat=1 + deep)
    return tower
