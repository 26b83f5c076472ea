"""Plain decoders that differ from llama in biases, norms, gates and defaults: one row a family says how.

Each row is the family's class in transformers: Granite, OLMo, Cohere, Phi, StarCoder2, StableLM, InternLM,
GLM-4, EXAONE, BitNet, Jais 2 and others.
"""

from typing import NamedTuple

from ..attention import GQA, Attention, Sliding
from ..config import MAX_LAYERS, Config
from ..feedforward import Dense
from ..layer_weights import BlockNorms
from ..model import Layer, Model, Tensor
from .decoder import decoder, read_heads
from .layer_types import read_layer_types, windowed
from .rope_and_storage import read_rope, rotary_dim


class Variant(NamedTuple):
    """What a family's class does that its config does not say, and under which keys the config says the
    rest."""

    norms: BlockNorms = BlockNorms()
    qkv_bias: str | bool = "attention_bias"
    """A key of the config (absent = no), or what always holds."""
    output_bias: str | bool = False
    mlp_bias: str | bool = "mlp_bias"
    gated: bool = True
    qk_norm: str | bool = False
    wide_norm: bool = False
    head_bias: str | bool = False
    tied: bool = False
    rotary: float = 1.0
    """Share of a head that is rotated, where the config says nothing."""
    ignores: tuple[str, ...] = ()
    """Keys without effect on memory in this class."""
    on: bool = False
    """Whether the keys named here hold where the config says nothing."""
    sinks: bool = False
    every: int = 0
    """Without layer_types, the first layer of so many does not slide; 0: all do."""
    sub_norms: bool = False
    """Norms within the blocks, before what gives their output (BitNet)."""


AFTER = BlockNorms(("post_attention", "post_feedforward"))
AROUND = BlockNorms(("input", "post_self_attn", "post_attention", "post_mlp"))
ONE = BlockNorms(("input",))
WITH_BIAS = BlockNorms(bias=True)

GRANITE = ("attention_multiplier", "embedding_multiplier", "logits_scaling", "residual_multiplier")

VARIANTS = {
    "apertus": Variant(output_bias="attention_bias", qk_norm=True, gated=False),
    "arcee": Variant(output_bias="attention_bias", gated=False),
    "baichuan": Variant(),
    "bitnet": Variant(output_bias="attention_bias", sub_norms=True),
    "cohere": Variant(
        norms=ONE,
        qk_norm="use_qk_norm",
        wide_norm=True,
        output_bias="attention_bias",
        tied=True,
        ignores=("model_max_length",),
    ),
    "cohere2": Variant(norms=ONE, output_bias="attention_bias", tied=True),
    "cwm": Variant(),
    "ernie4_5": Variant(qkv_bias="use_bias", output_bias="use_bias", mlp_bias="use_bias", tied=True),
    "exaone": Variant(output_bias="attention_bias"),
    "exaone4": Variant(
        norms=AFTER, qk_norm=True, ignores=("max_window_layers", "num_kv_heads", "reorder_qk_norm")
    ),
    "glm": Variant(rotary=0.5),
    "glm4": Variant(norms=AROUND, rotary=0.5),
    "granite": Variant(
        output_bias="attention_bias",
        ignores=GRANITE,
    ),
    "granite_swa": Variant(
        output_bias="attention_bias",
        tied=True,
        sinks=True,
        every=4,
        ignores=(*GRANITE, "layer_rope_theta"),
    ),
    "helium": Variant(),
    "hyperclovax": Variant(norms=AROUND, output_bias="attention_bias", ignores=GRANITE),
    "iquestcoder": Variant(output_bias="attention_bias"),
    "hunyuan_v1_dense": Variant(qk_norm=True, output_bias="attention_bias", tied=True),
    "internlm2": Variant(qkv_bias="bias", output_bias="bias"),
    "internlm3": Variant(qkv_bias="qkv_bias", output_bias="bias", mlp_bias="bias"),
    "jais2": Variant(norms=WITH_BIAS, output_bias="attention_bias", gated=False, on=True),
    "minicpm": Variant(tied=True, ignores=("scale_emb", "scale_depth", "dim_model_base", "num_experts")),
    "ministral": Variant(),
    "ministral3": Variant(),
    "nanochat": Variant(norms=BlockNorms(weight=False), output_bias="attention_bias", gated=False),
    "nemotron": Variant(norms=WITH_BIAS, output_bias="attention_bias", gated=False),
    "olmo": Variant(norms=BlockNorms(weight=False), output_bias="attention_bias", ignores=("clip_qkv",)),
    "olmo2": Variant(norms=AFTER, qk_norm=True, wide_norm=True, output_bias="attention_bias"),
    "olmo3": Variant(norms=AFTER, qk_norm=True, wide_norm=True, output_bias="attention_bias"),
    "orion": Variant(norms=WITH_BIAS),
    "PanguEmbedded": Variant(qkv_bias="bias", output_bias="bias"),
    "phi": Variant(
        norms=BlockNorms(("input",), bias=True),
        qkv_bias=True,
        output_bias=True,
        mlp_bias=True,
        gated=False,
        head_bias=True,
        rotary=0.5,
        ignores=("qk_layernorm",),
    ),
    "phi3": Variant(
        qkv_bias=False,
        head_bias="lm_head_bias",
        ignores=("full_attn_mod", "interpolate_factor", "original_max_position_embeddings"),
    ),
    "seed_oss": Variant(output_bias="attention_out_bias"),
    "smollm3": Variant(
        output_bias="attention_bias", tied=True, ignores=("no_rope_layers", "no_rope_layer_interval")
    ),
    "stablelm": Variant(
        norms=WITH_BIAS, qkv_bias="use_qkv_bias", qk_norm="qk_layernorm", wide_norm=True, rotary=0.25
    ),
    "starcoder2": Variant(
        norms=WITH_BIAS,
        qkv_bias="use_bias",
        output_bias="use_bias",
        mlp_bias="use_bias",
        gated=False,
        tied=True,
        ignores=("norm_type",),
    ),
}


