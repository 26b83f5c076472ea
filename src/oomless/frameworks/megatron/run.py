"""One pre-training run of Megatron-LM, as far as memory depends on it."""

from typing import Literal, NamedTuple

Family = Literal["gpt", "bert", "t5", "hybrid"]


class Latent(NamedTuple):
    """Multi-latent attention: ranks and widths."""

    q_rank: int
    """0: queries come straight from the hidden state."""
    kv_rank: int
    qk_dim: int
    rope_dim: int
    v_dim: int


class MegatronExperts(NamedTuple):
    """Routed and shared experts."""

    num: int
    topk: int
    width: int
    shared_width: int
    grouped: bool
    dispatcher: str
    router_float32: bool
    latent: int
    capacity_factor: float
    """Rows of an expert over the mean at most; 0: tokens are never dropped."""
    routing: tuple[str, ...]
    """Conditions of facts/engines.csv: what evens out what experts are given."""
    loaded: bool = False
    """Weights are loaded, so that the routing has settled; else it is that of random ones."""


class Mamba(NamedTuple):
    """State-space layers of a hybrid."""

    num_heads: int
    head_dim: int
    state: int
    groups: int

    @property
    def inner(self) -> int:
        return self.num_heads * self.head_dim


class Megatron(NamedTuple):
    """One pre-training run of Megatron-LM, as far as memory depends on it."""

    family: Family
    kinds: str
    """One letter a decoder layer: t attention and MLP, e attention and experts; hybrids: M * - E as their
    pattern."""
    encoder_layers: int
    hidden: int
    heads: int
    query_groups: int
    head_dim: int
    ffn: int
    gated: bool
    rms_norm: bool
    bias: bool
    qkv_bias: bool
    qk_norm: bool
    tied: bool
    position: str
    max_positions: int
    padded_vocab: int
    binary_head: bool
    latent: Latent | None
    experts: MegatronExperts | None
    mamba: Mamba | None
    mtp: int
    world_size: int
    tp: int
    pp: int
    cp: int
    ep: int
    etp: int
    virtual: int
    layout: str
    first_layers: int | None
    last_layers: int | None
    count_embedding: bool
    count_loss: bool
    group_size: int
    sequence_parallel: bool
    micro_batch: int
    global_batch: int
    seq_len: int
    decoder_seq_len: int
    hidden_dropout: float
    attention_dropout: float
    dtype: Literal["bf16", "fp16", "fp32"]
    grad_bytes: int
    master_bytes: int
    """Of a weight's own copy in the optimizer: 4, or 2 under --use-precision-aware-optimizer."""
    moment_bytes: tuple[int, int]
    """Of Adam's two moments."""
    copied_bytes: int
    """Of F32 copies that the step makes of a narrow state."""
    distributed: bool
    instances: int
    fsdp: str
    """"": none; else Megatron-FSDP's sharding strategy."""
    overlap_gather: bool
    bucket_size: int | None
    pad_buckets: bool
    optimizer: str
    muon_layout: bool
    """Muon's distributed optimizer with a layout of parameters of its own."""
    fused_wgrad: bool
    deferred_wgrads: int | None
    """--defer-embedding-wgrad-compute: how many micro-batches wait; 0: all of them; None: none."""
    local: bool
    attention: str
    fused_loss: bool
    loss_kernel: str
    """Of a fused loss: native, compiled functions of Megatron's; te, a kernel of Transformer Engine."""
    fused_bias_gelu: bool
    fused_weighting: bool
    """The activation of experts is one kernel with the router's probabilities."""
    fused_rope: bool
    fp8: str
    fp8_recipe: str
    fp8_params: bool
    fp8_inputs: bool
    """What a gated activation reads is kept in FP8."""
    recompute: str
    recompute_method: str
    recompute_layers: int
    recompute_modules: tuple[str, ...]
    offload: tuple[str, ...]
    offload_layers: int
    """The first layers, whose activations wait in host memory for their backward."""
    comm_overlap: bool
    graphs: str
    moe_overlap: bool
    full_scores: bool
    """Local attention without the fused softmax."""
    warnings: tuple[str, ...]
    defaults: tuple[str, ...]
    """Arguments that memory depends on and that were not given, with the value taken."""
    dualpipe: bool = False
    """Micro-batches enter the pipeline at both ends, and each rank holds the layers of two stages: no
    argument of Megatron-LM, but of DeepSeek-V3's own run (arXiv 2412.19437)."""

    @property
    def dp(self) -> int:
        return self.world_size // (self.tp * self.pp * self.cp)

    @property
    def expert_dp(self) -> int:
        return self.world_size // (self.pp * self.ep * self.etp)

    @property
    def num_microbatches(self) -> int:
        return max(1, self.global_batch // (self.micro_batch * self.dp))

    @property
    def without_step(self) -> "Megatron":
        """The run with the least step: what parameters and their states follow from, whatever passes through
        them."""
        return self._replace(
            micro_batch=1,
            global_batch=1,
            seq_len=1,
            decoder_seq_len=1,
            recompute="",
            recompute_method="",
            recompute_layers=0,
            recompute_modules=(),
            offload_layers=0,
            warnings=(),
            defaults=(),
        )

    @property
    def tokens(self) -> int:
        """Tokens of a micro-batch on a context-parallel rank."""
        return self.seq_len * self.micro_batch // self.cp

    @property
    def num_bytes(self) -> int:
        """Bytes of an activation."""
        return 4 if self.dtype == "fp32" else 2
