"""The kinds of attention, and the weights that each one has. The list is closed: a new kind must be met by every `match`."""

from typing import Literal, NamedTuple


class GQA(NamedTuple):
    """Grouped-query attention; multi-head when num_kv_heads == num_heads, multi-query when it is 1."""

    num_heads: int
    num_kv_heads: int
    head_dim: int
    qkv_bias: bool = False
    output_bias: bool = False
    qk_norm: bool = False
    sinks: bool = False
    kind: Literal["gqa"] = "gqa"


class Sliding(NamedTuple):
    """Grouped-query attention that sees only the last `window` tokens."""

    inner: GQA
    window: int
    kind: Literal["sliding"] = "sliding"


class MLA(NamedTuple):
    """Multi-head latent attention (DeepSeek-V2): the cache holds one latent of kv_lora_rank and one rotary key a token."""

    num_heads: int
    q_lora_rank: int
    """0: queries come straight from the hidden state."""
    kv_lora_rank: int
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int
    kind: Literal["mla"] = "mla"

    @property
    def latent_dim(self) -> int:
        """Elements that the cache keeps a token and layer: 512 + 64 in every DeepSeek release."""
        return self.kv_lora_rank + self.qk_rope_head_dim


class DSA(NamedTuple):
    """MLA behind a lightning indexer that picks the tokens to attend to (DeepSeek-V3.2)."""

    mla: MLA
    index_heads: int
    index_head_dim: int
    index_topk: int
    owns_indexer: bool = True
    """False in GLM-5.2's `shared` layers, which use the choice of an earlier layer."""
    kind: Literal["dsa"] = "dsa"


class V4(NamedTuple):
    """DeepSeek-V4: a sliding window, and for ratio > 0 a cache compressed by that ratio; keys are values, one head."""

    num_heads: int
    head_dim: int
    rope_dim: int
    q_lora_rank: int
    o_groups: int
    o_lora_rank: int
    window: int
    ratio: int
    """0: window alone; 4: CSA, with an indexer; 128: HCA."""
    index_heads: int
    index_head_dim: int
    index_topk: int
    kind: Literal["v4"] = "v4"

    @property
    def has_indexer(self) -> bool:
        return self.ratio == CSA_RATIO


class V41(NamedTuple):
    """DeepSeek-V4.1: layers with ratio > 0 read a compressed cache that a source layer owns."""

    num_heads: int
    head_dim: int
    rope_dim: int
    q_lora_rank: int
    o_groups: int
    o_lora_rank: int
    window: int
    ratio: int
    index_heads: int
    index_head_dim: int
    index_topk: int
    owns_cache: bool
    owns_index: bool
    kind: Literal["v41"] = "v41"


class Linear(NamedTuple):
    """Linear attention (gated delta rule): a state of fixed size a sequence instead of a cache."""

    num_key_heads: int
    num_value_heads: int
    key_head_dim: int
    value_head_dim: int
    conv_kernel: int
    kind: Literal["linear"] = "linear"


Attention = GQA | Sliding | MLA | DSA | V4 | V41 | Linear

CSA_RATIO = 4
"""The compression of V4's layers that carry an indexer."""
