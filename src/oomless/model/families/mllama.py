"""Llama 3.2 Vision: cross-attention layers between those of a Llama 3.1 decoder, and a ViT over tiles with
global layers."""

from ..attention import GQA, Attention
from ..config import MAX_LAYERS, Config
from ..feedforward import Dense
from ..model import EMBEDDING, Layer, Model
from .decoder import decoder
from .nested import unread_inside, with_outer
from .vision import Tower

SPECIAL_ROWS = 8
"""Rows of the embedding, but not of the head, for image tokens."""


def read(config: Config, name: str) -> Model:
    """The decoder under text_config and the tower; cross-attention keeps keys and values of the image in a
    cache of its own."""
    text = with_outer(config, "text_config")
    num_layers = text.size("num_hidden_layers", most=MAX_LAYERS)
    hidden, heads = text.size("hidden_size"), text.size("num_attention_heads")
    gqa = GQA(heads, text.size("num_key_value_heads"), hidden // heads or 1)
    cross = set(text.sizes("cross_attention_layers"))
    across = gqa._replace(cross=True, qk_norm=True)
    dense = Dense(text.size("intermediate_size"))
    attentions: list[Attention] = [across if layer in cross else gqa for layer in range(num_layers)]
    model = decoder(text, name, tuple(Layer(each, dense) for each in attentions))
    rows = model.vocab_size + SPECIAL_ROWS
    tensors = tuple(t._replace(shape=(rows, hidden)) if t.name == EMBEDDING else t for t in model.tensors)
    vision = config.section("vision_config")
    tower = read_tower(vision, hidden)
    config.check()
    return model._replace(
        family="mllama", tensors=(*tensors, *tower.tensors), warnings=(*model.warnings, *unread_inside(text))
    )


def read_tower(vision: Config, hidden: int) -> Tower:
    """Local layers, gated global layers, position tables a tile and an aspect ratio, and one projection of
    several layers' states."""
    width, inner = vision.size("hidden_size"), vision.size("intermediate_size")
    heads = vision.size("attention_heads")
    layers, global_layers = (
        vision.size("num_hidden_layers", most=MAX_LAYERS),
        vision.size("num_global_layers", most=MAX_LAYERS),
    )
    tiles, patch = vision.size("max_num_tiles"), vision.size("patch_size")
    patches = (vision.size("image_size") // patch) ** 2 + 1
    ratios = vision.values.get("supported_aspect_ratios")
    rows = len(ratios) + 1 if isinstance(ratios, list) else 1
    if rows == 1:
        vision.fault("supported_aspect_ratios is no list")
    tower = Tower(width)
    tower.add("patch_embedding.weight", (width, 3, patch, patch))
    tower.add("class_embedding", (width,))
    tower.add("gated_positional_embedding.embedding", (patches, width))
    tower.add("gated_positional_embedding.tile_embedding.weight", (rows, tiles * patches * width))
    tower.add("gated_positional_embedding.gate", (1,))
    for table in ("pre_tile_positional_embedding", "post_tile_positional_embedding"):
        tower.add(f"{table}.embedding.weight", (rows, tiles * width))
        tower.add(f"{table}.gate", (1,))
    tower.norm("layernorm_pre", width)
    tower.norm("layernorm_post", width)
    tower.blocks(layers + global_layers, inner, heads, bias=False, mlp_bias=True)
    tower.add("global_transformer.gates", (1,), repeat=2 * global_layers)
    tower.linear("projector", hidden, vision.size("vision_output_dim"))
    return tower
