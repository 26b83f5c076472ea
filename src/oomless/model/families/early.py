"""The decoders before llama: GPT-2, GPT-NeoX (Pythia), OPT, Falcon, Qwen. LayerNorms, plain MLPs, tables of positions or partial rotation."""

from ..attention import GQA
from ..config import MAX_LAYERS, Config
from ..feedforward import Dense
from ..model import Layer, Model, Rope, Tensor
from ..weights import Norms
from .llama import decoder
from .shared import read_rope

LAYER_NORMS = Norms(bias=True)
ONE_NORM = Norms(("input",), bias=True)
GPT2_NAMES = {
    "n_embd": "hidden_size",
    "n_head": "num_attention_heads",
    "n_layer": "num_hidden_layers",
    "n_positions": "max_position_embeddings",
}
OPT_OFFSET = 2
"""Rows of OPT's table of positions before the first position."""


def read(config: Config, name: str) -> Model:
    """The family's own reader."""
    match config.word("model_type"):
        case "gpt2":
            return read_gpt2(config, name)
        case "gpt_neox":
            return read_gpt_neox(config, name)
        case "opt":
            return read_opt(config, name)
        case "qwen":
            return read_qwen(config, name)
        case _:
            return read_falcon(config, name)


def read_gpt2(config: Config, name: str) -> Model:
    """GPT-2: biases everywhere, an MLP of four times the width, learned positions, tied."""
    config.values = {GPT2_NAMES.get(key, key): value for key, value in config.values.items()}
    hidden = config.size("hidden_size")
    return _biased(config, name, config.size("n_inner", 4 * hidden), config.size("max_position_embeddings"), tied=True)


def read_opt(config: Config, name: str) -> Model:
    """OPT: as GPT-2 with an MLP of its own width; the 350M's projections are not known here."""
    hidden = config.size("hidden_size")
    if config.size("word_embed_proj_dim", hidden) != hidden or not config.flag("do_layer_norm_before", True):
        config.fault("word_embed_proj_dim other than hidden_size, or norms after the blocks, are OPT-350M's alone and not known")
    return _biased(config, name, config.size("ffn_dim"), config.size("max_position_embeddings") + OPT_OFFSET, tied=True)


def _biased(config: Config, name: str, inner: int, positions: int, tied: bool) -> Model:
    """A decoder with biases everywhere and a table of positions."""
    hidden, heads = config.size("hidden_size"), config.size("num_attention_heads")
    gqa = GQA(heads, heads, hidden // heads or 1, qkv_bias=True, output_bias=True)
    layers = (Layer(gqa, Dense(inner, bias=True, gated=False)),) * config.size("num_hidden_layers", most=MAX_LAYERS)
    no_rotation = Rope(0, 10000.0, config.size("max_position_embeddings"))
    model = decoder(config, name, layers, norms=LAYER_NORMS, ropes=(no_rotation,), tied=tied)
    table = Tensor("model.embed_positions.weight", (positions, hidden), model.dtype, lookup=True)
    return model._replace(tensors=(*model.tensors, table))


def read_gpt_neox(config: Config, name: str) -> Model:
    """GPT-NeoX: biases everywhere, a quarter of each head rotated, untied."""
    hidden, heads = config.size("hidden_size"), config.size("num_attention_heads")
    head_dim = hidden // heads or 1
    config.flag("use_parallel_residual", True)
    gqa = GQA(heads, heads, head_dim, qkv_bias=True, output_bias=True)
    layer = Layer(gqa, Dense(config.size("intermediate_size"), bias=True, gated=False))
    layers = (layer,) * config.size("num_hidden_layers", most=MAX_LAYERS)
    dim, theta = int(head_dim * config.number("rotary_pct", 0.25)), config.number("rotary_emb_base", 10000.0)
    rope = read_rope(config, dim, config.size("max_position_embeddings"), theta=theta)
    return decoder(config, name, layers, norms=LAYER_NORMS, ropes=(rope,))


def read_falcon(config: Config, name: str) -> Model:
    """Falcon: one key-value head (7B) or a few (40B, 180B), attention and MLP side by side, an MLP of four times the width."""
    hidden, heads = config.size("hidden_size"), config.size("num_attention_heads")
    new, multi_query = config.flag("new_decoder_architecture", False), config.flag("multi_query", True)
    kv_heads = config.size("num_kv_heads", heads)
    if not new:
        kv_heads = 1 if multi_query else heads
    if config.flag("alibi", False):
        config.fault("alibi is on, which no model of Falcon's first generation here has")
    bias = config.flag("bias", False)
    gqa = GQA(heads, kv_heads, hidden // heads or 1, qkv_bias=bias, output_bias=bias)
    layer = Layer(gqa, Dense(config.size("ffn_hidden_size", 4 * hidden), bias, gated=False))
    layers = (layer,) * config.size("num_hidden_layers", most=MAX_LAYERS)
    norms = LAYER_NORMS if new or not config.flag("parallel_attn", True) else ONE_NORM
    config.has("parallel_attn")
    return decoder(config, name, layers, norms=norms, tied=True)


def read_qwen(config: Config, name: str) -> Model:
    """Qwen of 2023: llama with biases of queries, keys and values; intermediate_size counts gate and up together."""
    hidden, heads = config.size("hidden_size"), config.size("num_attention_heads")
    if not config.flag("no_bias", True):
        config.fault("no_bias is off, which no published Qwen has")
    if config.size("kv_channels", hidden // heads) * heads != hidden:
        config.fault(f"kv_channels times num_attention_heads {heads} is not hidden_size {hidden}")
    gqa = GQA(heads, heads, hidden // heads or 1, qkv_bias=True)
    layer = Layer(gqa, Dense(config.size("intermediate_size") // 2))
    layers = (layer,) * config.size("num_hidden_layers", most=MAX_LAYERS)
    for key in QWEN_OTHERS:
        config.has(key)
    dim = int((hidden // heads or 1) * config.number("rotary_pct", 1.0))
    rope = read_rope(config, dim, config.size("max_position_embeddings"), theta=config.number("rotary_emb_base", 10000.0))
    return decoder(config, name, layers, ropes=(rope,))


QWEN_OTHERS = (
    "bf16",
    "fp16",
    "fp32",
    "emb_dropout_prob",
    "attn_dropout_prob",
    "layer_norm_epsilon",
    "scale_attn_weights",
    "seq_length",
    "use_dynamic_ntk",
    "use_logn_attn",
    "use_flash_attn",
    "use_cache_kernel",
    "use_cache_quantization",
    "onnx_safe",
)
"""Keys of Qwen's own code that change no tensor."""
