"""GLM with eyes: GLM-4.1V, 4.5V and 4.6V. A GLM-4 or GLM-4.5 decoder, a tower of RMS norms without biases, a
gated merger."""

from ..config import MAX_LAYERS, Config
from ..model import Model
from ..scope import columns, rows
from ..storage import Format
from .qwen_vl import largest_image, with_eyes
from .rope_and_storage import unread_inside, with_outer
from .vision import Tower

TEXT = {"glm4v": "glm4", "glm46v": "glm4", "glm4v_moe": "glm4_moe"}
"""The decoder that each has."""
MOST_PIXELS = 28 * 28 * 12288
"""longest_edge of the published processors, in pixels."""


def read(config: Config, name: str) -> Model:
    """The decoder under text_config, whose queries, keys and values have biases always where it is dense, and
    the tower."""
    from . import read_nested

    family = config.word("model_type")
    for key in (
        "image_start_token_id",
        "image_end_token_id",
        "video_start_token_id",
        "video_end_token_id",
        "video_token_id",
    ):
        config.has(key)
    text = with_outer(config, "text_config")
    outer = text.values
    text.values = {**outer, "model_type": TEXT[family], "num_nextn_predict_layers": 0}
    if family != "glm4v_moe":
        text.values["attention_bias"] = True
    model = read_nested(text, name)
    text.values = outer
    vision = config.section("vision_config")
    tower = read_tower(vision, model.dtype)
    config.check()
    seeing = with_eyes(model, family, tower, largest_image(vision, MOST_PIXELS))
    return seeing._replace(warnings=(*model.warnings, *unread_inside(text)))


def read_tower(vision: Config, dtype: Format) -> Tower:
    """A position table, gated blocks as wide as the decoder, a convolution that brings patches together, and
    the merger."""
    width, out = vision.size("hidden_size"), vision.size("out_hidden_size")
    num_layers, patch = vision.size("depth", most=MAX_LAYERS), vision.size("patch_size")
    inner = vision.size("intermediate_size")
    tower = Tower(width, dtype)
    tower.add(
        "patch_embed.weight",
        (width, vision.size("in_channels", 3), vision.size("temporal_patch_size"), patch, patch),
    )
    tower.add("patch_embed.bias", (width,))
    tower.add("position_embedding.weight", ((vision.size("image_size") // patch) ** 2, width))
    tower.blocks(num_layers, out, vision.size("num_heads"), bias=False, gated=True, norm_bias=False)
    if vision.flag("attention_bias", False):
        tower.add("blocks.attn.qkv.bias", (3 * width,), columns(vision.size("num_heads")), num_layers)
    tower.norm("post_conv_layernorm", width, bias=False)
    add_merger(tower, vision, inner)
    return tower


def add_merger(tower: Tower, vision: Config, inner: int) -> None:
    """What follows the blocks: a norm, the convolution that brings patches together, and a gated block of
    width `inner`."""
    width, out, merge = (vision.size(key) for key in ("hidden_size", "out_hidden_size", "spatial_merge_size"))
    tower.norm("post_layernorm", width, bias=False)
    tower.add("downsample.weight", (out, width, merge, merge))
    tower.add("downsample.bias", (out,))
    tower.linear("merger.proj", out, out, bias=False)
    tower.norm("merger.norm", out)
    tower.linear("merger.gate_up", 2 * inner, out, columns(inner), bias=False)
    tower.linear("merger.down", out, inner, rows(inner), bias=False)
