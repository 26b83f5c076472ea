"""Mamba-2 and short convolutions between attention: Granite 4 (granitemoehybrid), Nemotron-H and Nemotron 3,
LFM2."""

from collections.abc import Iterator

from ..attention import GQA, Attention, Linear
from ..block_pattern import read_pattern
from ..config import MAX_EXPERTS, MAX_LAYERS, Config
from ..feedforward import Dense, FeedForward, MoE
from ..layer_weights import BlockNorms, block_tensors
from ..model import Layer, Model, Rope, Tensor
from ..scope import Scope, Storage
from ..storage import DTYPES
from .decoder import decoder
from .layer_types import read_layer_types
from .rope_and_storage import read_rope, read_storage, rotary_dim


def read(config: Config, name: str) -> Model:
    """The family's own reader."""
    match config.word("model_type"):
        case "granitemoehybrid":
            return read_granite(config, name)
        case "lfm2" | "lfm2_moe":
            return read_lfm2(config, name)
        case _:
            return read_nemotron(config, name)


def read_granite(config: Config, name: str) -> Model:
    """Granite 4: layer_types says mamba or attention; experts with a shared one, or the shared one alone."""
    num_layers = config.size("num_hidden_layers", most=MAX_LAYERS)
    hidden, heads = config.size("hidden_size"), config.size("num_attention_heads")
    bias = config.flag("attention_bias", False)
    gqa = GQA(
        heads, config.size("num_key_value_heads"), hidden // heads or 1, qkv_bias=bias, output_bias=bias
    )
    mamba = Linear(
        config.size("mamba_n_groups"),
        config.size("mamba_n_heads"),
        config.size("mamba_d_state"),
        config.size("mamba_d_head"),
        config.size("mamba_d_conv"),
        "mamba2",
        conv_bias=config.flag("mamba_conv_bias", True),
    )
    if config.flag("mamba_proj_bias", False):
        config.fault("mamba_proj_bias is on, which no published config has")
    for key in (
        "mamba_chunk_size",
        "mamba_expand",
        "attention_multiplier",
        "embedding_multiplier",
        "logits_scaling",
        "residual_multiplier",
    ):
        config.has(key)
    kinds = read_layer_types(config, num_layers, ("mamba", "attention"))
    shared, experts = (
        config.size("shared_intermediate_size"),
        config.size("num_local_experts", 0, least=0, most=MAX_EXPERTS),
    )
    active, width = (
        config.size("num_experts_per_tok", 0, least=0, most=MAX_EXPERTS),
        config.size("intermediate_size"),
    )
    ffn: FeedForward = MoE(experts, active, width, shared_width=shared) if experts else Dense(shared)
    attentions: list[Attention] = [mamba if kind == "mamba" else gqa for kind in kinds]
    rotated = config.word("position_embedding_type", "rope") == "rope"
    rope = read_rope(config, gqa.head_dim if rotated else 0, config.size("max_position_embeddings"))
    return decoder(config, name, tuple(Layer(each, ffn) for each in attentions), ropes=(rope,), tied=True)


