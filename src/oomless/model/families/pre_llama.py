"""The decoders before llama: GPT-2, -J, -NeoX and -BigCode, BLOOM, MPT, OPT, Falcon, ChatGLM, Qwen.
LayerNorms, plain MLPs, tables of positions."""

from collections.abc import Callable

from ..attention import GQA
from ..config import MAX_LAYERS, Config
from ..feedforward import Dense
from ..layer_weights import BlockNorms
from ..model import EMBEDDING, HEAD, Layer, Model, Rope, Tensor
from .decoder import decoder
from .rope_and_storage import read_rope

LAYER_NORMS = BlockNorms(bias=True)
ONE_NORM = BlockNorms(("input",), bias=True)
NAMES = {
    "d_model": "hidden_size",
    "ffn_hidden_size": "intermediate_size",
    "max_seq_len": "max_position_embeddings",
    "n_embd": "hidden_size",
    "n_embed": "hidden_size",
    "n_head": "num_attention_heads",
    "n_heads": "num_attention_heads",
    "n_layer": "num_hidden_layers",
    "n_layers": "num_hidden_layers",
    "n_positions": "max_position_embeddings",
    "num_heads": "num_attention_heads",
    "num_layers": "num_hidden_layers",
    "padded_vocab_size": "vocab_size",
}
"""What these families call the sizes that all others call alike."""
RENAMED = ("bloom", "chatglm", "codegen", "gpt2", "gpt_bigcode", "gpt_neo", "gptj", "mpt")
OPT_OFFSET = 2
"""Rows of OPT's table of positions before the first position."""


def read(config: Config, name: str) -> Model:
    """The family's own reader."""
    family = config.word("model_type")
    config.values = (
        {NAMES.get(key, key): value for key, value in config.values.items()}
        if family in RENAMED
        else config.values
    )
    return READERS[family](config, name)


def read_gpt2(config: Config, name: str) -> Model:
    """GPT-2: biases everywhere, an MLP of four times the width, learned positions, tied; BigCode has one
    key-value head beside."""
    hidden = config.size("hidden_size")
    kv_heads = 1 if config.word("model_type") == "gpt_bigcode" and config.flag("multi_query", True) else 0
    gqa = read_heads(config, kv_heads)
    return _decoder(
        config, name, gqa, config.size("n_inner", 4 * hidden), config.size("max_position_embeddings")
    )


def read_gpt_neo(config: Config, name: str) -> Model:
    """GPT-Neo: no biases of queries, keys and values; every second layer is local, which no engine's cache
    knows."""
    config.used |= {"attention_types", "attention_layers", "window_size"}
    gqa = read_heads(config)._replace(qkv_bias=False)
    inner = config.size("intermediate_size", 4 * config.size("hidden_size"))
    return _decoder(config, name, gqa, inner, config.size("max_position_embeddings"))


def read_gptj(config: Config, name: str) -> Model:
    """GPT-J and CodeGen: attention and MLP behind one norm, biases of norms, MLP and head alone, a part of
    each head rotated."""
    gqa = read_heads(config)._replace(qkv_bias=False, output_bias=False)
    config.used.add("rotary")
    layer = Layer(gqa, Dense(config.size("n_inner", 4 * config.size("hidden_size")), bias=True, gated=False))
    rope = read_rope(config, config.size("rotary_dim", gqa.head_dim), config.size("max_position_embeddings"))
    layers = (layer,) * config.size("num_hidden_layers", most=MAX_LAYERS)
    return decoder(config, name, layers, norms=ONE_NORM, ropes=(rope,), head_bias=True)


def read_bloom(config: Config, name: str) -> Model:
    """BLOOM: biases everywhere, a norm of the embedding, slopes instead of positions: its length is that of
    its training."""
    config.used |= {
        "apply_residual_connection_post_layernorm",
        "masked_softmax_fusion",
        "slow_but_exact",
        "skip_bias_add",
        "skip_bias_add_qkv",
    }
    config.used |= {"n_inner", "offset_alibi", "unk_token_id"}
    config.values = {**config.values, "max_position_embeddings": config.size("seq_length", 2048)}
    model = _decoder(config, name, read_heads(config), 4 * config.size("hidden_size"), 0)
    norm = tuple(
        Tensor(f"model.embed_norm.{part}", (model.hidden_size,), model.dtype) for part in ("weight", "bias")
    )
    return model._replace(tensors=(*model.tensors, *norm))


