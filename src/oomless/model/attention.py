"""The kinds of attention, and the weights that each one has. The list is closed: a new kind must be met by
every `match`."""

from typing import Literal

from ..records import Record


class GQA(Record):
    """Grouped-query attention; multi-head when num_kv_heads == num_heads, multi-query when it is 1."""

    num_heads: int
    num_kv_heads: int
    head_dim: int
    qkv_bias: bool = False
    output_bias: bool = False
    qk_norm: bool = False
    sinks: bool = False
    wide_norm: bool = False
    """The norms cover all heads of query and of key (OLMo-2, MiniMax) or have a weight for each (Cohere), not
    one head."""
    gated: bool = False
    """Queries come with a gate of their own size (Qwen3-Next)."""
    wide_gate: bool = False
    """The same gate as a product of its own, which quantisation may leave out (Muse Glimmer)."""
    value_dim: int = 0
    """Width of a value head where it differs from a key's; 0: the same."""
    cross: bool = False
    """Keys and values come from an image, with a gate for each block (Llama-3.2-Vision)."""
    shares_values: bool = False
    """Keys serve as values: no value projection (Gemma-4's full layers)."""
    borrows_cache: bool = False
    """Reads the cache of an earlier layer and stores nothing itself (Gemma-3n, Gemma-4 E)."""
    head_gate: bool = False
    """A gate of one number a head (Step 3.5, Laguna)."""
    index_heads: int = 0
    """Heads of an indexer that picks blocks of the cache, with one key of `index_dim` a token (MiniMax-M3);
    0: none."""
    index_dim: int = 0
    index_pool: int = 1
    """Tokens whose keys it pools to one (Qwen3.8-Flash-Next)."""
    causal: bool = True
    """False: tokens see those behind them too, and nothing is cached (encoders)."""
    rotary: bool = True
    """False: nothing is rotated (encoders with a table of positions)."""
    packed: bool = False
    """Queries, keys and values are views of one product, which values keep whole in a fused
    kernel (ModernBERT)."""
    kind: Literal["gqa"] = "gqa"

    @property
    def core(self) -> "GQA":
        """The attention itself."""
        return self

    @property
    def cache_dim(self) -> int:
        """Elements that one key-value head keeps a token: its key and its value."""
        return (
            0 if self.borrows_cache or not self.causal else self.head_dim + (self.value_dim or self.head_dim)
        )


class Sliding(Record):
    """Grouped-query attention that sees only the last `window` tokens."""

    inner: GQA
    window: int
    chunked: bool = False
    """Chunks of `window` tokens instead of a window that moves (Llama-4)."""
    kind: Literal["sliding"] = "sliding"

    @property
    def core(self) -> GQA:
        """The attention that sees the window."""
        return self.inner


class MLA(Record):
    """Multi-head latent attention (DeepSeek-V2): the cache holds one latent of kv_lora_rank and one rotary
    key a token."""

    num_heads: int
    q_lora_rank: int
    """0: queries come straight from the hidden state."""
    kv_lora_rank: int
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int
    gated: bool = False
    """A gate of the size of its output (Kimi-K3)."""
    bias: bool = False
    """attention_bias: on the projections that come straight from the hidden state or go back to it; no
    published release has it."""
    kind: Literal["mla"] = "mla"

    @property
    def core(self) -> "MLA":
        """The attention itself."""
        return self

    @property
    def latent_dim(self) -> int:
        """Elements that the cache keeps a token and layer: 512 + 64 in every DeepSeek release."""
        return self.kv_lora_rank + self.qk_rope_head_dim


class DSA(Record):
    """MLA behind a lightning indexer that picks the tokens to attend to (DeepSeek-V3.2)."""

    mla: MLA
    index_heads: int
    index_head_dim: int
    index_topk: int
    owns_indexer: bool = True
    """False in GLM-5.2's `shared` layers, which use the choice of an earlier layer."""
    index_pool: int = 1
    """Tokens whose keys the indexer pools to one (GLM-5.3-Flash)."""
    kind: Literal["dsa"] = "dsa"

    @property
    def core(self) -> MLA:
        """The attention behind the indexer."""
        return self.mla


class V4(Record):
    """DeepSeek-V4: a sliding window, and for ratio > 0 a cache compressed by that ratio; keys are values, one
    head."""

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
    def core(self) -> "V4":
        """The attention itself."""
        return self

    @property
    def has_indexer(self) -> bool:
        return self.ratio == CSA_RATIO


class V41(Record):
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

    @property
    def core(self) -> "V41":
        """The attention itself."""
        return self


class Linear(Record):
    """A state of fixed size a sequence instead of a cache: gated delta rule (GDN, KDA), Mamba, lightning
    attention (without convolution: its kernel is 1), or a short convolution alone.

    Mamba-2's groups are key heads of its state size, its heads are value heads; Mamba-1's channels are value
    heads of width 1 and its state size a key's; a short convolution has values alone.
    """

    num_key_heads: int
    num_value_heads: int
    key_head_dim: int
    value_head_dim: int
    conv_kernel: int
    variant: Literal["gdn", "mamba2", "short_conv", "kda", "mamba1", "lightning"] = "gdn"
    conv_bias: bool = False
    state_bits: int = 0
    """Bits of an element of the recurrent state where the config fixes them; 0: the model's own type."""
    rank: int = 0
    """Rank of the step's projection (Mamba-1), or of decay and gate (KDA; 0: the decay is one matrix)."""
    full_gate: bool = False
    """KDA: the output's gate is one matrix instead of two of `rank`."""
    inner_norms: bool = False
    """Mamba-1: norms on step, B and C (Jamba); lightning attention: norms on queries and keys."""
    plain_norm: bool = True
    """Mamba-2: a norm before the output projection."""
    looks_up: bool = False
    """N-grams are looked up before it, with a state of their own (Qwen3.8-Flash-Next)."""
    kind: Literal["linear"] = "linear"

    @property
    def core(self) -> "Linear":
        """The attention itself."""
        return self

    @property
    def key_width(self) -> int:
        return self.num_key_heads * self.key_head_dim

    @property
    def value_width(self) -> int:
        return self.num_value_heads * self.value_head_dim

    @property
    def conv_width(self) -> int:
        """Channels of the convolution: queries, keys and values (Mamba-2: C, B and x).

        >>> Linear(16, 48, 128, 128, 4).conv_width  # Qwen3.5-27B
        10240
        """
        return 2 * self.key_width + self.value_width

    @property
    def state_size(self) -> int:
        """Elements of the recurrent state.

        >>> Linear(16, 48, 128, 128, 4).state_size
        786432
        """
        return self.num_value_heads * self.value_head_dim * self.key_head_dim


Attention = GQA | Sliding | MLA | DSA | V4 | V41 | Linear

CSA_RATIO = 4
"""The compression of V4's layers that carry an indexer."""
