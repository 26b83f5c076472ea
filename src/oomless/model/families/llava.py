"""LLaVA and LLaVA-NeXT: any plain decoder, a CLIP, SigLIP or Pixtral tower and two linear layers."""

from ..config import Config
from ..model import Model, Vision
from .nested import read_nested, unread_inside, with_outer
from .vision import clip, pixtral, siglip

TOWERS = {"clip_vision_model": clip, "siglip_vision_model": siglip, "pixtral": pixtral}
NEXT_TILES = 10
"""Tiles of the largest image of Granite Vision (its processor's grid pinpoints), with the view of the whole.
"""


def read(config: Config, name: str) -> Model:
    """The decoder under text_config and the tower under vision_config; NeXT adds the line break between rows
    of tiles."""
    family = config.word("model_type")
    text = with_outer(config, "text_config")
    model = read_nested(text, name)
    vision = config.section("vision_config")
    for key in (
        "projector_hidden_act",
        "vision_feature_select_strategy",
        "image_seq_length",
    ):
        config.has(key)
    config.has("use_image_newline_parameter")
    kind = vision.word("model_type")
    if kind not in TOWERS:
        config.fault(f"vision_config.model_type is {kind!r}, not {' or '.join(TOWERS)}")
    tower = TOWERS.get(kind, clip)(vision, model.dtype)
    layers = config.values.get("vision_feature_layer")
    config.used.add("vision_feature_layer")
    stacked = len(layers) if isinstance(layers, list) and layers else 1
    bias = config.flag("multimodal_projector_bias", True)
    tower.linear("projector.linear_1", model.hidden_size, tower.width * stacked, bias=bias)
    tower.linear("projector.linear_2", model.hidden_size, model.hidden_size, bias=bias)
    tiles = 1
    if family == "llava_next":
        tower.add("image_newline", (model.hidden_size,))
        tiles = NEXT_TILES
    image, patch = vision.size("image_size"), vision.size("patch_size")
    config.check()
    return model._replace(
        family=family,
        tensors=(*model.tensors, *tower.tensors),
        vision=Vision(tiles * (image // patch) ** 2, tiles * 3 * image * image),
        warnings=(*model.warnings, *unread_inside(text)),
    )
