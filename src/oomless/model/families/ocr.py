"""Readers of documents: dots.ocr (Qwen2 inside), PaddleOCR-VL (ERNIE 4.5) and HunyuanOCR (Hunyuan), each with
a ViT of its own and a merger. Counts are the hub's."""

from ..config import MAX_LAYERS, Config
from ..model import Model, Vision
from ..scope import columns, rows
from ..storage import Format
from .nested import read_nested, text_of, unread_inside
from .qwen_vl import with_axes
from .vision import Tower, siglip

TEXT = {"dots_ocr": "qwen2", "paddleocr_vl": "ernie4_5", "hunyuan_vl": "hunyuan_v1_dense"}
"""The decoder that each has."""
MOST_PATCHES = {"dots_ocr": 57600, "paddleocr_vl": 14400, "hunyuan_vl": 16384}
"""max_pixels of the published processors in patches: 11,289,600 of 14 x 14, 2,822,400 of 14 x 14, and
max_vit_seq_len."""
IGNORED = {
    "dots_ocr": ("video_token_id",),
    "paddleocr_vl": (
        "compression_ratio",
        "rope_is_neox_style",
        "video_token_id",
        "vision_start_token_id",
        "vision_end_token_id",
        "weight_share_add_bias",
    ),
    "hunyuan_vl": (
        "eod_token_id",
        "im_start_id",
        "im_end_id",
        "im_newline_id",
        "text_start_id",
        "text_end_id",
    ),
}


def read(config: Config, name: str) -> Model:
    """The decoder (under text_config, or spelled out beside vision_config), the tower, and its merger."""
    family = config.word("model_type")
    for key in IGNORED[family]:
        config.has(key)
    vision = config.section("vision_config")
    text = text_of(config)
    model = read_nested(text, name, model_type=TEXT[family])
    towers = {"dots_ocr": read_dots, "paddleocr_vl": read_paddle, "hunyuan_vl": read_hunyuan}
    tower = towers[family](vision, model.dtype, model.hidden_size)
    patch, merge = vision.size("patch_size", 14), vision.size("spatial_merge_size", 2)
    config.check()
    patches = MOST_PATCHES[family]
    return model._replace(
        family=family,
        ropes=with_axes(model.ropes) if family == "paddleocr_vl" else model.ropes,
        tensors=(*model.tensors, *tower.tensors),
        vision=Vision(patches // merge**2, patches * 3 * patch**2),
        warnings=(*model.warnings, *unread_inside(text, config)),
    )


def read_dots(vision: Config, dtype: Format, hidden: int) -> Tower:
    """Gated blocks of RMS norms without biases, a norm behind the patches and one behind the blocks (vLLM
    0.33, dots_ocr.py)."""
    width, patch = vision.size("embed_dim", 1536), vision.size("patch_size", 14)
    num_layers = vision.size("num_hidden_layers", 42, most=MAX_LAYERS)
    for key in (
        "gradient_checkpointing",
        "hidden_size",
        "init_merger_std",
        "is_causal",
        "temporal_patch_size",
    ):
        vision.has(key)
    tower = Tower(width, dtype)
    tower.add("patch_embed.weight", (width, vision.size("num_channels", 3), patch, patch))
    tower.add("patch_embed.bias", (width,))
    tower.norm("patch_embed.norm", width, bias=False)
    tower.blocks(
        num_layers,
        vision.size("intermediate_size", 4224),
        vision.size("num_attention_heads", 12),
        bias=vision.flag("use_bias", False),
        gated=True,
        norm_bias=False,
    )
    if vision.flag("post_norm", True):
        tower.norm("post_trunk_norm", width, bias=False)
    tower.norm("merger.ln_q", width)
    add_merger(tower, vision, hidden)
    return tower


def read_paddle(vision: Config, dtype: Format, hidden: int) -> Tower:
    """SigLIP's blocks and table without a head, then a norm and two linear layers."""
    for key in ("spatial_merge_size", "temporal_patch_size", "tokens_per_second"):
        vision.has(key)
    outer = vision.values
    vision.values = {"image_size": 384, **outer, "vision_use_head": False}
    tower = siglip(vision, dtype)
    vision.values = outer
    tower.norm("merger.pre_norm", tower.width)
    add_merger(tower, vision, hidden)
    return tower


def add_merger(tower: Tower, vision: Config, hidden: int) -> None:
    """Two linear layers over the patches of a square."""
    merged = tower.width * vision.size("spatial_merge_size", 2) ** 2
    tower.linear("merger.fc1", merged, merged, columns(merged))
    tower.linear("merger.fc2", hidden, merged, rows(merged))


def read_hunyuan(vision: Config, dtype: Format, hidden: int) -> Tower:
    """Plain blocks and a table of a square of positions, then two convolutions, a linear layer and what marks
    lines and images (transformers 5.24, hunyuan_vl)."""
    width, patch = vision.size("hidden_size", 1152), vision.size("patch_size", 16)
    side, merge = vision.size("max_image_size", 2048) // patch, vision.size("spatial_merge_size", 2)
    for key in HUNYUAN_WITHOUT_EFFECT:
        vision.has(key)
    out = vision.size("text_hidden_size", hidden)
    tower = Tower(width, dtype)
    tower.add("patch_embed.weight", (width, vision.size("num_channels", 3), patch, patch))
    tower.add("patch_embed.bias", (width,))
    tower.add("position_embedding.weight", (side**2 + 1, width))
    tower.blocks(
        vision.size("num_hidden_layers", 27, most=MAX_LAYERS),
        vision.size("intermediate_size", 4304),
        vision.size("num_attention_heads", 16),
    )
    tower.add("merger.proj_conv.weight", (2 * width, width, merge, merge))
    tower.add("merger.proj_conv.bias", (2 * width,))
    tower.linear("merger.proj_out", 4 * width, 2 * width)
    tower.linear("merger.mlp", out, 4 * width)
    tower.add("merger.image_newline", (4 * width,))
    tower.add("merger.marks", (out,), repeat=3)
    tower.norm("merger.before_rms", width, bias=False)
    tower.norm("merger.after_rms", out, bias=False)
    return tower


HUNYUAN_WITHOUT_EFFECT = (
    "add_patchemb_bias",
    "anyres_pooling_size",
    "anyres_vit_max_image_size",
    "anyres_vit_two_views",
    "cat_extra_token",
    "img_max_token_num",
    "interpolate_mode",
    "max_vit_seq_len",
    "min_image_size",
    "num_key_value_heads",
    "out_hidden_size",
    "resize_resolution",
    "temporal_patch_size",
    "video_max_image_size",
    "video_min_image_size",
)
