"""Mixtures of experts of 2024 whose configs have words of their own: DBRX, Grok-1 and -2, Arctic.

Counts of the catalogue's are the hub's; each class is the one that its publisher put beside the weights, as
vLLM has it (models/dbrx.py, grok1.py, arctic.py of 0.10).
"""

from ..config import MAX_EXPERTS, MAX_LAYERS, Config
from ..feedforward import MoE
from ..layer_weights import PAIR
from ..model import Layer, Model
from .decoder import decoder
from .dense import AROUND, Variant, read_gqa
from .pre_llama import NAMES

WITHOUT_EFFECT = (
    "attn_output_multiplier",
    "attn_temperature_len",
    "enable_expert_tensor_parallelism",
    "global_attn_every_n",
    "moe_eval_capacity_factor",
    "moe_min_capacity",
    "moe_token_dropping",
    "moe_train_capacity_factor",
    "output_multiplier_scale",
    "embedding_multiplier_scale",
    "max_attn_value",
    "router_logit_softcapping",
    "sliding_window_size",
)


def read(config: Config, name: str) -> Model:
    """Layers of attention and experts, four norms a layer in Grok."""
    family = config.word("model_type")
    config.used |= set(WITHOUT_EFFECT)
    moe = read_dbrx(config) if family == "dbrx" else read_experts(config)
    if moe.num_active_experts > moe.num_experts:
        config.fault(
            f"{moe.num_active_experts} experts a token are more than the {moe.num_experts} there are"
        )
    layer = Layer(read_gqa(config, Variant()), moe)
    layers = (layer,) * config.size("num_hidden_layers", most=MAX_LAYERS)
    around = AROUND if family in ("grok-1", "git") else PAIR
    return decoder(config, name, layers, norms=around, tied=family == "grok-1")


def read_dbrx(config: Config) -> MoE:
    """Rename what DBRX calls otherwise, lift what it says of attention, and return its experts."""
    config.values = {NAMES.get(key, key): value for key, value in config.values.items()}
    attention, experts = config.section("attn_config"), config.section("ffn_config")
    theta = attention.values.get("rope_theta", 10000.0)
    config.values |= {"num_key_value_heads": attention.size("kv_n_heads"), "rope_theta": theta}
    return MoE(
        experts.size("moe_num_experts", most=MAX_EXPERTS),
        experts.size("moe_top_k", most=MAX_EXPERTS),
        experts.size("ffn_hidden_size"),
    )


def read_experts(config: Config) -> MoE:
    """Experts beside which a dense block runs: Arctic's is as wide as the hidden state, Grok-2's is said."""
    inner = config.size("intermediate_size")
    beside = 0
    if config.flag("parallel_attn_mlp_res", False) and config.flag("use_residual", True):
        beside = config.size("hidden_size")
    if config.flag("residual_moe", False):
        beside = inner
    if config.size("moe_layer_frequency", 1) != 1:
        config.fault("moe_layer_frequency is not 1, which no published config of Arctic has")
    return MoE(
        config.size("num_experts" if config.has("num_experts") else "num_local_experts", most=MAX_EXPERTS),
        config.size("num_experts_per_tok", most=MAX_EXPERTS),
        config.size("moe_intermediate_size", inner),
        dense_width=beside,
    )
