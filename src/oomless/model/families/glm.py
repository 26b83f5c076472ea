"""GLM-4.5 (grouped-query attention, experts, an MTP layer) and GLM-5 (DeepSeek-V3.2's attention, some layers
sharing an index)."""

from ..attention import DSA, GQA, Attention
from ..config import MAX_LAYERS, Config
from ..feedforward import Dense, FeedForward
from ..layer_weights import ends, stack_tensors
from ..model import Layer, Model
from .decoder import assembled
from .deepseek import mtp_tensors, read_experts
from .latent_attention import read_dsa
from .layer_types import read_layer_types
from .rope_and_storage import read_rope, read_storage


def read(config: Config, name: str) -> Model:
    """Dense layers first, then experts; GLM-4.5 stores copies of embedding and head with its MTP layer, GLM-5
    does not."""
    hidden, vocab = config.size("hidden_size"), config.size("vocab_size")
    num_layers = config.size("num_hidden_layers", most=MAX_LAYERS)
    max_positions = config.size("max_position_embeddings")
    sparse = config.word("model_type") == "glm_moe_dsa"
    attentions, rope_dim = read_latent(config, num_layers) if sparse else read_grouped(config, num_layers)
    num_dense = config.size("first_k_dense_replace", 0, least=0, most=MAX_LAYERS)
    if config.size("moe_layer_freq", 1) != 1:
        config.fault("moe_layer_freq other than 1 is not known in any release")
    for key in ("mlp_layer_types", "head_dim", "layer_types", "num_experts"):
        config.has(key)
    dense: FeedForward = Dense(config.size("intermediate_size"))
    moe = read_experts(config)._replace(router_biases=1)
    num_mtp = config.size("num_nextn_predict_layers", 0, least=0, most=MAX_LAYERS)
    stored, quantization = read_storage(config)
    tied = config.flag("tie_word_embeddings", False)
    config.check()
    layers = tuple(Layer(each, dense if index < num_dense else moe) for index, each in enumerate(attentions))
    first = attentions[0]
    draft = (Layer(first._replace(owns_indexer=True) if isinstance(first, DSA) else first, moe),) * num_mtp
    mtp = [t for t in mtp_tensors(draft, num_layers, hidden, vocab, stored) if not (sparse and t.copy_of)]
    tensors = (*ends(hidden, vocab, stored, tied), *stack_tensors(layers, hidden, vocab, stored), *mtp)
    if (
        not sparse
    ):  # GLM-4.5 keeps the router's bias in its own type (its repository is 2 B an element, models_index.csv)
        tensors = tuple(
            t._replace(format=stored.plain) if t.name.endswith("correction_bias") else t for t in tensors
        )
    ropes = (read_rope(config, rope_dim, max_positions),)
    return assembled(config, name, stored, quantization, layers, tensors, ropes, tied=tied, draft=draft)


def read_grouped(config: Config, num_layers: int) -> tuple[list[Attention], int]:
    """GLM-4.5: biases on query, key and value, norms on query and key in the large one, half of each head
    rotary."""
    head_dim = config.size("head_dim", config.size("hidden_size") // config.size("num_attention_heads") or 1)
    attention = GQA(
        config.size("num_attention_heads"),
        config.size("num_key_value_heads"),
        head_dim,
        qkv_bias=config.flag("attention_bias", False),
        qk_norm=config.flag("use_qk_norm", False),
    )
    rope_dim = int(head_dim * config.number("partial_rotary_factor", 1.0))
    return [attention] * num_layers, rope_dim


def read_latent(config: Config, num_layers: int) -> tuple[list[Attention], int]:
    """GLM-5: layers of type `shared` in indexer_types use the choice of an earlier `full` one and own no
    indexer."""
    full, types = read_dsa(config), ["full"] * num_layers
    if config.has("indexer_types"):
        types = read_layer_types(config, num_layers, ("full", "shared"), "indexer_types")
    return [full._replace(owns_indexer=kind == "full") for kind in types], full.mla.qk_rope_head_dim
