"""Plain decoders behind SigLIP and a connector of their own: Idefics3 and SmolVLM, Aya Vision, Command A
Vision, LLaVA-OneVision, LFM2-VL, PaliGemma. Counts are the hub's and those of transformers' classes, to the
unit."""

from typing import Any, NamedTuple

from ..config import Config
from ..model import Model, Vision
from .nested import read_nested, unread_inside, with_outer
from .vision import Tower, siglip


class Eyes(NamedTuple):
    """What a family's class does that its config does not say."""

    text: dict[str, Any]
    """Of the decoder's class that text_config leaves out, its type first."""
    tiles: int
    """Tiles of the largest image that its processor makes, with the view of the whole."""
    ignores: tuple[str, ...]
    """Keys without effect on memory."""
    vision: dict[str, Any]
    """Of the class that vision_config leaves out."""


FAMILIES = {
    "idefics3": Eyes(
        {"model_type": "llama"},
        17,
        (),
        {"intermediate_size": 3072, "num_hidden_layers": 12, "patch_size": 32, "image_size": 224},
    ),
    "aya_vision": Eyes(
        {"model_type": "cohere2"},
        13,
        ("adapter_layer_norm_eps", "vision_feature_layer", "vision_feature_select_strategy"),
        {"image_size": 384, "num_hidden_layers": 26},
    ),
    "cohere2_vision": Eyes(
        {"model_type": "cohere2"},
        13,
        (),
        {"intermediate_size": 3072, "image_size": 512, "vision_use_head": True},
    ),
    "llava_onevision": Eyes(
        {"model_type": "qwen2"},
        10,
        (
            "projector_hidden_act",
            "use_image_newline_parameter",
            "video_token_index",
            "vision_aspect_ratio",
            "vision_feature_layer",
            "vision_feature_select_strategy",
        ),
        {"image_size": 384, "num_hidden_layers": 26},
    ),
    "lfm2_vl": Eyes(
        {"model_type": "lfm2"},
        11,
        (
            "do_image_splitting",
            "encoder_patch_size",
            "max_image_tokens",
            "max_num_patches",
            "max_pixels_tolerance",
            "max_tiles",
            "min_image_tokens",
            "min_tiles",
            "projector_hidden_act",
            "tile_size",
            "use_image_special_tokens",
            "use_thumbnail",
            "vision_feature_layer",
        ),
        {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "patch_size": 16},
    ),
    "paligemma": Eyes(
        {"model_type": "gemma", "head_dim": 256, "max_position_embeddings": 8192},
        1,
        ("hidden_size", "projection_dim", "vocab_size"),
        {},
    ),
}
FAMILIES["smolvlm"] = FAMILIES["idefics3"]


def read(config: Config, name: str) -> Model:
    """The decoder under text_config, the tower, and the connector."""
    family = config.word("model_type")
    row = FAMILIES[family]
    for key in row.ignores:
        config.has(key)
    text = with_outer(config, "text_config")
    text.values = {**row.text, **text.values}
    model = read_nested(text, name)
    vision = config.section("vision_config")
    outer = vision.values
    vision.values = {"vision_use_head": False, **row.vision, **outer}
    patches = read_patches(vision, family)
    tower = siglip(vision, model.dtype)
    merge = connect(tower, config, family, model.hidden_size)
    config.check()
    image = patches * 3 * vision.size("patch_size", 14) ** 2
    vision.values = outer
    return model._replace(
        family=family,
        tensors=(*model.tensors, *tower.tensors),
        vision=Vision(row.tiles * max(patches // merge**2, 1), row.tiles * image),
        warnings=(*model.warnings, *unread_inside(text)),
    )


def read_patches(vision: Config, family: str) -> int:
    """Patches of a tile; SigLIP 2, which takes any ratio, has as many positions as its class says."""
    patch = vision.size("patch_size", 14)
    if family == "lfm2_vl":
        patches = vision.size("num_patches", 256)
        vision.values["image_size"] = round(patches**0.5) * patch
        vision.has("max_num_patches")
    return (vision.size("image_size") // patch) ** 2


def connect(tower: Tower, config: Config, family: str, hidden: int) -> int:
    """Add the connector; return how many patches a side become one token."""
    match family:
        case "idefics3" | "smolvlm":
            merge = config.size("scale_factor", 2)
            tower.linear("projector", hidden, tower.width * merge**2, bias=False)
        case "aya_vision" | "cohere2_vision":
            merge = config.size("downsample_factor", 2)
            merged = tower.width * merge**2
            if family == "aya_vision":
                tower.norm("projector.layernorm", merged)
            inner = config.size("alignment_intermediate_size", hidden if family == "aya_vision" else 36864)
            tower.linear("projector.linear_1", inner, merged)
            tower.linear("projector.linear_2", hidden, inner // 2)
        case "paligemma":
            merge = 1
            tower.linear("projector.linear", hidden, tower.width)
        case "lfm2_vl":
            merge = config.size("downsample_factor", 2)
            merged, inner = tower.width * merge**2, config.size("projector_hidden_size", 2560)
            bias = config.flag("projector_bias", True)
            if config.flag("projector_use_layernorm", True):
                tower.norm("projector.layer_norm", merged)
            tower.linear("projector.linear_1", inner, merged, bias=bias)
            tower.linear("projector.linear_2", hidden, inner, bias=bias)
        case _:
            merge = 1
            bias = config.flag("multimodal_projector_bias", True)
            tower.linear("projector.linear_1", hidden, tower.width, bias=bias)
            tower.linear("projector.linear_2", hidden, hidden, bias=bias)
            tower.add("image_newline", (hidden,))
    return merge
