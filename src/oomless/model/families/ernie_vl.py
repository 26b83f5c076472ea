"""ERNIE 4.5 VL: ERNIE's experts for text, as many narrower ones for images beside them, a plain ViT, and a
resampler that brings patches and frames together. The count is the hub's, to the unit (transformers 5.24,
ernie4_5_vl_moe)."""

from ..config import MAX_LAYERS, Config
from ..feed_forward_weights import ffn_tensors
from ..feedforward import MoE
from ..model import Model, Vision
from ..scope import Scope
from .nested import read_nested, text_of, unread_inside
from .rope_and_storage import read_storage
from .vision import Tower

MOST_TOKENS = 6144
"""Of the largest image that the published processor lets through, 28 x 28 pixels each."""
OF_BOTH = (
    "moe_capacity",
    "moe_intermediate_size",
    "moe_layer_end_index",
    "moe_layer_start_index",
    "moe_num_experts",
)
"""Keys with a number for text and one for images."""
WITHOUT_EFFECT = (
    "freq_allocation",
    "im_patch_id",
    "image_end_token_id",
    "image_start_token_id",
    "max_text_id",
    "moe_capacity",
    "moe_use_aux_free",
    "rope_3d",
    "temporal_conv_size",
    "use_recompute_moe",
    "video_end_token_id",
    "video_start_token_id",
    "video_token_id",
    "vision_config",
)


def read(config: Config, name: str) -> Model:
    """The decoder (under text_config, or spelled out beside vision_config), the experts for images, the
    tower."""
    text = text_of(config)
    for key in WITHOUT_EFFECT:
        config.has(key)
        text.has(key)
    widths = of_both(text, "moe_intermediate_size"), of_both(text, "moe_num_experts")
    first = {key: value[0] for key in OF_BOTH if isinstance(value := text.values.get(key), list) and value}
    if "mlp_layer_types" not in text.values:
        first = {"moe_layer_start_index": 1, **first}
    model = read_nested(text, name, **first, model_type="ernie4_5_moe")
    (_, width), (_, experts) = widths
    stored, _ = read_storage(text)
    sparse = tuple(index for index, layer in enumerate(model.layers) if isinstance(layer.ffn, MoE))
    moe = next((each.ffn for each in model.layers if isinstance(each.ffn, MoE)), None)
    seen = moe._replace(num_experts=experts, expert_width=width, shared_width=0) if moe else None
    scope = Scope(sparse, stored, "model.layers.{}.vision.")
    beside = tuple(ffn_tensors(seen, model.hidden_size, model.vocab_size, scope)) if seen else ()
    vision = config.section("vision_config")
    tower = read_tower(vision, config, model)
    config.check()
    return model._replace(
        family=config.word("model_type"),
        tensors=(*model.tensors, *beside, *tower.tensors),
        vision=Vision(MOST_TOKENS, MOST_TOKENS * 3 * 28**2),
        warnings=(*model.warnings, *unread_inside(text, config)),
    )


def of_both(text: Config, key: str) -> tuple[int, int]:
    """The number for text and the one for images."""
    numbers = text.sizes(key, least=1) if isinstance(text.values.get(key), list) else (text.size(key),) * 2
    if len(numbers) != 2:
        text.fault(f"{key} has {len(numbers)} entries, not 2")
        return 1, 1
    return numbers[0], numbers[1]


def read_tower(vision: Config, config: Config, model: Model) -> Tower:
    """Plain blocks without a table of positions, and the resampler."""
    width, patch = vision.size("hidden_size", 1280), vision.size("patch_size", 14)
    merge, frames = vision.size("spatial_merge_size", 2), vision.size("temporal_merge_size", 2)
    config.size("spatial_conv_size", merge)
    for key in ("attn_sep", "embed_dim", "in_chans", "mlp_ratio", "vit_num_recompute_layers"):
        vision.has(key)
    inner = vision.size("intermediate_size", 4 * width)
    tower, merged = Tower(width, model.dtype), width * merge**2
    tower.add("patch_embed.weight", (width, vision.size("in_channels", 3) * patch**2))
    tower.blocks(vision.size("depth", 32, most=MAX_LAYERS), inner, vision.size("num_heads", 16))
    tower.norm("ln", width)
    for name, into in (("spatial", merged), ("temporal", frames * merged)):
        tower.linear(f"resampler.{name}.fc1", merged, into)
        tower.linear(f"resampler.{name}.fc2", merged, merged)
        tower.norm(f"resampler.{name}.ln", merged)
    tower.linear("resampler.mlp", model.hidden_size, merged)
    tower.norm("resampler.after_norm", model.hidden_size, bias=False)
    return tower
