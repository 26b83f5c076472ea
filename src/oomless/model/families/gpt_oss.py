"""gpt-oss: every other layer slides over 128 tokens, heads have sinks, experts are MXFP4 with biases."""

from ..attention import GQA, Attention, Sliding
from ..config import MAX_EXPERTS, MAX_LAYERS, Config
from ..feedforward import MoE
from ..model import Layer, Model
from ..storage import FP4_E8M0
from ..weights import Storage, ends, stack_tensors
from .rope_and_storage import read_dtype, read_rope


def read(config: Config, name: str) -> Model:
    """The published checkpoints keep all but the experts in BF16."""
    hidden, vocab = config.size("hidden_size"), config.size("vocab_size")
    num_layers = config.size("num_hidden_layers", most=MAX_LAYERS)
    max_positions = config.size("max_position_embeddings")
    gqa = GQA(
        config.size("num_attention_heads"),
        config.size("num_key_value_heads"),
        config.size("head_dim"),
        qkv_bias=True,
        output_bias=True,
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
    types = config.values.get("layer_types") if config.has("layer_types") else None
    if not isinstance(types, list) or len(types) != num_layers:
        config.fault(f"layer_types is no list of {num_layers} kinds")
        types = ["full_attention"] * num_layers
    window = config.size("sliding_window")
    tied = config.flag("tie_word_embeddings", False)
    config.check()
    attentions: list[Attention] = [
        Sliding(gqa, window) if kind == "sliding_attention" else gqa for kind in types
    ]
    layers = tuple(Layer(each, moe) for each in attentions)
    stored = Storage(plain, plain, FP4_E8M0 if method else plain)
    return Model(
        name=name,
        family=config.word("model_type"),
        hidden_size=hidden,
        vocab_size=vocab,
        max_positions=max_positions,
        dtype=plain,
        quantization=method,
        layers=layers,
        tensors=(*ends(hidden, vocab, stored, tied), *stack_tensors(layers, hidden, vocab, stored)),
        ropes=(read_rope(config, gqa.head_dim, max_positions),),
        tied=tied,
    )
