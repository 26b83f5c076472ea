"""Gemma 4: full layers with wide heads whose keys are their values, experts beside a dense block, a ViT with a table for two axes."""

from ...errors import UnsupportedError
from ..attention import GQA, Attention, Sliding
from ..config import MAX_EXPERTS, MAX_LAYERS, Config
from ..feedforward import Dense, FeedForward, MoE
from ..model import Layer, Model, Rope, Tensor, Vision
from ..weights import Norms
from .gemma import SANDWICH, read_kinds
from .llama import decoder
from .shared import read_rope, unread_inside, with_outer
from .vision import Tower


def read(config: Config, name: str) -> Model:
    """The text part under text_config and the tower; a config with an audio encoder is refused."""
    text = with_outer(config, "text_config")
    for key in (
        "audio_token_id",
        "boa_token_id",
        "boi_token_id",
        "eoa_token_id",
        "eoa_token_index",
        "eoi_token_id",
        "video_token_id",
    ):
        config.has(key)
    if text.size("hidden_size_per_layer_input", 0, least=0) or text.size("num_kv_shared_layers", 0, least=0):
        raise UnsupportedError(f"{config.where}: Gemma 4 E models are not known", "their audio encoder is in no public config copy")
    if config.has("audio_config"):
        raise UnsupportedError(f"{config.where}: the audio encoder of Gemma 4 is not known", "remove audio_config to leave it out")
    model = read_text(text, name)
    vision = config.section("vision_config")
    tokens = config.size("vision_soft_tokens_per_image", 280)
    tower = read_tower(vision, model.hidden_size)
    patches = tokens * vision.size("pooling_kernel_size", 3) ** 2
    values = patches * 3 * vision.size("patch_size") ** 2
    config.check()
    return model._replace(
        family="gemma4",
        tensors=(*model.tensors, *tower.tensors),
        vision=Vision(tokens, values),
        warnings=(*model.warnings, *unread_inside(text)),
    )


def read_text(text: Config, name: str) -> Model:
    """Sliding and full layers of different head widths; four norms a layer, three more beside experts, and one scalar."""
    num_layers = text.size("num_hidden_layers", most=MAX_LAYERS)
    max_positions, hidden = text.size("max_position_embeddings"), text.size("hidden_size")
    heads, kv_heads = text.size("num_attention_heads"), text.size("num_key_value_heads")
    local = GQA(heads, kv_heads, text.size("head_dim"), qk_norm=True)
    shares = text.flag("attention_k_eq_v", False)
    wide = GQA(heads, text.size("num_global_key_value_heads", kv_heads), text.size("global_head_dim"), qk_norm=True)
    wide = wide._replace(shares_values=shares)
    window = text.size("sliding_window")
    kinds = read_kinds(text, num_layers, 6)
    for key in ("expert_intermediate_size", "use_bidirectional_attention", "use_double_wide_mlp", "vocab_size_per_layer_input"):
        text.has(key)
    dense = Dense(text.size("intermediate_size"))
    ffn: FeedForward = dense
    has_experts = text.flag("enable_moe_block", False)
    for key in ("num_experts", "top_k_experts", "moe_intermediate_size"):
        text.has(key)
    if has_experts:
        ffn = MoE(
            text.size("num_experts", most=MAX_EXPERTS),
            text.size("top_k_experts", most=MAX_EXPERTS),
            text.size("moe_intermediate_size"),
            dense_width=dense.intermediate_size,
        )
    attentions: list[Attention] = [Sliding(local, window) if kind == "sliding_attention" else wide for kind in kinds]
    norms = SANDWICH
    if has_experts:
        norms = Norms((*SANDWICH.names, "pre_feedforward_2", "post_feedforward_1", "post_feedforward_2"))
    ropes = (
        read_rope(text, wide.head_dim, max_positions, "full_attention", 1e6),
        Rope(local.head_dim, read_rope(text, local.head_dim, max_positions, "sliding_attention").theta, max_positions),
    )
    model = decoder(text, name, tuple(Layer(each, ffn) for each in attentions), norms=norms, ropes=ropes, tied=True)
    every = tuple(range(num_layers))
    extra = [Tensor("model.layers.{}.layer_scalar", (1,), model.dtype, layers=every)]
    if isinstance(ffn, MoE):
        extra.append(Tensor("model.layers.{}.router.scale", (hidden,), model.dtype, layers=every))
        extra.append(Tensor("model.layers.{}.router.per_expert_scale", (ffn.num_experts,), model.dtype, layers=every))
    return model._replace(tensors=(*model.tensors, *extra))


def read_tower(vision: Config, hidden: int) -> Tower:
    """A ViT with gated MLPs, four norms a block and norms on queries and keys, without biases."""
    width, inner = vision.size("hidden_size"), vision.size("intermediate_size")
    num_layers, heads = vision.size("num_hidden_layers", most=MAX_LAYERS), vision.size("num_attention_heads")
    head_dim = vision.size("head_dim")
    tower = Tower(width)
    tower.linear("patch_embedder.input_proj", width, 3 * vision.size("patch_size") ** 2, bias=False)
    tower.add("patch_embedder.position_embedding_table", (2, vision.size("position_embedding_size"), width))
    tower.blocks(num_layers, inner, heads, bias=False, gated=True, norm_bias=False, attention_width=heads * head_dim)
    tower.norm("blocks.more_norms", width, bias=False, repeat=2 * num_layers)
    tower.norm("blocks.qk_norms", head_dim, bias=False, repeat=2 * num_layers)
    tower.linear("projector", hidden, width, bias=False)
    if vision.flag("standardize", False):
        tower.add("standardize", (width,), repeat=2)
    return tower
