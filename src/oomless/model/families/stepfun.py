"""Step 3.7: Step 3.5's decoder under text_config, and a ViT whose patches two convolutions bring together."""

from ..config import MAX_LAYERS, Config
from ..model import Model, Vision
from . import sparse_experts as sparse
from .nested import unread_inside, with_outer
from .vision import Tower


def read(config: Config, name: str) -> Model:
    """The decoder alone where a config has no text_config."""
    if not config.has("text_config"):
        return sparse.read(config, name)
    text = with_outer(config, "text_config")
    text.values = {**text.values, "model_type": "step3p7"}
    model = sparse.read(text, name)
    vision = config.section("vision_config")
    for key in (
        "image_token_len",
        "patch_token_len",
        "im_start_token",
        "im_end_token",
        "im_patch_token",
        "understand_projector_stride",
    ):
        config.has(key)
    tower = read_tower(vision, model.hidden_size, config.flag("projector_bias", False))
    edge, patch = vision.size("image_size", 728), vision.size("patch_size", 14)
    config.check()
    patches = (edge // patch) ** 2
    return model._replace(
        tensors=(*model.tensors, *tower.tensors),
        vision=Vision(max(patches // 16, 1), patches * 3 * patch * patch),
        warnings=(*model.warnings, *unread_inside(text)),
    )


def read_tower(vision: Config, hidden: int, projector_bias: bool = False) -> Tower:
    """Biases and LayerNorms throughout, a scale on each residual, two convolutions of stride 2, one
    projection.

    >>> sum(
    ...     tensor.num_parameters for tensor in read_tower(Config({}, "example"), 4096).tensors
    ... )  # Step-3.7-Flash
    1981014784
    """
    width, num_layers = (
        vision.size("hidden_size", 1536),
        vision.size("num_hidden_layers", 47, most=MAX_LAYERS),
    )
    patch, edge = vision.size("patch_size", 14), vision.size("image_size", 728)
    vision.has("intermediate_size")  # the ratio decides
    inner = max(int(width * min(vision.number("mlp_ratio", 8960 / 1536), 1000)), 1)
    tower = Tower(width)
    tower.add("patch_embedding.weight", (width, vision.size("num_channels", 3), patch, patch))
    tower.add(
        "position_embedding.weight", (vision.size("max_position_embeddings", (edge // patch) ** 2), width)
    )
    tower.norm("pre_layernorm", width)
    tower.blocks(num_layers, inner, vision.size("num_attention_heads", 16))
    tower.add("blocks.lambda", (width,), repeat=2 * num_layers)
    for name, out, into in (("downsampler1", 2 * width, width), ("downsampler2", 4 * width, 2 * width)):
        tower.add(f"{name}.weight", (out, into, 3, 3))
        tower.add(f"{name}.bias", (out,))
    tower.linear("projector", hidden, 4 * width, bias=projector_bias)
    return tower
