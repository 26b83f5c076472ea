"""Mixtures of experts over grouped-query attention that differ in names and defaults: one row a family says
how.

Each row is the family's class in transformers or vLLM: ERNIE 4.5, dots, K-EXAONE, Hunyuan, OLMoE, Solar,
Trinity, Laguna, Ling, Step and others.
"""

from typing import NamedTuple

from ..attention import GQA, Attention, Sliding
from ..config import MAX_EXPERTS, MAX_LAYERS, MAX_SIZE, Config
from ..feedforward import Dense, FeedForward, MoE
from ..model import Layer, Model
from .decoder import decoder
from .dense import AFTER, AROUND, ONE, Variant, read_gqa, read_windows, says
from .layer_types import read_layer_types, windowed
from .rope_and_storage import read_rope, rotary_dim
from .sparse_experts_mtp import DRAFTS, with_draft


class ExpertsVariant(NamedTuple):
    """A family's attention and norms as in plain.py, and under which keys its config says what experts it
    has."""

    variant: Variant
    experts: tuple[str, ...] = ("num_experts", "num_local_experts", "n_routed_experts")
    active: tuple[str, ...] = ("num_experts_per_tok", "num_experts_per_token")
    width: tuple[str, ...] = ("moe_intermediate_size",)
    shared: tuple[str, ...] = ("num_shared_experts", "n_shared_experts")
    """How many shared experts, each as wide as a routed one."""
    shared_width: tuple[str, ...] = ()
    """The width of all shared experts together, where a key says that instead."""
    router_bias: bool | str = True
    """A correction of the router's scores, always or where a key says so."""
    gated: bool = False
    head_gate: bool | str = False


QK = Variant(qk_norm=True, output_bias="attention_bias")
ROWS = {
    "ernie4_5_moe": ExpertsVariant(
        Variant(
            qkv_bias="use_bias",
            output_bias="use_bias",
            mlp_bias="use_bias",
            head_bias="use_bias",
            tied=True,
            ignores=("moe_use_aux_free", "moe_norm_min"),
        ),
        experts=("moe_num_experts",),
        active=("moe_k",),
        shared=("moe_num_shared_experts",),
    ),
    "dots1": ExpertsVariant(QK),
    "exaone_moe": ExpertsVariant(QK),
    "hunyuan_v1_moe": ExpertsVariant(
        Variant(
            qk_norm=True,
            output_bias="attention_bias",
            tied=False,
            ignores=("use_mixed_mlp_moe", "use_cla", "cla_share_factor"),
        ),
        active=("moe_topk",),
        width=("intermediate_size",),
        shared=(),
        router_bias=False,
    ),
    "hy_v3": ExpertsVariant(QK),
    "olmoe": ExpertsVariant(
        Variant(qk_norm=True, wide_norm=True, output_bias="attention_bias"),
        width=("intermediate_size",),
        router_bias=False,
    ),
    "flex_olmo": ExpertsVariant(
        Variant(norms=AFTER, qk_norm=True, wide_norm=True, output_bias="attention_bias"),
        width=("intermediate_size",),
        router_bias=False,
    ),
    "mellum": ExpertsVariant(QK, router_bias=False),
    "solar_open": ExpertsVariant(Variant()),
    "afmoe": ExpertsVariant(Variant(norms=AROUND, qk_norm=True), gated=True),
    "laguna": ExpertsVariant(QK, shared_width=("shared_expert_intermediate_size",), head_gate=True),
    "sarvam_moe": ExpertsVariant(Variant(qk_norm="use_qk_norm")),
    "cohere2_moe": ExpertsVariant(
        Variant(norms=ONE, output_bias="attention_bias", tied=True),
        width=("intermediate_size",),
        router_bias=False,
    ),
    "bailing_moe": ExpertsVariant(
        Variant(qkv_bias="use_qkv_bias", output_bias="use_bias", qk_norm="use_qk_norm"),
        router_bias="moe_router_enable_expert_bias",
    ),
    "bailing_moe_v2": ExpertsVariant(
        Variant(qkv_bias="use_qkv_bias", output_bias="use_bias", qk_norm="use_qk_norm"),
        router_bias="moe_router_enable_expert_bias",
    ),
    "step3p5": ExpertsVariant(
        QK,
        experts=("moe_num_experts", "n_routed_experts", "num_experts"),
        active=("moe_top_k", "num_experts_per_tok"),
        shared_width=("share_expert_dim", "share_expert_dims"),
        router_bias="use_moe_router_bias",
        head_gate="use_head_wise_attn_gate",
    ),
}
ROWS["step3p7"] = ROWS["step3p5"]

