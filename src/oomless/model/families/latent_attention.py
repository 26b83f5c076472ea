"""Multi-head latent attention, as every config since DeepSeek-V2 spells it."""

from ..attention import DSA, MLA
from ..config import Config


def read_mla(config: Config, *, gated: bool = False) -> MLA:
    """Return the latent attention of a config. num_key_value_heads is stored and has no meaning: all heads
    share one latent.

    >>> sizes = {"kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128}
    >>> read_mla(Config({"num_attention_heads": 128, **sizes}, "deepseek-v3")).latent_dim
    576
    """
    heads = config.size("num_attention_heads")
    config.size("num_key_value_heads", heads)
    return MLA(
        heads,
        config.size("q_lora_rank", 0, least=0),
        config.size("kv_lora_rank"),
        config.size("qk_nope_head_dim"),
        config.size("qk_rope_head_dim", least=0),
        config.size("v_head_dim"),
        gated=gated,
        bias=config.flag("attention_bias", False),
    )


def read_dsa(config: Config) -> DSA:
    """Return MLA with DeepSeek-V3.2's indexer, whose queries come from the latent of the queries: it must be
    there."""
    config.size("q_lora_rank")
    return DSA(
        read_mla(config),
        config.size("index_n_heads"),
        config.size("index_head_dim"),
        config.size("index_topk"),
    )
