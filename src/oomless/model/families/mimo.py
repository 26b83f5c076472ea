"""MiMo: a Qwen-2-shaped decoder with an MTP layer (7B); windows, value heads of their own width and experts
(V2-Flash)."""

from collections.abc import Iterator

from ..attention import GQA, Attention, Sliding
from ..config import MAX_LAYERS, Config
from ..feedforward import Dense, FeedForward
from ..layer_weights import block_tensors
from ..model import Layer, Model, Rope, Tensor
from ..scope import Scope, Storage
from .decoder import decoder
from .deepseek import read_experts
from .dense import Variant, read_gqa
from .rope_and_storage import read_rope, read_storage, rotary_dim


def read(config: Config, name: str) -> Model:
    """The 7B, or V2-Flash."""
    return read_7b(config, name) if config.word("model_type") == "mimo" else read_v2(config, name)


def read_7b(config: Config, name: str) -> Model:
    """The windows of its config are switched off; MTP layers are stored behind the last layer."""
    num_layers = config.size("num_hidden_layers", most=MAX_LAYERS)
    if config.flag("use_sliding_window", False):
        config.fault("use_sliding_window is on, which no published config of this family has")
    config.used |= {"sliding_window", "max_window_layers"}
    layer = Layer(read_gqa(config, Variant()), Dense(config.size("intermediate_size")))
    num_mtp = config.size("num_nextn_predict_layers", 0, least=0, most=MAX_LAYERS)
    model = decoder(config, name, (layer,) * num_layers)
    stored, _ = read_storage(config)
    draft = (layer,) * num_mtp
    return model._replace(draft=draft, tensors=(*model.tensors, *mtp_tensors(draft, model, stored)))


def mtp_tensors(draft: tuple[Layer, ...], model: Model, stored: Storage) -> Iterator[Tensor]:
    """An MTP layer: one block, a projection of token and hidden state (2h x h), three norms."""
    if not draft:
        return
    first, hidden = len(model.layers), model.hidden_size
    scope = Scope(tuple(range(first, first + len(draft))), stored, "model.mtp_layers.{}.", "mtp")
    yield from block_tensors(draft[0], hidden, model.vocab_size, scope)
    yield scope.tensor("input_proj.weight", (hidden, 2 * hidden), "plain")
    for norm in ("token_layernorm", "hidden_layernorm", "final_layernorm"):
        yield scope.tensor(f"{norm}.weight", (hidden,), "plain")


def read_v2(config: Config, name: str) -> Model:
    """V2-Flash: hybrid_layer_pattern marks the layers with windows, moe_layer_freq those with experts."""
    num_layers = config.size("num_hidden_layers", most=MAX_LAYERS)
    max_positions = config.size("max_position_embeddings")
    slides, sparse = config.sizes("hybrid_layer_pattern", most=1), config.sizes("moe_layer_freq", most=1)
    if len(slides) != num_layers or len(sparse) != num_layers:
        config.fault(f"hybrid_layer_pattern and moe_layer_freq are not {num_layers} marks each")
        slides = sparse = (0,) * num_layers
    bias = config.flag("attention_bias", False)
    full = GQA(
        config.size("num_attention_heads"),
        config.size("num_key_value_heads"),
        config.size("head_dim"),
        qkv_bias=bias,
        sinks=config.flag("add_full_attention_sink_bias", False),
        value_dim=config.size("v_head_dim"),
    )
    local = GQA(
        config.size("swa_num_attention_heads"),
        config.size("swa_num_key_value_heads"),
        config.size("swa_head_dim"),
        qkv_bias=bias,
        sinks=config.flag("add_swa_attention_sink_bias", False),
        value_dim=config.size("swa_v_head_dim"),
    )
    window = config.size("sliding_window")
    for key in ("attention_chunk_size", "attention_value_scale", "layernorm_epsilon", "sliding_window_size"):
        config.has(key)
    dense: FeedForward = Dense(config.size("intermediate_size"))
    moe = read_experts(config)
    kinds: list[Attention] = [Sliding(local, window) if mark else full for mark in slides]
    layers = tuple(Layer(kind, moe if mark else dense) for kind, mark in zip(kinds, sparse, strict=True))
    rope = read_rope(config, rotary_dim(config, full.head_dim), max_positions)
    windows = Rope(rope.dim, config.number("swa_rope_theta", 10000.0), max_positions)
    model = decoder(config, name, layers, ropes=(rope, windows))
    return model._replace(
        warnings=(*model.warnings, "MTP layers, which no key of this config counts, are not counted")
    )
