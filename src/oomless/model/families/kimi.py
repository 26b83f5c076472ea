"""Kimi with eyes: MoonViT around a DeepSeek-V3-shaped decoder (Kimi-VL, Kimi-K2.5)."""

from ..config import MAX_LAYERS, Config
from ..model import Model, Vision
from .nested import read_nested, unread_inside, with_outer
from .vision import Tower

MOST_PATCHES = 4096
"""in_token_limit of the image processor."""


def read(config: Config, name: str) -> Model:
    """The decoder under text_config, and the tower under either family's names."""
    text = with_outer(config, "text_config")
    model = read_nested(text, name)
    vision = config.section("vision_config")
    config.has("vocab_size")
    for key in (
        "ignore_index",
        "media_placeholder_token_id",
        "use_unified_vision_chunk",
        "video_placeholder",
    ):
        config.has(key)
    mark = "vt_" if config.word("model_type") == "kimi_k25" else ""
    width = vision.size(f"{mark}hidden_size")
    merge = vision.sizes("merge_kernel_size", least=1)
    if len(merge) != 2:
        vision.fault(f"merge_kernel_size has {len(merge)} entries, not 2")
        merge = (1, 1)
    patch = vision.size("patch_size")
    tower = Tower(width)
    tower.add("patch_embed.weight", (width, 3, patch, patch))
    tower.add("patch_embed.bias", (width,))
    tower.add(
        "pos_emb.weight", (vision.size("init_pos_emb_height"), vision.size("init_pos_emb_width"), width)
    )
    tower.blocks(
        vision.size(f"{mark}num_hidden_layers", most=MAX_LAYERS),
        vision.size(f"{mark}intermediate_size"),
        vision.size(f"{mark}num_attention_heads"),
        whole=True,  # MoonViT is made of plain linear layers in both engines
    )
    tower.norm("final_layernorm", width)
    config.check()
    merged = width * merge[0] * merge[1]
    tower.norm("projector.pre_norm", width)
    tower.linear("projector.linear_1", merged, merged)
    tower.linear("projector.linear_2", model.hidden_size, merged)
    return model._replace(
        family=config.word("model_type"),
        tensors=(*model.tensors, *tower.tensors),
        vision=Vision(MOST_PATCHES // (merge[0] * merge[1]), MOST_PATCHES * 3 * patch * patch),
        warnings=(*model.warnings, *unread_inside(text)),
    )
