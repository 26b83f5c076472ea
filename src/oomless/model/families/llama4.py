"""Llama 4: chunks of local attention in three of four layers, experts in some or all, a vision tower of
tiles."""

from ..attention import GQA, Attention, Sliding
from ..config import MAX_EXPERTS, MAX_LAYERS, Config
from ..feedforward import Dense, FeedForward, MoE
from ..model import Layer, Model, Vision
from ..scope import columns, rows
from .decoder import decoder
from .nested import unread_inside, with_outer
from .vision import Tower

MOST_TILES = 16
"""Tiles of the largest image, of the processor's configuration; a view of the whole comes with them."""


def read(config: Config, name: str) -> Model:
    """The text part under text_config, and the tower."""
    if config.word("model_type") == "llama4_text":
        return read_text(config, name)
    text = with_outer(config, "text_config")
    model = read_text(text, name)
    vision = config.section("vision_config")
    tower = read_tower(vision, model.hidden_size)
    tiles = MOST_TILES + 1
    pixels = 3 * vision.size("image_size") ** 2
    config.check()
    return model._replace(
        family="llama4",
        tensors=(*model.tensors, *tower.tensors),
        vision=Vision(tiles * tile_tokens(vision), tiles * pixels),
        warnings=(*model.warnings, *unread_inside(text)),
    )


def read_text(text: Config, name: str) -> Model:
    """Layers of local chunks and of full attention; experts in every layer, or in every second one."""
    for key in (
        "for_llm_compressor",
        "attn_scale",
        "attn_temperature_tuning",
        "floor_scale",
        "layer_types",
        "moe_layers",
    ):
        text.has(key)
    num_layers = text.size("num_hidden_layers", most=MAX_LAYERS)
    gqa = GQA(
        text.size("num_attention_heads"),
        text.size("num_key_value_heads"),
        text.size("head_dim"),
        qkv_bias=text.flag("attention_bias", False),
        output_bias=text.flag("attention_bias", False),
    )
    text.flag("use_qk_norm", False)  # norms without weights
    chunk = text.size("attention_chunk_size")
    step = text.size("interleave_moe_layer_step", 1, least=0)  # 0: Llama Guard 4, which has none
    experts = MoE(
        text.size("num_local_experts", most=MAX_EXPERTS),
        text.size("num_experts_per_tok", most=MAX_EXPERTS),
        text.size("intermediate_size"),
        shared_width=text.size("intermediate_size"),
    )
    dense: FeedForward = Dense(text.size("intermediate_size_mlp"))
    local: Attention = Sliding(gqa, chunk, chunked=True)
    layers = tuple(
        Layer(local if uses_rope else gqa, dense if not step or (index + 1) % step else experts)
        for index, uses_rope in enumerate(read_rope_layers(text, num_layers))
    )
    return decoder(text, name, layers)


def read_rope_layers(text: Config, num_layers: int) -> list[bool]:
    """Layers with a rotary embedding are local; every fourth has none and sees everything."""
    text.size("no_rope_layer_interval", 4)
    if not text.values.get("no_rope_layers"):
        text.used.add("no_rope_layers")
        return [(index + 1) % text.size("no_rope_layer_interval", 4) != 0 for index in range(num_layers)]
    flags = text.sizes("no_rope_layers", most=1)
    if len(flags) != num_layers:
        text.fault(f"no_rope_layers has {len(flags)} entries for num_hidden_layers {num_layers}")
        return [True] * num_layers
    return [bool(flag) for flag in flags]


def tile_tokens(vision: Config) -> int:
    """Tokens of one tile: its patches, four of which are shuffled into one.

    >>> tile_tokens(Config({"image_size": 336, "patch_size": 14, "pixel_shuffle_ratio": 0.5}, "example"))
    144
    """
    patches = (vision.size("image_size") // vision.size("patch_size")) ** 2
    return max(int(patches * vision.number("pixel_shuffle_ratio", 0.5) ** 2), 1)


def read_tower(vision: Config, hidden: int) -> Tower:
    """A ViT with a class token, norms before and after, a two-layer adapter over shuffled patches, and a
    projector."""
    width, inner = vision.size("hidden_size"), vision.size("intermediate_size")
    patch, ratio = vision.size("patch_size"), vision.number("pixel_shuffle_ratio", 0.5)
    into, out = vision.size("projector_input_dim"), vision.size("projector_output_dim")
    heads = vision.size("num_attention_heads")
    tower = Tower(width)
    tower.linear("patch_embedding", width, vision.size("num_channels", 3) * patch * patch, bias=False)
    tower.add("class_embedding", (width,))
    patches = (vision.size("image_size") // patch) ** 2
    tower.add("positional_embedding", (patches + 1, width))
    tower.norm("layernorm_pre", width)
    tower.blocks(vision.size("num_hidden_layers", most=MAX_LAYERS), inner, heads)
    tower.norm("layernorm_post", width)
    shuffled = int(width / ratio**2)
    bias = vision.flag("multi_modal_projector_bias", False)
    tower.linear("adapter.fc1", into, shuffled, columns(into), bias)
    tower.linear("adapter.fc2", out, into, rows(into), bias)
    tower.linear("projector", hidden, vision.size("vision_output_dim"), columns(hidden), bias=False)
    return tower