def read_lfm2(config: Config, name: str) -> Model:
    """LFM2: short convolutions and attention with norms on queries and keys; the feed-forward width is
    adjusted as in llama 1."""
    num_layers = config.size("num_hidden_layers", most=MAX_LAYERS)
    hidden, heads = config.size("hidden_size"), config.size("num_attention_heads")
    gqa = GQA(heads, config.size("num_key_value_heads"), hidden // heads or 1, qk_norm=True)
    conv = Linear(
        1, 1, 0, hidden, config.size("conv_L_cache"), "short_conv", conv_bias=config.flag("conv_bias", False)
    )
    kinds = read_layer_types(config, num_layers, ("conv", "full_attention"))
    inner = config.size("block_ff_dim", config.size("intermediate_size", 0, least=0) or None)
    mixed = config.word("model_type") == "lfm2_moe"
    if config.flag("block_auto_adjust_ff_dim", not mixed):
        multiple = config.size("block_multiple_of", 256)
        inner = int(config.number("block_ffn_dim_multiplier", 1.0) * int(2 * inner / 3))
        inner = -(-inner // multiple) * multiple
    for key in ("block_multiple_of", "block_ffn_dim_multiplier", "conv_dim", "block_dim"):
        config.has(key)
    first, ffn = read_lfm2_experts(config) if mixed else (num_layers, Dense(inner))
    layers = tuple(
        Layer(conv if kind == "conv" else gqa, ffn if index >= first else Dense(inner))
        for index, kind in enumerate(kinds)
    )
    rope = read_rope(config, gqa.head_dim, config.size("max_position_embeddings"))
    return decoder(config, name, layers, ropes=(rope,), tied=config.flag("tie_embedding", True))


def read_lfm2_experts(config: Config) -> tuple[int, FeedForward]:
    """The first layer with experts, and the experts."""
    experts, active = (
        config.size("num_experts", most=MAX_EXPERTS),
        config.size("num_experts_per_tok", most=MAX_EXPERTS),
    )
    if active > experts:
        config.fault(f"num_experts_per_tok {active} is more than the {experts} experts there are")
    bias = int(config.flag("use_expert_bias", True))
    return config.size("num_dense_layers", 2, least=0), MoE(
        experts, active, config.size("moe_intermediate_size"), router_biases=bias
    )


def read_nemotron(config: Config, name: str) -> Model:
    """Nemotron-H: a pattern of blocks with one part each: M Mamba-2, * attention, - MLP, E experts.

    A mixer and the part after it count as one layer here; a mixer that another mixer follows has no
    feed-forward block, and several MLPs in a row (the 47B) are one of their width together.
    """
    pattern = read_pattern(config)
    hidden = config.size("hidden_size")
    bias = config.flag("attention_bias", False)
    head_dim = config.size("head_dim", config.size("attention_head_dim", 0, least=0) or None)
    config.has("attention_head_dim")
    gqa = GQA(
        config.size("num_attention_heads"),
        config.size("num_key_value_heads"),
        head_dim,
        qkv_bias=bias,
        output_bias=bias,
    )
    state = config.word("mamba_ssm_cache_dtype", "")
    mamba = Linear(
        config.size("n_groups"),
        config.size("mamba_num_heads"),
        config.size("ssm_state_size"),
        config.size("mamba_head_dim"),
        config.size("conv_kernel"),
        "mamba2",
        conv_bias=config.flag("use_conv_bias", True),
        state_bits=DTYPES[state].bits if state in DTYPES else 0,
    )
    dense = Dense(config.size("intermediate_size"), config.flag("mlp_bias", False), gated=False)
    parts: dict[str, FeedForward] = {"-": dense}
    if "E" in pattern:
        parts["E"] = read_nemotron_experts(config)
    for key in NEMOTRON_WITHOUT_EFFECT:
        config.has(key)
    layers: list[Layer] = []
    for index, block in enumerate(pattern):
        if block in "M*":
            following = pattern[index + 1 :]
            mixer: Attention = mamba if block == "M" else gqa
            num = len(following) - len(following.lstrip("-"))
            wide = dense._replace(intermediate_size=num * dense.intermediate_size)
            layers.append(Layer(mixer, wide if num else parts.get(following[:1], Dense(0))))
    max_positions = config.size("max_position_embeddings")
    no_rotation = Rope(0, config.number("rope_theta", 10000.0), max_positions)
    rotary_dim(config, head_dim)
    model = decoder(config, name, tuple(layers), norms=BlockNorms(()), ropes=(no_rotation,))
    stored_norms = model.tensors[0]._replace(
        name="model.layers.{}.norm.weight",
        shape=(hidden,),
        repeat=len(pattern),
        lookup=False,
        cut=model.tensors[1].cut,
    )
    draft = (Layer(gqa, parts.get("E", dense)),) * read_mtp(config, "E" in pattern)
    stored, _ = read_storage(config)
    return model._replace(
        draft=draft, tensors=(*model.tensors, stored_norms, *mtp_tensors(draft, model, stored))
    )


def read_mtp(config: Config, has_experts: bool) -> int:
    """How many MTP layers are stored; one is attention and experts."""
    num = config.size("num_nextn_predict_layers", 0, least=0, most=MAX_LAYERS)
    blocks = (
        config.values.get("mtp_layers_block_type") or config.values.get("mtp_hybrid_override_pattern") or "*E"
    )
    config.used |= {"mtp_layers_block_type", "mtp_hybrid_override_pattern"}
    if num and (blocks not in ("*E", ["attention", "moe"]) or not has_experts):
        config.fault("the MTP layer is not made of attention and experts")
        return 0
    return num


def mtp_tensors(draft: tuple[Layer, ...], model: Model, stored: Storage) -> Iterator[Tensor]:
    """An MTP layer: attention, experts, eh_proj (2h x h), and five norms (counts of Nemotron 3 Super and
    Ultra)."""
    if not draft:
        return
    first, hidden = len(model.layers), model.hidden_size
    scope = Scope(tuple(range(first, first + len(draft))), stored, "mtp.layers.{}.", "mtp")
    yield from block_tensors(draft[0], hidden, model.vocab_size, scope)
    yield scope.tensor("eh_proj.weight", (hidden, 2 * hidden), "plain")
    for norm in ("enorm", "hnorm", "final_layernorm"):
        yield scope.tensor(f"{norm}.weight", (hidden,), "plain")


def read_nemotron_experts(config: Config) -> MoE:
    """Experts without a gate, behind a projection to a narrower state in the larger models."""
    return MoE(
        config.size("n_routed_experts", most=MAX_EXPERTS),
        config.size("num_experts_per_tok", most=MAX_EXPERTS),
        config.size("moe_intermediate_size"),
        config.size("moe_shared_expert_intermediate_size") * config.size("n_shared_experts", 1),
        router_biases=1,
        gated=False,
        latent_width=config.size("moe_latent_size", 0, least=0),
    )


NEMOTRON_WITHOUT_EFFECT = (
    "chunk_size",
    "expand",
    "mamba_hidden_act",
    "mamba_proj_bias",
    "mlp_hidden_act",
    "moe_shared_expert_overlap",
    "num_logits_to_keep",
    "rescale_prenorm_residual",
    "residual_in_fp32",
    "sliding_window",
    "time_step_floor",
    "time_step_limit",
    "time_step_max",
    "time_step_min",
    "time_step_rank",
    "use_bias",
    "use_mamba_kernels",
)
