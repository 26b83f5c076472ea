"""gpt-oss: every other layer slides over 128 tokens, heads have sinks, experts are MXFP4 with biases."""

from ..attention import GQA
from ..config import MAX_EXPERTS, MAX_LAYERS, Config
from ..feedforward import MoE
from ..layer_weights import ends, stack_tensors
from ..model import Layer, Model
from ..scope import Storage
from ..storage import FP4_E8M0
from .decoder import assembled
from .layer_types import read_layer_types, windowed
from .rope_and_storage import read_dtype, read_rope


def read(config: Config, name: str) -> Model:
    """The published checkpoints keep all but the experts in BF16."""
    hidden, vocab = config.size("hidden_size"), config.size("vocab_size")
    num_layers = config.size("num_hidden_layers", most=MAX_LAYERS)
    max_positions = config.size("max_position_embeddings")
    bias = config.flag("attention_bias", True)
    gqa = GQA(
        config.size("num_attention_heads"),
        config.size("num_key_value_heads"),
        config.size("head_dim"),
        qkv_bias=bias,
        output_bias=bias,
        sinks=True,
    )
    moe = MoE(
        config.size("num_local_experts", most=MAX_EXPERTS),
        config.size("num_experts_per_tok", most=MAX_EXPERTS),
        config.size("intermediate_size"),
        router_linear_bias=True,
        expert_bias=True,
    )
    plain = read_dtype(config)
    quantization = config.section("quantization_config")
    method = quantization.word("quant_method", "")
    if method not in ("", "mxfp4"):
        config.fault(f"quant_method {method!r} is not known for gpt-oss")
    quantization.has("modules_to_not_convert")
    attentions = windowed(read_layer_types(config, num_layers), gqa, config.size("sliding_window"))
    tied = config.flag("tie_word_embeddings", False)
    config.check()
    layers = tuple(Layer(each, moe) for each in attentions)
    stored = Storage(plain, plain, FP4_E8M0 if method else plain)
    tensors = (*ends(hidden, vocab, stored, tied), *stack_tensors(layers, hidden, vocab, stored))
    ropes = (read_rope(config, gqa.head_dim, max_positions),)
    return assembled(config, name, stored, method, layers, tensors, ropes, tied=tied)