def read(config: Config, name: str) -> Model:
    """The decoder by its family's row; layer_types, or else sliding_window alone, say which layers slide."""
    variant = VARIANTS[config.word("model_type")]
    num_layers = config.size(
        "num_layers"
        if config.has("num_layers") and not config.has("num_hidden_layers")
        else "num_hidden_layers",
        most=MAX_LAYERS,
    )
    config.used |= {"num_layers", "num_hidden_layers"}
    if variant.norms is AROUND and not config.flag("use_post_norm", True):
        variant = variant._replace(norms=BlockNorms())
    if config.flag(
        "use_parallel_residual", False
    ):  # StableLM 2 12B: one norm for attention and feed-forward block
        variant = variant._replace(norms=variant.norms._replace(names=ONE.names))
    max_positions = config.size("max_position_embeddings")
    gqa = read_gqa(config, variant)
    dense = Dense(config.size("intermediate_size"), says(config, variant.mlp_bias, variant.on), variant.gated)
    for key in variant.ignores:
        config.used.add(key)
    if config.values.get("qk_layernorm") and "qk_layernorm" in variant.ignores:
        config.fault("qk_layernorm is on, which no published config of this family has")
    layers = tuple(
        Layer(each, dense) for each in read_windows(config, gqa, num_layers, max_positions, variant.every)
    )
    rope = read_rope(config, rotary_dim(config, gqa.head_dim, variant.rotary), max_positions)
    head_bias = says(config, variant.head_bias)
    model = decoder(
        config, name, layers, norms=variant.norms, ropes=(rope,), tied=variant.tied, head_bias=head_bias
    )
    if variant.sub_norms:
        return with_norms_inside(model, gqa.num_heads * gqa.head_dim, dense.intermediate_size)
    return with_activation(model) if model.family == "apertus" else model


def read_gqa(config: Config, variant: Variant) -> GQA:
    """The attention by the keys that all these families share."""
    return GQA(
        *read_heads(config),
        qkv_bias=says(config, variant.qkv_bias, variant.on),
        output_bias=says(config, variant.output_bias, variant.on),
        qk_norm=says(config, variant.qk_norm),
        wide_norm=variant.wide_norm,
        sinks=variant.sinks,
    )


def says(config: Config, key: str | bool, silent: bool = False) -> bool:
    """What a row of VARIANTS holds always, or what the config says under the key that it names."""
    return key if isinstance(key, bool) else config.flag(key, silent)


def read_windows(
    config: Config, gqa: GQA, num_layers: int, max_positions: int, every: int = 0
) -> list[Attention]:
    """Each layer's attention. A window as long as the model's own length hides nothing and counts as none."""
    window = config.size("sliding_window", max_positions)
    config.has("sliding_window_pattern")  # layer_types says it in full
    switched = config.flag("use_sliding_window", True)
    if window >= max_positions or not switched:
        config.has("layer_types")
        return [gqa] * num_layers
    if not config.has("layer_types"):
        slides = Sliding(gqa, window)
        return [gqa if every and layer % every == 0 else slides for layer in range(num_layers)]
    return windowed(read_layer_types(config, num_layers), gqa, window)


def with_activation(model: Model) -> Model:
    """Apertus learns two numbers of its activation in each layer."""
    learned = Tensor(
        "model.layers.{}.mlp.act_fn.alpha",
        (1,),
        model.dtype,
        layers=tuple(range(len(model.layers))),
        repeat=2,
    )
    return model._replace(tensors=(*model.tensors, learned))


def with_norms_inside(model: Model, *widths: int) -> Model:
    """BitNet norms what heads and gate give before it is projected."""
    every = tuple(range(len(model.layers)))
    inside = (
        Tensor(f"model.layers.{{}}.{part}_sub_norm.weight", (width,), model.dtype, layers=every)
        for part, width in zip(("self_attn.attn", "mlp.ffn"), widths, strict=True)
    )
    return model._replace(tensors=(*model.tensors, *inside))
