"""MiniMax-M3: an indexer picks blocks of the cache in all but the first layers; experts; a ViT with patches
in time."""

from typing import Any

from ..attention import GQA, Attention
from ..config import MAX_EXPERTS, MAX_LAYERS, Config
from ..feedforward import Dense, FeedForward, MoE
from ..model import Layer, Model, Vision
from .decoder import decoder
from .nested import unread_inside, with_outer
from .rope_and_storage import read_rope
from .sparse_experts import sparse_layers
from .vision import Tower


def read(config: Config, name: str) -> Model:
    """The text model, or the one with eyes, whose text is under text_config."""
    if config.word("model_type") == "minimax_m3":
        return read_text(config, name)
    text = with_outer(config, "text_config")
    text.values = {"model_type": "minimax_m3", **text.values}
    model = read_text(text, name)
    vision = config.section("vision_config")
    config.used |= OUTER
    tower = read_tower(vision, config.size("projector_hidden_size", model.hidden_size), model.hidden_size)
    edge, patch = vision.size("image_size"), vision.size("patch_size")
    merge = vision.size("spatial_merge_size", 2)
    config.check()
    patches = (edge // patch) ** 2
    return model._replace(
        family="minimax_m3_vl",
        tensors=(*model.tensors, *tower.tensors),
        vision=Vision(max(patches // merge**2, 1), patches * 3 * 2 * patch * patch),
        warnings=(*model.warnings, *unread_inside(text)),
    )


def read_text(config: Config, name: str) -> Model:
    """Norms on each head, biases at the router, one shared expert; the indexer by sparse_attention_config."""
    num_layers = config.size("num_hidden_layers", most=MAX_LAYERS)
    max_positions = config.size("max_position_embeddings")
    config.used |= WITHOUT_EFFECT
    gqa = GQA(
        config.size("num_attention_heads"),
        config.size("num_key_value_heads"),
        config.size("head_dim"),
        qk_norm=config.flag("use_qk_norm", True),
        gated=config.flag("attention_output_gate", False),
    )
    if config.word("qk_norm_type", "per_head") != "per_head":
        config.fault("qk_norm_type is not per_head, which no published config of this family has")
    attentions = read_indexers(config, gqa, num_layers)
    width = config.size("intermediate_size")
    shared = config.size("shared_intermediate_size", 0, least=0) * config.size("n_shared_experts", 1, least=0)
    moe: FeedForward = MoE(
        config.size("num_local_experts", most=MAX_EXPERTS),
        config.size("num_experts_per_tok", most=MAX_EXPERTS),
        width,
        shared,
        router_biases=int(config.flag("use_routing_bias", True)),
    )
    sparse = sparse_layers(config, num_layers)
    dense: FeedForward = moe if all(sparse) else Dense(config.size("dense_intermediate_size"))
    config.has("dense_intermediate_size")
    layers = tuple(
        Layer(each, moe if is_sparse else dense) for each, is_sparse in zip(attentions, sparse, strict=True)
    )
    rope = read_rope(config, config.size("rotary_dim", gqa.head_dim), max_positions)
    model = decoder(config, name, layers, ropes=(rope,))
    if config.size("num_mtp_modules", 0, least=0) or config.size("num_nextn_predict_layers", 0, least=0):
        model = model._replace(
            warnings=(*model.warnings, "MTP layers are not counted: this family's are not known")
        )
    return model


def read_indexers(config: Config, gqa: GQA, num_layers: int) -> list[Attention]:
    """Layers with an indexer: its query heads and one key a token."""
    own = config.section("sparse_attention_config")
    marks: list[Any] = [0] * num_layers
    heads, width = gqa.num_kv_heads, gqa.head_dim
    if own.values and own.flag("use_sparse_attention", True):
        marks = list(own.sizes("sparse_attention_freq", most=1))
        heads, width = own.size("sparse_num_index_heads"), own.size("sparse_index_dim")
        if (
            own.has("sparse_disable_index_value")
            and 0 in own.sizes("sparse_disable_index_value")[marks.count(0) : num_layers]
        ):
            config.fault(
                "sparse_disable_index_value leaves values to an indexer, which no published config does"
            )
    elif config.has("layer_types") and isinstance(config.values["layer_types"], list):
        marks = [int(kind == "minimax_m3_sparse") for kind in config.values["layer_types"]]
        heads, width = config.size("index_n_heads", heads), config.size("index_head_dim", width)
    if len(marks) < num_layers:
        config.fault(f"the layers with an indexer are no list of {num_layers}")
        marks = [0] * num_layers
    indexed = gqa._replace(index_heads=heads, index_dim=width)
    return [indexed if mark else gqa for mark in marks[:num_layers]]


def read_tower(vision: Config, inner: int, hidden: int) -> Tower:
    """A ViT over pairs of frames, projected, and four neighbours merged."""
    width, patch = vision.size("hidden_size"), vision.size("patch_size")
    compression = vision.section("img_token_compression_config")
    frames = vision.size("temporal_patch_size", compression.size("temporal_patch_size", 2))
    merge = vision.size("spatial_merge_size", compression.size("spatial_merge_size", 2))
    tower = Tower(width)
    tower.add("patch_embed.weight", (width, vision.size("num_channels", 3), frames, patch, patch))
    tower.norm("pre_layernorm", width)
    num_layers = vision.size("num_hidden_layers", most=MAX_LAYERS)
    tower.blocks(num_layers, vision.size("intermediate_size"), vision.size("num_attention_heads"))
    tower.linear("projector.linear_1", inner, width)
    tower.linear("projector.linear_2", hidden, inner)
    tower.linear("projector.merge_linear_1", inner, hidden * merge**2)
    tower.linear("projector.merge_linear_2", hidden, inner)
    return tower


OUTER = {
    "image_grid_pinpoints",
    "image_seq_length",
    "img_token_compression_config",
    "multimodal_projector_bias",
    "num_reward_heads",
    "process_image_mode",
    "projector_hidden_act",
    "video_token_index",
    "vision_feature_layer",
    "vision_feature_select_strategy",
}
WITHOUT_EFFECT = {
    "first_k_dense_replace",
    "index_block_size",
    "index_head_dim",
    "index_local_blocks",
    "index_n_heads",
    "index_topk_blocks",
    "layer_types",
    "moe_intermediate_size",
    "partial_rotary_factor",
    "swiglu_alpha",
    "use_gemma_norm",
}
