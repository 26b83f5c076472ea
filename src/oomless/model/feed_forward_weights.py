"""Kinds of feed-forward blocks -> their tensors: which weights each has, their shapes, how each is cut."""

from collections.abc import Iterator
from typing import assert_never

from .feedforward import Dense, FeedForward, MoE
from .model import WHOLE, Tensor
from .scope import Scope, columns, rows
from .storage import F32, I64


def ffn_tensors(
    ffn: FeedForward, hidden: int, vocab: int, scope: Scope, name: str = "mlp."
) -> Iterator[Tensor]:
    """Weights of one feed-forward block.

    >>> from .scope import Storage
    >>> from .storage import BF16
    >>> v3 = MoE(256, 8, 2048, shared_width=2048, router_biases=1)
    >>> sum(t.num_parameters for t in ffn_tensors(v3, 7168, 129280, Scope((3,), Storage(BF16, BF16, BF16))))
    11320164608
    """
    match ffn:
        case Dense():
            yield from _dense(ffn, hidden, scope, name)
        case MoE():
            yield from _router(ffn, hidden, vocab, scope, name)
            yield from _experts(ffn, hidden, vocab, scope, name)
        case _:
            assert_never(ffn)


def _dense(ffn: Dense, hidden: int, scope: Scope, name: str) -> Iterator[Tensor]:
    """Return gate, up and down; a width of 0 is no block at all."""
    names = ("gate_proj", "up_proj") if ffn.gated else ("up_proj",)
    width = ffn.intermediate_size
    if not width:
        return
    for part in names:
        yield scope.tensor(f"{name}{part}.weight", (width, hidden), "linear", columns(width))
        if ffn.bias:
            yield scope.tensor(f"{name}{part}.bias", (width,), "plain", columns(width))
    yield scope.tensor(f"{name}down_proj.weight", (hidden, width), "linear", rows(width))
    if ffn.bias:
        yield scope.tensor(f"{name}down_proj.bias", (hidden,), "plain")


def _router(ffn: MoE, hidden: int, vocab: int, scope: Scope, name: str) -> Iterator[Tensor]:
    """Return the router with its bias, or the table of token ids where the hash of a token routes it."""
    experts = ffn.num_experts
    yield scope.tensor(f"{name}gate.weight", (experts, hidden), "plain")
    if ffn.router_linear_bias:
        yield scope.tensor(f"{name}gate.bias", (experts,), "plain")
    if ffn.hash_routed:
        yield scope.tensor(f"{name}gate.tid2eid", (vocab, ffn.num_active_experts), I64)._replace(lookup=True)
    elif ffn.router_biases:
        bias = f"{name}gate.e_score_correction_bias"
        yield scope.tensor(bias, (experts,), F32, repeat=ffn.router_biases)


def _experts(ffn: MoE, hidden: int, vocab: int, scope: Scope, name: str) -> Iterator[Tensor]:
    """Return routed experts with the projections around them, then shared ones and a dense block beside."""
    experts, width = ffn.num_experts, ffn.expert_width
    inner = ffn.latent_width or hidden
    if ffn.latent_width:
        yield scope.tensor(f"{name}fc1_latent_proj.weight", (inner, hidden), "linear")
        yield scope.tensor(f"{name}fc2_latent_proj.weight", (hidden, inner), "linear")
    for part in ("gate_proj", "up_proj") if ffn.gated else ("up_proj",):
        yield scope.tensor(f"{name}experts.{part}.weight", (width, inner), "expert", columns(width), experts)
    yield scope.tensor(f"{name}experts.down_proj.weight", (inner, width), "expert", rows(width), experts)
    if ffn.expert_bias:
        for part, out in (("gate_proj", width), ("up_proj", width), ("down_proj", hidden)):
            cut = columns(width) if out == width and part != "down_proj" else WHOLE
            biases = scope.tensor(f"{name}experts.{part}.bias", (out,), scope.stored.plain, cut, experts)
            yield biases._replace(role="expert")
    if ffn.shared_width:
        shared = Dense(ffn.shared_width, ffn.shared_bias, ffn.gated)
        yield from ffn_tensors(shared, hidden, vocab, scope, f"{name}shared_experts.")
    if ffn.dense_width:
        yield from ffn_tensors(Dense(ffn.dense_width), hidden, vocab, scope, f"{name}beside.")
    if ffn.shared_gate:
        yield scope.tensor(f"{name}shared_expert_gate.weight", (1, hidden), "plain")