def read_mpt(config: Config, name: str) -> Model:
    """MPT: no biases, slopes instead of positions."""
    own = config.section("attn_config")
    if not own.flag("alibi", True) or not config.flag("no_bias", True) or own.flag("qk_ln", False):
        config.fault("learned positions, biases, or norms on queries and keys are not known for MPT")
    config.used |= {
        "init_config",
        "init_device",
        "learned_pos_emb",
        "norm_type",
        "emb_pdrop",
        "verbose",
    }
    config.used |= {"embedding_fraction", "tokenizer_name"}
    gqa = read_heads(config, own.size("kv_n_heads", 0, least=0))._replace(qkv_bias=False, output_bias=False)
    layer = Layer(gqa, Dense(config.size("expansion_ratio", 4) * config.size("hidden_size"), gated=False))
    layers = (layer,) * config.size("num_hidden_layers", most=MAX_LAYERS)
    return decoder(
        config, name, layers, ropes=(Rope(0, 1.0, config.size("max_position_embeddings")),), tied=True
    )


def read_opt(config: Config, name: str) -> Model:
    """OPT: as GPT-2 with an MLP of its own width; the 350M's embedding is narrower, and its norms come after
    the blocks."""
    hidden, bias = config.size("hidden_size"), config.flag("enable_bias", True)
    narrow = config.size("word_embed_proj_dim", hidden)
    positions = config.size("max_position_embeddings") + OPT_OFFSET
    gqa = read_heads(config)._replace(qkv_bias=bias, output_bias=bias)
    affine = config.flag("layer_norm_elementwise_affine", True)
    last = config.flag("do_layer_norm_before", True) and not config.flag("_remove_final_layer_norm", False)
    norms = LAYER_NORMS if affine else BlockNorms(weight=False)
    model = _decoder(config, name, gqa, config.size("ffn_dim"), positions, norms, bias)
    tensors = [each for each in model.tensors if last or not each.name.startswith("model.norm.")]
    if narrow != hidden:
        ends = (EMBEDDING, HEAD)
        tensors = [
            each._replace(shape=(each.shape[0], narrow)) if each.name in ends else each for each in tensors
        ]
        tensors += [
            Tensor(f"model.project_{way}.weight", (narrow, hidden), model.dtype) for way in ("in", "out")
        ]
    return model._replace(tensors=tuple(tensors))


