"""Mistral 3 with eyes: a Mistral or Ministral decoder, Pixtral's tower, a projector that merges four patches
into a token."""

from ..config import Config
from ..model import Model, Vision
from .nested import read_nested, unread_inside, with_outer
from .vision import pixtral


def read(config: Config, name: str) -> Model:
    """The decoder under text_config, and the tower."""
    text = with_outer(config, "text_config")
    model = read_nested(text, name)
    vision = config.section("vision_config")
    merge = config.size("spatial_merge_size", 2)
    for key in ("projector_hidden_act", "vision_feature_layer"):
        config.has(key)
    patch, image = vision.size("patch_size"), vision.size("image_size")
    tower = pixtral(vision)
    width, hidden = tower.width, model.hidden_size
    bias = config.flag("multimodal_projector_bias", False)
    tower.norm("projector.norm", width, bias=False)
    tower.linear("projector.patch_merger", width, width * merge * merge, bias=False)
    tower.linear("projector.linear_1", hidden, width, bias=bias)
    tower.linear("projector.linear_2", hidden, hidden, bias=bias)
    config.check()
    side = image // (patch * merge)
    return model._replace(
        family="mistral3",
        tensors=(*model.tensors, *tower.tensors),
        vision=Vision(side * side, 3 * image * image),
        warnings=(*model.warnings, *unread_inside(text)),
    )
