"""Qwen3-Next and Qwen3.5: three of four layers keep a state (gated delta rule), the fourth is gated
attention; an MTP layer."""

from collections.abc import Iterator

from ..attention import GQA, Attention, Linear
from ..config import MAX_LAYERS, Config
from ..feedforward import Dense, FeedForward, MoE
from ..layer_weights import PAIR, block_tensors
from ..model import Layer, Model, Tensor
from ..scope import Scope, Storage
from ..storage import DTYPES, Format
from .decoder import decoder
from .layer_types import STATES, read_layer_types
from .nested import unread_inside, with_outer
from .qwen4 import NONE, with_index, with_streams
from .qwen_vl import largest_image, read_tower, with_eyes
from .rope_and_storage import read_rope, read_storage, rotary_dim


def read(config: Config, name: str) -> Model:
    """Qwen3-Next is text alone; Qwen3.5 has its text under text_config and a tower."""
    family = config.word("model_type")
    if family == "olmo_hybrid":
        return read_olmo(config, name)
    if family == "qwen3_next" or family.endswith("_text"):
        return read_text(config, name)
    for key in (
        "video_token_id",
        "vision_start_token_id",
        "vision_end_token_id",
        "language_model_only",
    ):
        config.has(key)
    text = with_outer(config, "text_config")
    model = read_text(text, name)
    vision = config.section("vision_config")
    tower = read_tower(vision, model.dtype)
    config.check()
    seeing = with_eyes(model, family, tower, largest_image(vision, 1 << 24))
    return seeing._replace(warnings=(*model.warnings, *unread_inside(text)))


def read_text(config: Config, name: str) -> Model:
    """The decoder; each layer's kind by layer_types, or every full_attention_interval-th full."""
    num_layers = config.size("num_hidden_layers", most=MAX_LAYERS)
    max_positions = config.size("max_position_embeddings")
    full, linear = with_index(config, read_full(config)), read_linear(config)
    streams = config.has("hc_count")
    interval = config.size("full_attention_interval", 4)
    if config.has("layer_types"):
        kinds = read_layer_types(config, num_layers, STATES)
    else:
        every = range(1, num_layers + 1)
        kinds = ["linear_attention" if layer % interval else "full_attention" for layer in every]
    ffn = read_ffn(config)
    attentions: list[Attention] = [full if kind == "full_attention" else linear for kind in kinds]
    layers = tuple(Layer(each, ffn) for each in attentions)
    rope = read_rope(config, rotary_dim(config, full.head_dim, 0.25), max_positions)
    always = int(config.word("model_type") == "qwen3_next")  # no key counts its layer, the checkpoint has it
    num_mtp = config.size("mtp_num_hidden_layers", always, least=0, most=MAX_LAYERS)
    if config.flag("mtp_use_dedicated_embeddings", False):
        config.fault("mtp_use_dedicated_embeddings is on, which no published config has")
    config.word("output_gate_type", "swish")
    norms = NONE if streams else PAIR
    model = decoder(config, name, layers, norms=norms, ropes=(rope,))
    draft = (Layer(full, ffn),) * num_mtp
    stored, _ = read_storage(config)
    if not streams:
        return model._replace(draft=draft, tensors=(*model.tensors, *mtp_tensors(draft, model, stored)))
    mtp = mtp_tensors(draft, model, stored, config.size("hc_count"))
    return with_streams(config, model._replace(draft=draft, tensors=(*model.tensors, *mtp)), stored)


