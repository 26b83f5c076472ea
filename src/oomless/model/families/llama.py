"""Plain decoders with grouped-query attention: llama (DeepSeek-Coder, -LLM, R1-Distill-Llama), mistral,
qwen2, qwen3."""

from ..attention import GQA, Attention, Sliding
from ..config import MAX_LAYERS, Config
from ..feedforward import Dense
from ..model import Layer, Model
from .decoder import decoder


def read(config: Config, name: str) -> Model:
    """A llama-shaped model; the families differ in biases, in norms on queries and keys, and in windows."""
    num_layers = config.size("num_hidden_layers", most=MAX_LAYERS)
    attention = read_gqa(config)
    dense = Dense(config.size("intermediate_size"), config.flag("mlp_bias", False))
    attentions = read_windows(config, attention, num_layers)
    return decoder(config, name, tuple(Layer(each, dense) for each in attentions))


def read_gqa(config: Config) -> GQA:
    """The attention that a config of these families describes, by the rules of the family's own class."""
    family = config.word("model_type")
    hidden = config.size("hidden_size")
    heads = config.size("num_attention_heads")
    bias = config.flag("attention_bias", False)
    head_dim = config.size("head_dim", hidden // heads or 1)
    if not config.has("head_dim") and hidden % heads:
        config.fault(
            f"hidden_size {hidden} is no multiple of num_attention_heads {heads}, and head_dim is missing"
        )
    kv_heads = config.size("num_key_value_heads", heads)
    if heads % kv_heads and not config.faults:  # a missing one was said already
        config.fault(f"num_attention_heads {heads} is no multiple of num_key_value_heads {kv_heads}")
    return GQA(
        heads,
        kv_heads,
        head_dim,
        qkv_bias=bias or family in ("qwen2", "qwen2_moe"),
        output_bias=bias and family not in ("qwen2", "qwen2_moe"),
        qk_norm=family in ("qwen3", "qwen3_moe"),
    )


def read_windows(config: Config, attention: GQA, num_layers: int) -> list[Attention]:
    """Each layer's attention: mistral's window covers all layers, qwen's only those from max_window_layers
    on, if switched on."""
    config.used |= {"use_sliding_window", "max_window_layers"}  # they say nothing without a window
    if not config.has("sliding_window"):
        return [attention] * num_layers
    if config.word("model_type").startswith("qwen") and not config.flag("use_sliding_window", False):
        return [attention] * num_layers
    window = config.size("sliding_window")
    late = config.word("model_type").startswith("qwen")
    first = config.size("max_window_layers", num_layers, least=0) if late else 0
    return [Sliding(attention, window) if layer >= first else attention for layer in range(num_layers)]
