"""GLM with eyes: GLM-4.1V, 4.5V, 4.6V and GLM-OCR. A GLM-4 or GLM-4.5 decoder, a tower of RMS norms without
biases, a gated merger."""

from ..config import MAX_LAYERS, Config
from ..model import Model
from ..scope import columns, rows
from ..storage import Format
from .deepseek import mtp_tensors
from .dense import AROUND
from .nested import read_nested, unread_inside, with_outer
from .qwen_vl import largest_image, with_eyes
from .rope_and_storage import read_storage
from .vision import Tower

TEXT = {"glm4v": "glm4", "glm46v": "glm4", "glm4v_moe": "glm4_moe", "glm_ocr": "glm4"}
"""The decoder that each has."""
MOST_PIXELS = 28 * 28 * 12288
"""longest_edge of the published processors, in pixels."""


def read(config: Config, name: str) -> Model:
    """The decoder under text_config, whose queries, keys and values have biases always where it is dense, and
    the tower."""
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
    said = {"attention_bias": True} if family in ("glm4v", "glm46v") else {}
    model = read_nested(text, name, model_type=TEXT[family], num_nextn_predict_layers=0, **said)
    vision = config.section("vision_config")
    tower = (read_ocr_tower if family == "glm_ocr" else read_tower)(vision, model.dtype)
    config.check()
    seeing = with_eyes(model, family, tower, largest_image(vision, MOST_PIXELS))
    if family == "glm_ocr":
        seeing = with_draft(seeing, text)
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


def with_draft(model: Model, text: Config) -> Model:
    """GLM-OCR's MTP layers: a block as the others, and copies of embedding and head (vLLM 0.33,
    glm_ocr_mtp.py)."""
    num = text.size("num_nextn_predict_layers", 0, least=0, most=MAX_LAYERS)
    draft, stored = (model.layers[-1],) * num, read_storage(text)[0]
    mtp = mtp_tensors(draft, len(model.layers), model.hidden_size, model.vocab_size, stored, AROUND)
    return model._replace(draft=draft, tensors=(*model.tensors, *mtp))


def read_ocr_tower(vision: Config, dtype: Format) -> Tower:
    """GLM-OCR's: no table of positions, biases on attention and feed-forward, norms of queries and keys, a
    merger as wide as three of its outputs (transformers 5.24, glm_ocr).
    """
    width, heads, patch = vision.size("hidden_size"), vision.size("num_heads"), vision.size("patch_size")
    num_layers, channels = vision.size("depth", most=MAX_LAYERS), vision.size("in_channels", 3)
    tower = Tower(width, dtype)
    tower.add("patch_embed.weight", (width, channels, vision.size("temporal_patch_size"), patch, patch))
    tower.add("patch_embed.bias", (width,))
    bias = vision.flag("attention_bias", True)
    tower.blocks(num_layers, vision.size("intermediate_size"), heads, bias=bias, gated=True, norm_bias=False)
    tower.norm("blocks.qk_norms", width // heads or 1, bias=False, repeat=2 * num_layers)
    vision.has("image_size")
    add_merger(tower, vision, channels * vision.size("out_hidden_size"))
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
