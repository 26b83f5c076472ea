"""Mixtures of experts over grouped-query attention: mixtral, qwen2_moe, qwen3_moe, granitemoe, phimoe,
minimax_m2; with lightning attention in most layers MiniMax-Text-01 and M1."""

from ..attention import GQA, Attention, Linear
from ..config import MAX_EXPERTS, MAX_LAYERS, Config
from ..feedforward import Dense, FeedForward, MoE
from ..layer_weights import PAIR, BlockNorms
from ..model import Layer, Model
from . import dense
from .decoder import decoder
from .layer_types import STATES, read_layer_types
from .llama import read_gqa, read_windows
from .rope_and_storage import read_rope


def read(config: Config, name: str) -> Model:
    """The families that name their experts local share one reader, qwen's have another."""
    return read_local(config, name) if config.word("model_type") in LOCAL else read_qwen(config, name)


LIGHTNING = ("minimax_text_01", "minimax_m1", "minimax")
LOCAL = ("granitemoe", "granitemoeshared", "granitemoe_swa", "phimoe", "minimax_m2", *LIGHTNING)


def read_local(config: Config, name: str) -> Model:
    """Granite and Phi-3.5 experts are as mixtral's; MiniMax-M2 has norms over all heads, a bias at its
    router, half of a head rotated."""
    family = config.word("model_type")
    num_layers = config.size("num_hidden_layers", most=MAX_LAYERS)
    max_positions = config.size("max_position_embeddings")
    gqa = read_gqa(config)._replace(sinks=family == "granitemoe_swa")
    if config.flag("use_qk_norm", False):
        gqa = gqa._replace(qk_norm=True, wide_norm=config.word("qk_norm_type", "per_layer") == "per_layer")
    moe = MoE(
        config.size("num_local_experts", most=MAX_EXPERTS),
        config.size("num_experts_per_tok", most=MAX_EXPERTS),
        config.size("intermediate_size"),
        config.size("shared_intermediate_size", 0, least=0),
        router_biases=int(config.flag("use_routing_bias", False)),
    )
    for key in (
        "attention_multiplier",
        "layer_rope_theta",
        "embedding_multiplier",
        "logits_scaling",
        "residual_multiplier",
        "input_jitter_noise",
    ):
        config.has(key)
    attentions: list[Attention] = (
        read_windows(config, gqa, num_layers)
        if config.size("sliding_window", max_positions) < max_positions
        else [gqa] * num_layers
    )
    if gqa.sinks:
        attentions = dense.read_windows(config, gqa, num_layers, max_positions, 4)
    elif family in LIGHTNING:
        attentions = with_lightning(config, gqa, attentions)
    elif any(kind != 1 for kind in (config.sizes("attn_type_list") if config.has("attn_type_list") else ())):
        config.fault("attn_type_list marks layers without softmax attention, which MiniMax-M2 has none of")
    rope = read_rope(config, config.size("rotary_dim", gqa.head_dim), max_positions)
    norms = BlockNorms(bias=True) if family == "phimoe" else PAIR
    layers = tuple(Layer(each, moe) for each in attentions)
    model = decoder(
        config, name, layers, norms=norms, ropes=(rope,), head_bias=config.flag("lm_head_bias", False)
    )
    if config.flag("use_mtp", False) and config.size("num_mtp_modules", 0, least=0):
        config.size(
            "mtp_transformer_layers", 1
        )  # the published checkpoints hold none of them (element counts of the hub)
    return model


def with_lightning(config: Config, gqa: GQA, attentions: list[Attention]) -> list[Attention]:
    """MiniMax-Text-01 and M1: lightning attention where attn_type_list says 0 (transformers: layer_types)."""
    for key in MINIMAX_WITHOUT_EFFECT:
        config.has(key)
    if config.has("layer_types"):
        linear = [kind != "full_attention" for kind in read_layer_types(config, len(attentions), STATES)]
    else:
        kinds = config.sizes("attn_type_list", most=1)
        if len(kinds) != len(attentions):
            config.fault(f"attn_type_list is no list of {len(attentions)} marks")
        linear = [kind == 0 for kind in (*kinds, *[1] * len(attentions))[: len(attentions)]]
    heads, width = gqa.num_heads, gqa.head_dim
    state = Linear(heads, heads, width, width, 1, "lightning")
    return [state if is_linear else each for is_linear, each in zip(linear, attentions, strict=True)]


MINIMAX_WITHOUT_EFFECT = (
    "layernorm_full_attention_alpha",
    "layernorm_full_attention_beta",
    "layernorm_linear_attention_alpha",
    "layernorm_linear_attention_beta",
    "layernorm_mlp_alpha",
    "layernorm_mlp_beta",
    "full_attn_alpha_factor",
    "full_attn_beta_factor",
    "linear_attn_alpha_factor",
    "linear_attn_beta_factor",
    "block_size",
    "mlp_alpha_factor",
    "mlp_beta_factor",
    "postnorm",
    "shared_moe_mode",
)


def read_qwen(config: Config, name: str) -> Model:
    """A decoder whose feed-forward blocks are experts, but for the layers that the config keeps dense."""
    num_layers = config.size("num_hidden_layers", most=MAX_LAYERS)
    attentions = read_windows(config, read_gqa(config), num_layers)
    moe = read_experts(config)
    other: FeedForward = moe
    step, dense_layers = 1, frozenset[int]()
    if config.word("model_type") != "mixtral":
        step = config.size("decoder_sparse_step", 1)
        dense_layers = (
            frozenset(config.sizes("mlp_only_layers")) if config.has("mlp_only_layers") else dense_layers
        )
        config.has("intermediate_size")  # always stored, without meaning unless some layers are dense
        if step > 1 or dense_layers:
            other = Dense(config.size("intermediate_size"))
    layers = tuple(
        Layer(attention, other if index in dense_layers or (index + 1) % step else moe)
        for index, attention in enumerate(attentions)
    )
    return decoder(config, name, layers)


def read_experts(config: Config) -> MoE:
    """The experts under the names that each family gives their number and width."""
    family = config.word("model_type")
    active = config.size("num_experts_per_tok", most=MAX_EXPERTS)
    if family == "mixtral":
        experts = config.size("num_local_experts", most=MAX_EXPERTS)
        moe = MoE(experts, active, config.size("intermediate_size"))
    else:
        key = (
            "num_experts" if config.has("num_experts") else "num_local_experts"
        )  # the latter: transformers 5
        experts = config.size(key, most=MAX_EXPERTS)
        shared = config.size("shared_expert_intermediate_size", None if family == "qwen2_moe" else 0, least=0)
        if config.flag("qkv_bias", family == "qwen2_moe") != (family == "qwen2_moe") or not config.flag(
            "use_qk_norm", True
        ):
            config.fault("qkv_bias or use_qk_norm is not what this family's class has")
        moe = MoE(experts, active, config.size("moe_intermediate_size"), shared, shared_gate=bool(shared))
    if active > experts:
        config.fault(f"num_experts_per_tok {active} is more than the {experts} experts there are")
    return moe
