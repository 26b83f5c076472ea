"""Mixtures of experts over grouped-query attention: mixtral, qwen2_moe, qwen3_moe."""

from ..config import MAX_EXPERTS, MAX_LAYERS, Config
from ..feedforward import Dense, FeedForward, MoE
from ..model import Layer, Model
from .llama import decoder, read_gqa, read_windows


def read(config: Config, name: str) -> Model:
    """A decoder whose feed-forward blocks are experts, but for the layers that the config keeps dense."""
    num_layers = config.size("num_hidden_layers", most=MAX_LAYERS)
    attentions = read_windows(config, read_gqa(config), num_layers)
    moe = read_experts(config)
    dense: FeedForward = moe
    step, dense_layers = 1, frozenset[int]()
    if config.word("model_type") != "mixtral":
        step = config.size("decoder_sparse_step", 1)
        dense_layers = frozenset(config.sizes("mlp_only_layers")) if config.has("mlp_only_layers") else dense_layers
        config.has("intermediate_size")  # always stored, without meaning unless some layers are dense
        if step > 1 or dense_layers:
            dense = Dense(config.size("intermediate_size"))
    layers = tuple(
        Layer(attention, dense if index in dense_layers or (index + 1) % step else moe) for index, attention in enumerate(attentions)
    )
    return decoder(config, name, layers)


def read_experts(config: Config) -> MoE:
    """The experts under the names that each family gives their number and width."""
    family = config.word("model_type")
    active = config.size("num_experts_per_tok", most=MAX_EXPERTS)
    if family == "mixtral":
        experts = config.size("num_local_experts", most=MAX_EXPERTS)
        moe = MoE(experts, active, config.size("intermediate_size"))
    else:
        experts = config.size("num_experts", most=MAX_EXPERTS)
        shared = config.size("shared_expert_intermediate_size") if family == "qwen2_moe" else 0
        moe = MoE(experts, active, config.size("moe_intermediate_size"), shared, shared_gate=bool(shared))
    if active > experts:
        config.fault(f"num_experts_per_tok {active} is more than the {experts} experts there are")
    return moe
