"""Ling 3.0: Kimi delta attention with full matrices for decay and gate, latent attention with a gate a head
in every sixth layer, experts; Ling and Ring 2.5 and 2.6: lightning attention, and latent attention without a
gate in every eighth (vLLM 0.33: bailing_moe_v3.py, bailing_moe_linear.py).

>>> from ..load import load
>>> load("ling-2.6-1t").num_parameters, load("ling-2.6-1t").parameters_of("mtp")
(1012231160320, 13183265024)
"""

from ..attention import Attention, Linear
from ..config import MAX_LAYERS, Config
from ..feedforward import Dense, FeedForward
from ..model import Layer, Model, Part, Tensor
from ..scope import columns
from .decoder import decoder
from .kimi_linear import read_experts
from .latent_attention import read_mla
from .rope_and_storage import read_rope
from .sparse_experts_mtp import with_draft


def read(config: Config, name: str) -> Model:
    """The decoder, and an MTP layer with latent attention."""
    num_layers = config.size("num_hidden_layers", most=MAX_LAYERS)
    config.used |= WITHOUT_EFFECT
    delta = any(key.startswith(("kda_", "no_kda")) for key in config.values)
    if not config.has("max_position_embeddings") and config.has("model_max_length"):
        config.values = {**config.values, "max_position_embeddings": config.values["model_max_length"]}
    mla = read_mla(config)
    heads = mla.num_heads
    state = read_delta(config, heads) if delta else read_lightning(config, heads)
    group = config.size("layer_group_size")
    full = [(layer + 1) % group == 0 or layer >= num_layers // group * group for layer in range(num_layers)]
    attentions: list[Attention] = [mla if is_full else state for is_full in full]
    num_dense = config.size("first_k_dense_replace", 0, least=0, most=MAX_LAYERS)
    moe: FeedForward = read_experts(config)
    dense: FeedForward = Dense(config.size("intermediate_size"))
    layers = tuple(Layer(each, dense if layer < num_dense else moe) for layer, each in enumerate(attentions))
    rope = read_rope(config, mla.qk_rope_head_dim, config.size("max_position_embeddings"))
    model = decoder(config, name, layers, ropes=(rope,))
    model = with_draft(model, config, 1)
    return with_gates(model, heads, full) if delta else model


def with_gates(model: Model, heads: int, full: list[bool]) -> Model:
    """The gate a head of latent attention, in the main model and the MTP layer."""
    num_layers = len(model.layers)
    places: tuple[tuple[Part, tuple[int, ...]], ...] = (
        ("main", tuple(layer for layer in range(num_layers) if full[layer])),
        ("mtp", tuple(range(num_layers, num_layers + len(model.draft)))),
    )
    gates = (
        Tensor(
            "model.layers.{}.self_attn.g_proj.weight",
            (heads, model.hidden_size),
            model.dtype,
            columns(heads),
            where,
            part=part,
        )
        for part, where in places
        if where
    )
    return model._replace(tensors=(*model.tensors, *gates))


def read_delta(config: Config, heads: int) -> Linear:
    """Kimi delta attention, its decay and its gate by full matrices."""
    num, width = (
        config.size("linear_num_heads", heads),
        config.size("linear_head_dim", config.size("v_head_dim")),
    )
    kernel = config.size("linear_conv_kernel_dim", config.size("short_conv_kernel_size", 4))
    return Linear(num, num, width, width, kernel, "kda", state_bits=32, full_gate=True)


def read_lightning(config: Config, heads: int) -> Linear:
    """Lightning attention: as many key heads as query heads, no convolution."""
    width, norms = config.size("head_dim"), config.flag("use_qk_norm", False)
    return Linear(heads, heads, width, width, 1, "lightning", inner_norms=norms)


WITHOUT_EFFECT = {
    "group_norm_size",
    "head_dim",
    "linear_rope",
    "linear_silu",
    "kda_lower_bound",
    "kda_safe_gate",
    "layer_types",
    "mlp_layer_types",
    "moe_renormalize",
    "mtp_loss_scaling_factor",
    "no_kda_lora",
    "num_expert_group",
    "rotary_dim",
    "score_function",
    "use_linear_silu",
    "use_qk_norm",
}
