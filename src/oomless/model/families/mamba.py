"""State-space models, alone or beside attention: Mamba 1 and 2, Falcon-Mamba, Jamba, Bamba, Falcon-H1."""

from ..attention import GQA, Attention, Linear
from ..config import MAX_EXPERTS, MAX_LAYERS, Config
from ..feedforward import Dense, FeedForward, MoE
from ..layer_weights import BlockNorms
from ..model import Layer, Model, Rope
from .decoder import decoder
from .rope_and_storage import read_rope, rotary_dim

NOTHING = Dense(0)
UNBOUNDED = 1_000_000
"""The length of a model that a state alone limits, where its config names none."""


def read(config: Config, name: str) -> Model:
    """The family's own reader."""
    config.used |= WITHOUT_EFFECT
    match config.word("model_type"):
        case "jamba":
            return read_jamba(config, name)
        case "falcon_h1":
            return read_falcon_h1(config, name)
        case "bamba":
            return read_bamba(config, name)
        case _:
            return read_alone(config, name)


def read_alone(config: Config, name: str) -> Model:
    """Layers of one mixer and one norm; no position is rotated, and no length is the longest."""
    num_layers = config.size("num_hidden_layers", most=MAX_LAYERS)
    hidden, state, kernel = (
        config.size("hidden_size"),
        config.size("state_size"),
        config.size("conv_kernel", 4),
    )
    expand, bias = config.size("expand", 2), config.flag("use_conv_bias", True)
    inner = config.size("intermediate_size", hidden * expand)
    if config.flag("use_bias", False):
        config.fault("use_bias is on, which no published config has")
    if config.word("model_type") == "mamba2":
        heads, width = config.size("num_heads"), config.size("head_dim")
        mixer = Linear(config.size("n_groups"), heads, state, width, kernel, "mamba2", conv_bias=bias)
    else:
        rank = (
            -(-hidden // 16)
            if config.values.get("time_step_rank") in (None, "auto")
            else config.size("time_step_rank")
        )
        mixer = Linear(0, inner, state, 1, kernel, "mamba1", conv_bias=bias, rank=rank)
    layers = (Layer(mixer, NOTHING),) * num_layers
    config.values = {"max_position_embeddings": UNBOUNDED, **config.values}
    return decoder(
        config, name, layers, norms=BlockNorms(("input",)), ropes=(Rope(0, 1.0, UNBOUNDED),), tied=True
    )


def mamba2(config: Config, inner_norm: bool = True) -> Linear:
    """The mixer by the keys that Bamba and Falcon-H1 share."""
    if config.flag("mamba_proj_bias", False):
        config.fault("mamba_proj_bias is on, which no published config has")
    return Linear(
        config.size("mamba_n_groups", 1),
        config.size("mamba_n_heads"),
        config.size("mamba_d_state"),
        config.size("mamba_d_head"),
        config.size("mamba_d_conv", 4),
        "mamba2",
        conv_bias=config.flag("mamba_conv_bias", True),
        plain_norm=inner_norm,
    )


def attention(config: Config) -> GQA:
    hidden, heads = config.size("hidden_size"), config.size("num_attention_heads")
    bias = config.flag("attention_bias", False)
    head_dim = config.size("head_dim", hidden // heads or 1)
    return GQA(heads, config.size("num_key_value_heads", heads), head_dim, qkv_bias=bias, output_bias=bias)


def read_bamba(config: Config, name: str) -> Model:
    """Mamba-2 but for the layers of attn_layer_indices, and a dense block in each."""
    num_layers = config.size("num_hidden_layers", most=MAX_LAYERS)
    mixer, gqa = mamba2(config), attention(config)
    full = (
        set(config.sizes("attn_layer_indices", most=num_layers))
        if config.has("attn_layer_indices")
        else set[int]()
    )
    dense = Dense(config.size("intermediate_size"), config.flag("mlp_bias", False))
    layers = tuple(Layer(gqa if layer in full else mixer, dense) for layer in range(num_layers))
    rope = read_rope(config, rotary_dim(config, gqa.head_dim, 0.5), config.size("max_position_embeddings"))
    return decoder(config, name, layers, ropes=(rope,))


def read_falcon_h1(config: Config, name: str) -> Model:
    """Attention and Mamba-2 side by side in each layer, which are two layers here: the second has the
    feed-forward block.

    The checkpoint's two norms a layer are one a layer of these.
    """
    num_layers = config.size("num_hidden_layers", most=MAX_LAYERS // 2)
    config.used.add("mamba_d_ssm")
    if config.flag("projectors_bias", False):
        config.fault("projectors_bias is on, which no published config has")
    mixer, gqa = mamba2(config, config.flag("mamba_rms_norm", False)), attention(config)
    inner = config.size("mamba_d_ssm", mixer.value_width)
    if inner != mixer.value_width:
        config.fault(f"mamba_d_ssm {inner} is not mamba_n_heads x mamba_d_head, {mixer.value_width}")
    dense = Dense(config.size("intermediate_size"), config.flag("mlp_bias", False))
    pair: tuple[Layer, ...] = (Layer(mixer, NOTHING), Layer(gqa, dense))
    rope = read_rope(config, gqa.head_dim, config.size("max_position_embeddings"))
    return decoder(config, name, pair * num_layers, norms=BlockNorms(("input",)), ropes=(rope,))


def read_jamba(config: Config, name: str) -> Model:
    """Mamba-1 with norms inside but for every eighth layer; experts in every second one; nothing is
    rotated."""
    num_layers = config.size("num_hidden_layers", most=MAX_LAYERS)
    hidden = config.size("hidden_size")
    rank = (
        -(-hidden // 16)
        if config.values.get("mamba_dt_rank") in (None, "auto")
        else config.size("mamba_dt_rank")
    )
    config.used.add("mamba_dt_rank")
    if config.flag("mamba_proj_bias", False):
        config.fault("mamba_proj_bias is on, which no published config has")
    mixer: Attention = Linear(
        0,
        hidden * config.size("mamba_expand", 2),
        config.size("mamba_d_state", 16),
        1,
        config.size("mamba_d_conv", 4),
        "mamba1",
        conv_bias=config.flag("mamba_conv_bias", True),
        rank=rank,
        inner_norms=config.flag("mamba_inner_layernorms", True),
    )
    gqa = attention(config)
    width = config.size("intermediate_size")
    experts = config.size("num_experts", 16, most=MAX_EXPERTS)
    active = config.size("num_experts_per_tok", 2, most=MAX_EXPERTS)
    if active > experts:
        config.fault(f"num_experts_per_tok {active} is more than the {experts} experts there are")
    moe: FeedForward = MoE(experts, active, width) if experts > 1 else Dense(width)

    def every(part: str, period: int, offset: int) -> list[bool]:
        period = config.size(f"{part}_layer_period", period)
        offset = config.size(f"{part}_layer_offset", offset, least=0)
        return [layer % period == offset for layer in range(num_layers)]

    full, mixed = every("attn", 8, 4), every("expert", 2, 1)
    layers = tuple(
        Layer(gqa if full[i] else mixer, moe if mixed[i] else Dense(width)) for i in range(num_layers)
    )
    max_positions = config.size("max_position_embeddings")
    return decoder(config, name, layers, ropes=(Rope(0, 1.0, max_positions),))


WITHOUT_EFFECT = {
    "attention_in_multiplier",
    "attention_out_multiplier",
    "calc_logits_for_entire_prompt",
    "chunk_size",
    "embedding_multiplier",
    "key_multiplier",
    "lm_head_multiplier",
    "mamba_chunk_size",
    "mamba_expand",
    "mamba_norm_before_gate",
    "mamba_use_mlp",
    "max_seq_len",
    "mixer_rms_eps",
    "mlp_expansion_factor",
    "mlp_multipliers",
    "num_logits_to_keep",
    "rescale_prenorm_residual",
    "residual_in_fp32",
    "sliding_window",
    "ssm_cfg",
    "ssm_in_multiplier",
    "ssm_multipliers",
    "ssm_out_multiplier",
    "time_step_floor",
    "time_step_init_scheme",
    "time_step_limit",
    "time_step_max",
    "time_step_min",
    "time_step_rank",
    "time_step_scale",
    "use_associative_scan",
    "use_mamba_kernels",
    "use_mambapy",
    "z_loss_coefficient",
    "d_inner",
    "d_model",
    "n_layer",
    "rms_norm",
    "fused_add_norm",
    "pad_vocab_size_multiple",
    "expand",
}
