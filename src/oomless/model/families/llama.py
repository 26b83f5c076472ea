"""Plain decoders with grouped-query attention: llama (DeepSeek-Coder, -LLM, R1-Distill-Llama), mistral,
qwen2, qwen3."""

from ..attention import GQA, Attention, Sliding
from ..config import MAX_LAYERS, Config
from ..feedforward import Dense
from ..model import Layer, Model, headless
from .decoder import decoder, read_heads


def read(config: Config, name: str) -> Model:
    """A llama-shaped model; the families differ in biases, in norms on queries and keys, and in windows."""
    num_layers = config.size("num_hidden_layers", most=MAX_LAYERS)
    attention = read_gqa(config)
    dense = Dense(config.size("intermediate_size"), config.flag("mlp_bias", False))
    attentions = read_windows(config, attention, num_layers)
    model = decoder(config, name, tuple(Layer(each, dense) for each in attentions))
    if attention.causal:
        return model
    config.used.update(("pooling", "num_labels"))
    return headless(model)


def read_gqa(config: Config) -> GQA:
    """The attention that a config of these families describes, by the rules of the family's own class."""
    family = config.word("model_type")
    bias, own_biases = config.flag("attention_bias", False), family in ("qwen2", "qwen2_moe")
    return GQA(
        *read_heads(config),
        qkv_bias=bias or own_biases,
        output_bias=bias and not own_biases,
        qk_norm=family in ("qwen3", "qwen3_moe"),
        causal=family != "llama_bidirec",  # made an encoder, which gives a vector
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