def read_heads(config: Config, kv_heads: int = 0) -> GQA:
    """Attention with biases whose heads make up the hidden size; without `kv_heads`, as many of them."""
    hidden, heads = config.size("hidden_size"), config.size("num_attention_heads")
    if hidden % heads:
        config.fault(f"hidden_size {hidden} is no multiple of num_attention_heads {heads}")
    return GQA(heads, kv_heads or heads, hidden // heads or 1, qkv_bias=True, output_bias=True)


def _decoder(
    config: Config,
    name: str,
    gqa: GQA,
    inner: int,
    positions: int,
    norms: BlockNorms = LAYER_NORMS,
    bias: bool = True,
) -> Model:
    """A tied decoder without rotation, with a table of positions if it has any."""
    layers = (Layer(gqa, Dense(inner, bias, gated=False)),) * config.size(
        "num_hidden_layers", most=MAX_LAYERS
    )
    no_rotation = Rope(0, 10000.0, config.size("max_position_embeddings"))
    model = decoder(config, name, layers, norms=norms, ropes=(no_rotation,), tied=True)
    if not positions:
        return model
    table = Tensor("model.embed_positions.weight", (positions, model.hidden_size), model.dtype, lookup=True)
    return model._replace(tensors=(*model.tensors, table))


def read_gpt_neox(config: Config, name: str) -> Model:
    """GPT-NeoX: biases everywhere, a quarter of each head rotated, untied."""
    hidden, heads = config.size("hidden_size"), config.size("num_attention_heads")
    head_dim = hidden // heads or 1
    config.flag("use_parallel_residual", True)
    bias = config.flag("attention_bias", True)
    gqa = GQA(heads, heads, head_dim, qkv_bias=bias, output_bias=bias)
    layer = Layer(gqa, Dense(config.size("intermediate_size"), bias=True, gated=False))
    layers = (layer,) * config.size("num_hidden_layers", most=MAX_LAYERS)
    dim, theta = int(head_dim * config.number("rotary_pct", 0.25)), config.number("rotary_emb_base", 10000.0)
    rope = read_rope(config, dim, config.size("max_position_embeddings"), theta=theta)
    return decoder(config, name, layers, norms=LAYER_NORMS, ropes=(rope,))


def read_falcon(config: Config, name: str) -> Model:
    """Falcon: one key-value head (7B) or a few (40B, 180B), attention and MLP side by side, an MLP of four
    times the width."""
    hidden, heads = config.size("hidden_size"), config.size("num_attention_heads")
    new, multi_query = config.flag("new_decoder_architecture", False), config.flag("multi_query", True)
    kv_heads = config.size("num_kv_heads", heads)
    if not new:
        kv_heads = 1 if multi_query else heads
    config.flag("alibi", False)  # Falcon-RW: slopes instead of rotation
    bias = config.flag("bias", False)
    gqa = GQA(heads, kv_heads, hidden // heads or 1, qkv_bias=bias, output_bias=bias)
    layer = Layer(gqa, Dense(config.size("ffn_hidden_size", 4 * hidden), bias, gated=False))
    layers = (layer,) * config.size("num_hidden_layers", most=MAX_LAYERS)
    in_turn = not config.flag("parallel_attn", True)
    two = config.size("num_ln_in_parallel_attn", 2 if new else 1) == 2 or in_turn  # Falcon2-11B has one
    norms = LAYER_NORMS if two else ONE_NORM
    config.values = {
        "max_position_embeddings": 2048,
        **config.values,
    }  # the class's; 180B's config leaves it out
    return decoder(config, name, layers, norms=norms, tied=True)


def read_chatglm(config: Config, name: str) -> Model:
    """ChatGLM2, 3 and GLM-4 of 2024: llama with RMSNorms, a gated MLP, biases of queries, keys and values,
    half of each head rotated."""
    if (
        config.flag("add_bias_linear", False)
        or not config.flag("rmsnorm", True)
        or config.flag("pre_seq_len", False)
    ):
        config.fault("add_bias_linear, LayerNorms and prefixes are not known for ChatGLM")
    config.used |= CHATGLM_OTHERS
    heads, width = config.size("num_attention_heads"), config.size("kv_channels")
    kv_heads = config.size("multi_query_group_num") if config.flag("multi_query_attention", False) else heads
    gqa = GQA(heads, kv_heads, width, qkv_bias=config.flag("add_qkv_bias", False))
    layers = (Layer(gqa, Dense(config.size("intermediate_size"))),) * config.size(
        "num_hidden_layers", most=MAX_LAYERS
    )
    config.values = {**config.values, "max_position_embeddings": config.size("seq_length")}
    ropes = (
        read_rope(
            config,
            width // 2 or 1,
            config.size("seq_length"),
            theta=10000.0 * config.number("rope_ratio", 1.0),
        ),
    )
    return decoder(config, name, layers, ropes=ropes)


CHATGLM_OTHERS = {
    "apply_query_key_layer_scaling",
    "apply_residual_connection_post_layernorm",
    "bias_dropout_fusion",
    "fp32_residual_connection",
    "interleaved_qkv",
    "kv_channels",
    "original_rope",
    "post_layer_norm",
    "prefix_projection",
    "quantization_bit",
}
"""Keys of ChatGLM's own code that change no tensor (quantization_bit is asked for at load time)."""


def read_qwen(config: Config, name: str) -> Model:
    """Qwen of 2023: llama with biases of queries, keys and values; intermediate_size counts gate and up
    together."""
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
    rope = read_rope(
        config, dim, config.size("max_position_embeddings"), theta=config.number("rotary_emb_base", 10000.0)
    )
    return decoder(config, name, layers, ropes=(rope,))


QWEN_OTHERS = (
    "bf16",
    "fp16",
    "fp32",
    "emb_dropout_prob",
    "attn_dropout_prob",
    "seq_length",
    "use_dynamic_ntk",
    "use_logn_attn",
    "use_flash_attn",
    "use_cache_kernel",
    "use_cache_quantization",
    "onnx_safe",
)
"""Keys of Qwen's own code that change no tensor."""

READERS: dict[str, Callable[[Config, str], Model]] = {
    "bloom": read_bloom,
    "chatglm": read_chatglm,
    "codegen": read_gptj,
    "falcon": read_falcon,
    "gpt2": read_gpt2,
    "gpt_bigcode": read_gpt2,
    "gpt_neo": read_gpt_neo,
    "gpt_neox": read_gpt_neox,
    "gptj": read_gptj,
    "mpt": read_mpt,
    "opt": read_opt,
    "qwen": read_qwen,
}
