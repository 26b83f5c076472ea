"""Kimi Linear and Kimi K3: Kimi delta attention in three of four layers, latent attention in the fourth,
experts.

K3 has full-rank gates, experts behind a narrower state, residuals over blocks of layers and MoonViT around it
(vllm: models/kimi_k3).
"""

from ..attention import Attention, Linear
from ..config import MAX_EXPERTS, MAX_LAYERS, Config
from ..feedforward import Dense, FeedForward, MoE
from ..layer_weights import PAIR
from ..model import Layer, Model, Rope, Tensor, Vision
from .decoder import decoder
from .kimi import MOST_PATCHES
from .latent_attention import read_mla
from .layer_types import STATES, read_layer_types
from .nested import unread_inside, with_outer
from .sparse_experts import first_of
from .vision import Tower


def read(config: Config, name: str) -> Model:
    """The text model, or K3 with its text under text_config."""
    if config.word("model_type") == "kimi_linear":
        return read_text(config, name)
    text = with_outer(config, "text_config")
    model = read_text(text, name)
    vision = config.section("vision_config")
    for key in ("ignore_index", "image_placeholder", "media_placeholder_token_id"):
        config.has(key)
    tower = read_tower(vision, model.hidden_size)
    patch = vision.size("patch_size")
    config.check()
    return model._replace(
        family="kimi_k3",
        tensors=(*model.tensors, *tower.tensors),
        vision=Vision(MOST_PATCHES // 4, MOST_PATCHES * 3 * patch * patch),
        warnings=(*model.warnings, *unread_inside(text)),
    )


def read_text(config: Config, name: str) -> Model:
    """The decoder. Positions are not rotated where mla_use_nope says so, and elsewhere only in latent
    attention."""
    num_layers = config.size("num_hidden_layers", most=MAX_LAYERS)
    if not config.has("max_position_embeddings") and config.has("model_max_length"):
        config.values = {**config.values, "max_position_embeddings": config.values["model_max_length"]}
    max_positions = config.size("max_position_embeddings")
    config.used |= WITHOUT_EFFECT
    attentions = read_attentions(config, num_layers)
    moe = read_experts(config)
    num_dense = config.size("first_k_dense_replace", 0, least=0, most=MAX_LAYERS)
    sparse = [layer >= num_dense for layer in range(num_layers)]
    if (
        config.has("mlp_layer_types")
        and isinstance(kinds := config.values["mlp_layer_types"], list)
        and len(kinds) >= num_layers
    ):
        sparse = [kind == "sparse" for kind in kinds[:num_layers]]
    if config.size("moe_layer_freq", 1) != 1:
        config.fault("moe_layer_freq other than 1 is not known in any release")
    dense: FeedForward = Dense(config.size("intermediate_size"))
    layers = tuple(
        Layer(each, moe if is_sparse else dense) for each, is_sparse in zip(attentions, sparse, strict=True)
    )
    rope = Rope(
        0 if config.flag("mla_use_nope", True) else config.size("qk_rope_head_dim"), 10000.0, max_positions
    )
    if config.size("num_nextn_predict_layers", 0, least=0):
        config.fault("num_nextn_predict_layers is not 0, which no published config of this family has")
    model = decoder(config, name, layers, norms=PAIR, ropes=(rope,))
    hidden, every = model.hidden_size, tuple(range(num_layers))
    extra: list[Tensor] = []
    if isinstance(moe, MoE) and moe.latent_width and config.flag("latent_moe_use_norm", False):
        mixed = tuple(layer for layer in every if sparse[layer])
        extra.append(
            Tensor(
                "model.layers.{}.mlp.routed_expert_norm.weight",
                (moe.latent_width,),
                model.dtype,
                layers=mixed,
            )
        )
    if config.has(
        "attn_res_block_size"
    ):  # a norm and a projection to one number for each of a layer's two residuals, and at the end
        config.size("attn_res_block_size")
        for part in ("self_attention_res_norm", "self_attention_res_proj", "mlp_res_norm", "mlp_res_proj"):
            extra.append(Tensor(f"model.layers.{{}}.{part}.weight", (1, hidden), model.dtype, layers=every))
        extra += [
            Tensor(f"model.output_attn_res_{part}.weight", (1, hidden), model.dtype)
            for part in ("norm", "proj")
        ]
    return model._replace(tensors=(*model.tensors, *extra))


def read_attentions(config: Config, num_layers: int) -> list[Attention]:
    """Delta attention by linear_attn_config, whose layers count from 1, or by the names that transformers
    gives the same."""
    mla = read_mla(config, gated=config.flag("mla_use_output_gate", False))
    kda, own = read_delta(config), config.section("linear_attn_config")
    if own.values:
        full = set(own.sizes("full_attn_layers"))
        linear = set(own.sizes("kda_layers"))
        if full & linear or full | linear != set(range(1, num_layers + 1)):
            config.fault(f"full_attn_layers and kda_layers are not the layers 1 to {num_layers}, each once")
        return [mla if layer + 1 in full else kda for layer in range(num_layers)]
    if not config.has("layer_types"):
        config.fault("neither linear_attn_config nor layer_types says which layers are linear")
        return [mla] * num_layers
    kinds = read_layer_types(config, num_layers, STATES)
    return [mla if kind == "full_attention" else kda for kind in kinds]


def read_delta(config: Config) -> Linear:
    """Delta attention, by linear_attn_config or by the names that transformers gives the same."""
    own = config.section("linear_attn_config")
    given, mark = (own, "") if own.values else (config, "linear_")
    num, width = given.size(f"{mark}num_heads"), given.size(f"{mark}head_dim")
    kernel = given.size("short_conv_kernel_size" if own.values else "linear_conv_kernel_dim", 4)
    full = own.flag("use_full_rank_gate", False)
    return Linear(num, num, width, width, kernel, "kda", state_bits=32, rank=width, full_gate=full)


def read_experts(config: Config) -> MoE:
    """Routed experts with a bias at their router, shared ones, and in K3 a narrower state between."""
    experts = config.size(first_of(config, ("num_experts", "num_local_experts")), most=MAX_EXPERTS)
    active = config.size(first_of(config, ("num_experts_per_token", "num_experts_per_tok")), most=MAX_EXPERTS)
    width = config.size("moe_intermediate_size")
    if active > experts:
        config.fault(f"num_experts_per_token {active} is more than the {experts} experts there are")
    shared = config.size(
        first_of(config, ("num_shared_experts", "n_shared_experts")), 0, least=0, most=MAX_EXPERTS
    )
    latent = config.size("routed_expert_hidden_size", 0, least=0)
    return MoE(experts, active, width, shared * width, router_biases=1, latent_width=latent)


def read_tower(vision: Config, hidden: int) -> Tower:
    """MoonViT without biases, heads of qkv_hidden_size, and the projector of merged patches
    (patchmergerv2)."""
    width = vision.size("vt_hidden_size")
    heads = vision.size("vt_num_attention_heads")
    inside = vision.size("qkv_hidden_size", width)
    merge, patch = vision.sizes("merge_kernel_size", least=1), vision.size("patch_size")
    if len(merge) != 2:
        vision.fault(f"merge_kernel_size has {len(merge)} entries, not 2")
        merge = (1, 1)
    tower = Tower(width)
    tower.add("patch_embed.weight", (width, 3, patch, patch))
    if vision.flag("patch_embed_proj_bias", True):
        tower.add("patch_embed.bias", (width,))
    tower.add(
        "pos_emb.weight", (vision.size("init_pos_emb_height"), vision.size("init_pos_emb_width"), width)
    )
    has_bias, norm_bias = vision.flag("linear_bias", True), vision.word("norm_type", "layernorm") != "rmsnorm"
    tower.blocks(
        vision.size("vt_num_hidden_layers", most=MAX_LAYERS),
        vision.size("vt_intermediate_size"),
        heads,
        bias=vision.flag("attn_bias", True),
        norm_bias=norm_bias,
        attention_width=inside,
        mlp_bias=has_bias,
    )
    tower.norm("final_layernorm", width, norm_bias)
    merged = vision.size("mm_hidden_size", width) * merge[0] * merge[1]
    tower.norm("projector.pre_norm", vision.size("mm_hidden_size", width), norm_bias)
    tower.linear("projector.linear_1", merged, merged, bias=has_bias)
    tower.linear("projector.linear_2", hidden, merged, bias=has_bias)
    return tower


WITHOUT_EFFECT = {
    "activation_situ_beta",
    "activation_situ_linear_beta",
    "head_dim",
    "moe_renormalize",
    "moe_router_activation_func",
    "num_expert_group",
    "use_grouped_topk",
}
