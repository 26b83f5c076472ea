"""The kinds of feed-forward block. The list is closed."""

from typing import Literal

from ..records import Record


class Dense(Record):
    """SwiGLU: gate and up (ff x h), down (h x ff); without a gate, up and down."""

    intermediate_size: int
    """0: the layer has no feed-forward block (Nemotron-H pairs of mixers)."""
    bias: bool = False
    gated: bool = True
    kind: Literal["dense"] = "dense"

    @property
    def num_active_experts(self) -> int:
        return 0


class MoE(Record):
    """Routed experts, of which a token visits `num_active_experts`, and shared ones that every token
    visits."""

    num_experts: int
    num_active_experts: int
    expert_width: int
    shared_width: int = 0
    """Width of all shared experts together; 0: none."""
    shared_gate: bool = False
    router_biases: int = 0
    """F32 vectors of one entry an expert that correct the router's scores (noaux_tc)."""
    router_linear_bias: bool = False
    expert_bias: bool = False
    hash_routed: bool = False
    """V4's first layers choose experts by a table over token ids instead of a bias."""
    gated: bool = True
    dense_width: int = 0
    """Width of a dense block that every token passes beside the experts (Gemma-4)."""
    latent_width: int = 0
    """Width to which the hidden state is projected before the experts (Nemotron-3 latent experts); 0: the
    hidden size."""
    shared_bias: bool = False
    """Biases on the shared experts' matrices; routed ones have them by `expert_bias`."""
    group_share: float = 1.0
    """Of the groups of experts, what a token may choose from: V3's lie on at most half of the nodes."""
    kind: Literal["moe"] = "moe"


FeedForward = Dense | MoE