WITHOUT_EFFECT = (
    "attn_scale",
    "att_impl",
    "clip_qkv",
    "embedding_multiplier",
    "eod_token_id",
    "enable_moe_fp32_combine",
    "expert_selection_fn",
    "floor_scale",
    "full_attn_alpha_factor",
    "load_balance_coeff",
    "logits_scaling",
    "max_seq_len",
    "moe_apply_router_weight_on_input",
    "moe_renormalize",
    "moe_routed_scaling_factor",
    "moe_router_activation",
    "moe_router_enable_shared_expert",
    "moe_router_logit_softcapping",
    "moe_router_scaling_factor",
    "moe_router_use_sigmoid",
    "mup_enabled",
    "need_fp32_gate",
    "norm_head",
    "num_expert_group",
    "num_expert_groups",
    "num_limited_groups",
    "output_dropout",
    "route_norm",
    "route_scale",
    "router_dtype",
    "router_scaling_factor",
    "routing_sequence_parallel",
    "score_func",
    "score_function",
    "shared_expert_combination_strategy",
    "swiglu_limits",
    "swiglu_limits_shared",
    "use_grouped_mm",
    "use_mfa",
    "use_qk_norm",
    "use_rmsnorm",
    "use_rope_layers",
    "use_sliding_window",
    "yarn_only_types",
    "zero_centered",
)


def read(config: Config, name: str) -> Model:
    """The decoder by its family's row."""
    row = ROWS[config.word("model_type")]
    num_layers = config.size("num_hidden_layers", most=MAX_LAYERS)
    max_positions = config.size("max_position_embeddings", 0, least=0) or config.size("max_seq_len")
    for key in (*WITHOUT_EFFECT, *row.variant.ignores):
        config.used.add(key)
    attentions = read_attentions(config, row, num_layers, max_positions)
    biased = says(config, row.variant.mlp_bias)
    moe = read_experts(config, row)._replace(shared_bias=biased)
    sparse = sparse_layers(config, num_layers)
    dense: FeedForward = moe
    if not all(sparse):
        key = (
            "prefix_dense_intermediate_size"
            if config.has("prefix_dense_intermediate_size")
            else "intermediate_size"
        )
        dense = Dense(
            config.size("dense_intermediate_size" if config.has("dense_intermediate_size") else key), biased
        )
    config.has("intermediate_size")
    layers = tuple(
        Layer(each, moe if is_sparse else dense) for each, is_sparse in zip(attentions, sparse, strict=True)
    )
    first = attentions[0]
    gqa = first.inner if isinstance(first, Sliding) else first
    assert isinstance(gqa, GQA)
    rope = read_rope(config, rotary_dim(config, gqa.head_dim), max_positions, "full_attention")
    head_bias = says(config, row.variant.head_bias)
    model = decoder(
        config,
        name,
        layers,
        norms=row.variant.norms,
        ropes=(rope,),
        tied=row.variant.tied,
        head_bias=head_bias,
    )
    width = config.size("intermediate_size", 0, least=0) if config.word("model_type") in DRAFTS else 0
    return with_draft(model, config, width)


def first_of(config: Config, keys: tuple[str, ...]) -> str:
    """The first of several keys that the config has; the first of all if none is there."""
    found = next((key for key in keys if config.values.get(key) is not None), keys[0])
    config.used |= set(keys)
    return found


def read_experts(config: Config, row: ExpertsVariant) -> MoE:
    """Routed experts and shared ones under the family's keys. Hunyuan lists numbers by layer, which are all
    the same."""
    experts = _same(config, first_of(config, row.experts), MAX_EXPERTS)
    active = _same(config, first_of(config, row.active), MAX_EXPERTS)
    width = _same(config, first_of(config, row.width))
    if active > experts:
        config.fault(f"{active} experts a token are more than the {experts} there are")
    if config.word("model_type") == "hunyuan_v1_moe":
        _same(config, "moe_intermediate_size", default=width)
        shared = width * _same(config, "num_shared_expert", default=1)
    elif row.shared_width:
        shared = config.size(first_of(config, row.shared_width), 0, least=0)
        config.used |= {"n_shared_experts", "num_shared_experts"}
    else:
        shared = config.size(first_of(config, row.shared), 0, least=0, most=MAX_EXPERTS) * width
        if own := config.size("moe_shared_expert_intermediate_size", 0, least=0):
            shared = shared // width * own
    return MoE(experts, active, width, shared, router_biases=int(says(config, row.router_bias)))


