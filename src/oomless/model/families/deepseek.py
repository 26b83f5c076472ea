"""DeepSeek before V4: moe-16b (plain attention), V2, V3 and V3.2 with their MTP layer; Kimi-K2 has V3's
shape."""

from collections.abc import Iterator

from ..attention import GQA, Attention
from ..config import MAX_EXPERTS, MAX_LAYERS, Config
from ..feedforward import Dense, FeedForward, MoE
from ..layer_weights import PAIR, BlockNorms, block_tensors, ends, stack_tensors
from ..model import EMBEDDING, HEAD, Layer, Model, Tensor
from ..scope import Scope, Storage
from .decoder import assembled
from .latent_attention import read_dsa, read_mla
from .rope_and_storage import read_rope, read_storage


def read(config: Config, name: str) -> Model:
    """Layers before first_k_dense_replace are dense, the others are experts; MTP layers follow the last
    one."""
    config.values = {SPELLINGS.get(key, key): value for key, value in config.values.items()}
    hidden, vocab = config.size("hidden_size"), config.size("vocab_size")
    num_layers = config.size("num_hidden_layers", most=MAX_LAYERS)
    max_positions = config.size("max_position_embeddings")
    attention, rope_dim = read_attention(config)
    num_dense = config.size("first_k_dense_replace", 0, least=0, most=MAX_LAYERS)
    if config.size("moe_layer_freq", 1) != 1:
        config.fault("moe_layer_freq other than 1 is not known in any release")
    without_experts = config.word("model_type") in DENSE
    if without_experts:
        num_dense = num_layers
    dense: FeedForward = (
        Dense(config.size("intermediate_size"), has_mlp_bias(config)) if num_dense else Dense(1)
    )
    moe: FeedForward = dense if without_experts else read_experts(config)
    num_mtp = config.size("num_nextn_predict_layers", 0, least=0, most=MAX_LAYERS)
    stored, quantization = read_storage(config)
    tied = config.flag("tie_word_embeddings", without_experts)
    for key in (
        "intermediate_size",
        "scale_emb",
        "scale_depth",
        "dim_model_base",
        "embedding_initializer_range",
        "head_dim",
    ):
        config.has(key)
    config.check()
    layers = tuple(Layer(attention, dense if index < num_dense else moe) for index in range(num_layers))
    draft = (Layer(attention, moe),) * num_mtp
    tensors = (
        *ends(hidden, vocab, stored, tied),
        *stack_tensors(layers, hidden, vocab, stored),
        *mtp_tensors(draft, num_layers, hidden, vocab, stored),
    )
    if config.word("model_type") == "axk1":
        behind = Scope(tuple(range(num_dense, num_layers)), stored)
        tensors = (*tensors, behind.tensor("mlp.post_mlp_layernorm.weight", (hidden,), "plain"))
    ropes = (read_rope(config, rope_dim, max_positions),)
    return assembled(config, name, stored, quantization, layers, tensors, ropes, tied=tied, draft=draft)


SPELLINGS = {"num_experts": "n_routed_experts", "num_shared_experts": "n_shared_experts"}
"""Of Sarvam's config."""

DENSE = ("youtu", "minicpm3")
"""Latent attention without experts; both tie head and embedding."""


def read_attention(config: Config) -> tuple[Attention, int]:
    """The attention and the width of its rotary part."""
    heads = config.size("num_attention_heads")
    family = config.word("model_type")
    if family == "deepseek" or not config.flag("use_mla", True):
        hidden = config.size("hidden_size")
        if hidden % heads:
            config.fault(f"hidden_size {hidden} is no multiple of num_attention_heads {heads}")
        kv_heads = config.size("num_key_value_heads", heads)
        for key in ("kv_lora_rank", "q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"):
            config.size(key, 0, least=0)  # present and without meaning where MLA is off
        return GQA(heads, kv_heads, hidden // heads or 1), hidden // heads or 1
    config.number("partial_rotary_factor", 1.0)  # of the rotary part, which is rotated whole
    if family == "deepseek_v32":
        dsa = read_dsa(config)
        return dsa, dsa.mla.qk_rope_head_dim
    mla = read_mla(config)
    return mla, mla.qk_rope_head_dim


def read_experts(config: Config) -> MoE:
    """Routed and shared experts; noaux_tc routers have a bias of one F32 an expert.

    V3's class has it always, and transformers 5 no longer writes the key.
    """
    experts = config.size("n_routed_experts", most=MAX_EXPERTS)
    active = config.size("num_experts_per_tok", most=MAX_EXPERTS)
    width = config.size("moe_intermediate_size")
    usual = "noaux_tc" if config.word("model_type") in CORRECTED else "greedy"
    if active > experts:
        config.fault(f"num_experts_per_tok {active} is more than the {experts} experts there are")
    chosen, groups = (config.size(key, 1, least=0) or 1 for key in ("topk_group", "n_group"))
    return MoE(
        experts,
        active,
        width,
        width * config.size("n_shared_experts", 0, least=0, most=MAX_EXPERTS),
        router_biases=int(config.word("topk_method", usual) == "noaux_tc"),
        shared_bias=has_mlp_bias(config),
        group_share=min(1.0, chosen / groups),
    )


CORRECTED = ("axk1", "deepseek_v3", "sarvam_mla")
"""Families whose routers always have a bias."""


def has_mlp_bias(config: Config) -> bool:
    """Whether gate, up and down have biases: V3's class and those after it have none, whatever a config
    says."""
    return config.word("model_type") in MLP_BIAS and config.flag("mlp_bias", False)


MLP_BIAS = ("deepseek_v2", "deepseek_v4", "minicpm3")
"""Families whose classes in transformers make biases by mlp_bias."""


def mtp_tensors(
    draft: tuple[Layer, ...],
    first: int,
    hidden: int,
    vocab: int,
    stored: Storage,
    norms: BlockNorms = PAIR,
) -> Iterator[Tensor]:
    """MTP layers: one block, eh_proj (2h x h, unquantised), three norms, and stored copies of embedding and
    head.

    Source: DeepSeek-V3 README_WEIGHTS.md; counts by models_index.csv.
    """
    if not draft:
        return
    scope = Scope(tuple(range(first, first + len(draft))), stored, part="mtp")
    yield from block_tensors(draft[0], hidden, vocab, scope, norms)
    yield scope.tensor("eh_proj.weight", (hidden, 2 * hidden), "plain")
    for norm in ("enorm", "hnorm", "shared_head.norm"):
        yield scope.tensor(f"{norm}.weight", (hidden,), "plain")
    yield scope.tensor("embed_tokens.weight", (vocab, hidden), "plain")._replace(copy_of=EMBEDDING)
    yield scope.tensor("shared_head.head.weight", (vocab, hidden), "plain")._replace(copy_of=HEAD)
