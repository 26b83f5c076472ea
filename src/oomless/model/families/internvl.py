"""InternVL as its own code writes it (internvl_chat) and as transformers does (internvl): any decoder,
InternViT, two linear layers.

Counts are those of transformers' class; InternVL3-8B's published 7,944,373,760 are met to the unit.
"""

from ..config import MAX_LAYERS, Config
from ..model import Model, Vision
from ..storage import Format
from .nested import read_nested, unread_inside, with_outer
from .vision import Tower

MOST_TILES = 12
"""max_dynamic_patch of the published configs; a view of the whole comes with them."""
OWN = {"qkv_bias": "attention_bias", "qk_normalization": "use_qk_norm"}
"""What InternVL's own code calls keys of transformers' vision_config."""
WITHOUT_EFFECT = {
    "dynamic_image_size",
    "force_image_size",
    "image_fold",
    "image_seq_length",
    "min_dynamic_patch",
    "pad2square",
    "projector_hidden_act",
    "ps_version",
    "select_layer",
    "system_message",
    "template",
    "use_backbone_lora",
    "use_llm_lora",
    "use_thumbnail",
    "vision_feature_layer",
    "vision_feature_select_strategy",
}


def read(config: Config, name: str) -> Model:
    """The decoder, the tower, and the projection of merged patches."""
    text = with_outer(config, "llm_config" if config.has("llm_config") else "text_config")
    model = read_nested(text, name)
    vision = config.section("vision_config")
    vision.values = {OWN.get(key, key): value for key, value in vision.values.items()}
    config.used |= WITHOUT_EFFECT
    if config.size("use_backbone_lora", 0, least=0) or config.size("use_llm_lora", 0, least=0):
        config.fault("LoRA inside of the model is not known for InternVL")
    merge = max(round(1 / config.number("downsample_ratio", 0.5)), 1)
    tower, patches = read_tower(vision, model.dtype)
    merged = tower.width * merge**2
    tower.norm("projector.layer_norm", merged)
    tower.linear("projector.linear_1", model.hidden_size, merged)
    tower.linear("projector.linear_2", model.hidden_size, model.hidden_size)
    tiles = config.size("max_dynamic_patch", MOST_TILES) + 1
    config.check()
    return model._replace(
        family=config.word("model_type"),
        tensors=(*model.tensors, *tower.tensors),
        vision=Vision(
            tiles * max(patches // merge**2, 1), tiles * patches * 3 * one_of(vision, "patch_size") ** 2
        ),
        warnings=(*model.warnings, *unread_inside(text)),
    )


def read_tower(vision: Config, dtype: Format) -> tuple[Tower, int]:
    """InternViT: a class token, a scale on each residual, in the 6B RMS norms and norms of all queries and
    keys; and its patches.

    >>> from oomless.model.storage import BF16
    >>> small = {
    ...     "hidden_size": 1024,
    ...     "intermediate_size": 4096,
    ...     "num_hidden_layers": 24,
    ...     "num_attention_heads": 16,
    ... }
    >>> tower, patches = read_tower(
    ...     Config({**small, "image_size": 448, "patch_size": 14, "attention_bias": True}, "example"), BF16
    ... )
    >>> sum(tensor.num_parameters for tensor in tower.tensors), patches  # InternViT-300M
    (304012288, 1024)
    """
    width, num_layers = vision.size("hidden_size"), vision.size("num_hidden_layers", most=MAX_LAYERS)
    patch = one_of(vision, "patch_size")
    patches = (one_of(vision, "image_size") // patch) ** 2
    rms = vision.word("norm_type", "layer_norm") == "rms_norm"
    tower = Tower(width, dtype)
    tower.add("class_embedding", (width,))
    tower.add("patch_embedding.weight", (width, vision.size("num_channels", 3), patch, patch))
    tower.add("patch_embedding.bias", (width,))
    tower.add("position_embedding", (patches + 1, width))
    bias = vision.flag("attention_bias", False)
    tower.blocks(
        num_layers,
        vision.size("intermediate_size"),
        vision.size("num_attention_heads"),
        bias=bias,
        norm_bias=not rms,
        mlp_bias=True,
    )
    if not bias:  # the output's projection has one always
        tower.add("blocks.attn.out.bias", (width,), repeat=num_layers)
    tower.add("blocks.scale", (width,), repeat=2 * num_layers)
    if vision.flag("use_qk_norm", False):
        tower.add("blocks.attn.qk_norm.weight", (width,), repeat=2 * num_layers)
    if not vision.flag("use_mean_pooling", True):
        tower.norm("layernorm", width)
    return tower, patches


def one_of(vision: Config, key: str) -> int:
    """A side in pixels, which transformers writes twice."""
    value = vision.values.get(key)
    if isinstance(value, list):
        sides = vision.sizes(key, least=1)
        if len(set(sides)) != 1:
            vision.fault(f"{key} is {value}, not one side of a square")
            return 1
        return sides[0]
    return vision.size(key)