def _same(config: Config, key: str, most: int = MAX_SIZE, default: int | None = None) -> int:
    """A number, or a list of one number for each layer."""
    if isinstance(config.values.get(key), list):
        numbers = config.sizes(key, most=most)
        if len(set(numbers)) > 1:
            config.fault(f"{key} differs between layers, which no published config of this family does")
        return numbers[0] if numbers and numbers[0] else 1
    return config.size(key, default, most=most)


def sparse_layers(config: Config, num_layers: int) -> list[bool]:
    """Which layers have experts, whichever way the config says it."""
    if config.has("mlp_layer_types"):
        config.has("first_k_dense_replace")
        kinds = read_layer_types(config, num_layers, ("dense", "sparse"), "mlp_layer_types")
        return [kind == "sparse" for kind in kinds]
    if config.has("moe_layers_enum"):
        words = config.word("moe_layers_enum").split(",")
        if not all(word.strip().isdecimal() and len(word) < 9 for word in words):
            config.fault("moe_layers_enum is no list of layers with commas")
            return [True] * num_layers
        listed = {int(word) for word in words}
        return [layer in listed for layer in range(num_layers)]
    if isinstance(config.values.get("moe_layer_freq"), list):
        marks = config.sizes("moe_layer_freq", most=1)
        if len(marks) < num_layers:
            config.fault(f"moe_layer_freq is no list of {num_layers} marks")
            return [True] * num_layers
        return [bool(mark) for mark in marks[:num_layers]]
    config.has("moe_layer_freq")
    first = config.size(
        first_of(config, ("first_k_dense_replace", "num_dense_layers", "moe_layer_start_index")), 0, least=0
    )
    if config.word("model_type") == "hy_v3" and "first_k_dense_replace" not in config.values:
        first = 1  # the class's default
    last = config.size("moe_layer_end_index", num_layers - 1, least=-1)
    config.has("first_k_dense_replace")
    last = num_layers - 1 if last < 0 else last
    step = config.size("moe_layer_interval", 1)
    return [first <= layer <= last and (layer + 1) % step == 0 for layer in range(num_layers)]


def read_attentions(
    config: Config, row: ExpertsVariant, num_layers: int, max_positions: int
) -> list[Attention]:
    """Each layer's attention; Laguna and Step have other numbers of heads in some layers."""
    if config.word("model_type") in ("step3p5", "step3p7"):
        return read_step(config, num_layers, max_positions)
    gqa = read_gqa(config, row.variant)._replace(gated=row.gated, head_gate=says(config, row.head_gate))
    if row.gated and config.flag("attention_bias", False):
        config.fault("attention_bias is on, which no published config of this family has")
    if (
        config.word("model_type") == "laguna"
        and config.has("gating")
        and config.values["gating"] not in (True, "per-head")
    ):
        gqa = gqa._replace(
            gated=True, head_gate=False
        )  # its class: a gate of one number an element of the output
    config.used |= {"global_attn_every_n_layers", "sliding_window_pattern", "gating", "max_window_layers"}
    if config.word("model_type") == "dots1" and not config.has(
        "layer_types"
    ):  # the window covers layers from max_window_layers on
        config.has("sliding_window")
        return [gqa] * num_layers
    attentions = read_windows(config, gqa, num_layers, max_positions)
    if not config.has("num_attention_heads_per_layer"):
        return attentions
    heads = config.sizes("num_attention_heads_per_layer", least=1)
    if len(heads) < num_layers or any(each % gqa.num_kv_heads for each in heads):
        config.fault(
            f"num_attention_heads_per_layer is no list of {num_layers} multiples of num_key_value_heads"
        )
        return attentions
    return [
        each._replace(inner=each.inner._replace(num_heads=num))
        if isinstance(each, Sliding)
        else gqa._replace(num_heads=num)
        for each, num in zip(attentions, heads, strict=False)
    ]


def read_step(config: Config, num_layers: int, max_positions: int) -> list[Attention]:
    """Step 3.5: the layers that attention_other_setting names have heads of their own; windows by
    layer_types."""
    gate = config.flag("use_head_wise_attn_gate", config.word("model_type") == "step3p7")
    kv_heads = config.size(first_of(config, ("num_attention_groups", "num_key_value_heads")))
    full = GQA(
        config.size("num_attention_heads"), kv_heads, config.size("head_dim"), qk_norm=True, head_gate=gate
    )
    other = config.section("attention_other_setting")
    local = full
    if other.values:
        local = full._replace(
            num_heads=other.size("num_attention_heads"),
            num_kv_heads=other.size("num_attention_groups", kv_heads),
            head_dim=other.size("head_dim", full.head_dim),
        )
    window = config.size("sliding_window", max_positions)
    return windowed(read_layer_types(config, num_layers), full, window, local)