def read_olmo(config: Config, name: str) -> Model:
    """OLMo Hybrid: norms before the linear layers' parts and after the full layers', over all heads of
    queries and keys."""
    num_layers = config.size("num_hidden_layers", most=MAX_LAYERS)
    for key in (
        "linear_a_log_max",
        "linear_a_log_min",
        "linear_allow_neg_eigval",
        "linear_dt_init_floor",
        "linear_dt_max",
        "linear_dt_min",
    ):
        config.has(key)
    bias, heads, hidden = (
        config.flag("attention_bias", False),
        config.size("num_attention_heads"),
        config.size("hidden_size"),
    )
    kv_heads = config.size("num_key_value_heads", heads)
    full = GQA(
        heads,
        kv_heads,
        config.size("head_dim", hidden // heads or 1),
        bias,
        bias,
        qk_norm=True,
        wide_norm=True,
    )
    linear = read_linear(config)
    kinds = read_layer_types(config, num_layers, STATES)
    attentions: list[Attention] = [full if kind == "full_attention" else linear for kind in kinds]
    dense = Dense(config.size("intermediate_size"))
    rope = read_rope(config, rotary_dim(config, full.head_dim), config.size("max_position_embeddings"))
    return decoder(config, name, tuple(Layer(each, dense) for each in attentions), ropes=(rope,))


def read_full(config: Config) -> GQA:
    """Gated grouped-query attention with norms on queries and keys."""
    config.flag("attn_output_gate", True)
    return GQA(
        config.size("num_attention_heads"),
        config.size("num_key_value_heads"),
        config.size("head_dim"),
        qkv_bias=config.flag("attention_bias", False),
        output_bias=config.flag("attention_bias", False),
        qk_norm=True,
        gated=True,
    )


def read_linear(config: Config) -> Linear:
    """The gated delta rule's heads. Qwen3.5 keeps its state in F32 whatever the model's type; Qwen3-Next
    follows the model."""
    state = config.word("mamba_ssm_dtype", "")
    if state and state not in DTYPES:
        config.fault(f"mamba_ssm_dtype is {state!r}, not one of {', '.join(DTYPES)}")
    return Linear(
        config.size("linear_num_key_heads"),
        config.size("linear_num_value_heads"),
        config.size("linear_key_head_dim"),
        config.size("linear_value_head_dim"),
        config.size("linear_conv_kernel_dim"),
        state_bits=DTYPES[state].bits if state in DTYPES else 0,
    )


def read_ffn(config: Config) -> FeedForward:
    """Experts with one gated shared expert, or a dense block."""
    if not config.has("num_experts"):
        return Dense(config.size("intermediate_size"))
    config.has("intermediate_size")
    dense = config.sizes("mlp_only_layers") if config.has("mlp_only_layers") else ()
    if config.size("decoder_sparse_step", 1) != 1 or dense:
        config.fault("dense layers between layers with experts are not known in any release")
    shared = config.size("shared_expert_intermediate_size", 0, least=0)
    return MoE(
        config.size("num_experts"),
        config.size("num_experts_per_tok"),
        config.size("moe_intermediate_size"),
        shared,
        shared_gate=bool(shared),
    )


def mtp_tensors(
    draft: tuple[Layer, ...], model: Model, stored: Storage, streams: int = 1
) -> Iterator[Tensor]:
    """The MTP layer: one full-attention block, fc (2h x h), three norms, the last of which mixers stand for
    where there are streams; published quantised checkpoints leave it in 16 bit."""
    if not draft:
        return
    first, hidden = len(model.layers), model.hidden_size
    block: Format = stored.linear if model.quantization == "fp8" else stored.plain
    whole = Storage(stored.plain, block, stored.expert if model.quantization == "fp8" else stored.plain)
    scope = Scope(tuple(range(first, first + len(draft))), whole, "mtp.layers.{}.", "mtp")
    yield from block_tensors(draft[0], hidden, model.vocab_size, scope, PAIR if streams == 1 else NONE)
    yield scope.tensor("fc.weight", (hidden, 2 * hidden), "plain")
    yield scope.tensor("pre_fc_norm_embedding.weight", (hidden,), "plain")
    yield scope.tensor("pre_fc_norm_hidden.weight", (streams * hidden,), "plain")
    if streams == 1:
        yield scope.tensor("norm.weight", (hidden,), "plain")
