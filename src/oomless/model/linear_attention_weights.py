"""Weights of linear attention and state-space mixers, one function a variant."""

from collections.abc import Iterator
from typing import assert_never

from .attention import Linear
from .model import Tensor
from .scope import Scope, columns, rows
from .storage import F32


def linear_tensors(a: Linear, hidden: int, scope: Scope) -> Iterator[Tensor]:
    """Return the weights of one block: projections in and out, a convolution over the last tokens, decay and
    step of each head, a norm before the output.

    >>> from .scope import Storage
    >>> from .storage import BF16
    >>> qwen = Linear(16, 48, 128, 128, 4)
    >>> sum(t.num_parameters for t in linear_tensors(qwen, 5120, Scope((0,), Storage(BF16, BF16, BF16))))
    115876064
    """
    match a.variant:
        case "gdn":
            yield from _gated_delta(a, hidden, scope)
        case "mamba2":
            yield from _mamba2(a, hidden, scope)
        case "short_conv":
            yield from _short_conv(a, hidden, scope)
        case "mamba1":
            yield from _mamba1(a, hidden, scope)
        case "kda":
            yield from _kimi_delta(a, hidden, scope)
        case "lightning":
            yield from _lightning(a, hidden, scope)
        case _:
            assert_never(a.variant)


def _gated_delta(a: Linear, hidden: int, scope: Scope) -> Iterator[Tensor]:
    """Return the gated delta rule of Qwen3-Next: projections, a convolution, decay and step of each head."""
    keys, values, heads = a.key_width, a.value_width, a.num_value_heads
    name = "linear_attn."
    for key, width in (("q", keys), ("k", keys), ("v", values), ("z", values)):
        yield scope.tensor(f"{name}in_proj_{key}.weight", (width, hidden), "linear", columns(a.num_key_heads))
    for key in ("b", "a"):  # two rows a head are not worth quantising: formats leave them out
        yield scope.tensor(f"{name}in_proj_{key}.weight", (heads, hidden), "plain", columns(heads))
    yield scope.tensor(
        f"{name}conv1d.weight", (a.conv_width, 1, a.conv_kernel), "plain", columns(a.num_key_heads)
    )
    yield scope.tensor(f"{name}dt_bias", (heads,), "plain", columns(heads))
    yield scope.tensor(f"{name}A_log", (heads,), "plain", columns(heads))
    yield scope.tensor(f"{name}norm.weight", (a.value_head_dim,), "plain")
    yield scope.tensor(f"{name}out_proj.weight", (hidden, values), "linear", rows(heads))


def _mamba2(a: Linear, hidden: int, scope: Scope) -> Iterator[Tensor]:
    """Return the mixer of Mamba-2: one projection in for all that it needs."""
    values, heads = a.value_width, a.num_value_heads
    width = values + a.conv_width + heads
    yield scope.tensor("mamba.in_proj.weight", (width, hidden), "linear", columns(heads))
    yield scope.tensor("mamba.conv1d.weight", (a.conv_width, 1, a.conv_kernel), "plain", columns(heads))
    if a.conv_bias:
        yield scope.tensor("mamba.conv1d.bias", (a.conv_width,), "plain", columns(heads))
    for key in ("A_log", "D", "dt_bias"):
        yield scope.tensor(f"mamba.{key}", (heads,), "plain", columns(heads))
    if a.plain_norm:
        yield scope.tensor("mamba.norm.weight", (values,), "plain", columns(heads))
    yield scope.tensor("mamba.out_proj.weight", (hidden, values), "linear", rows(heads))


def _short_conv(a: Linear, hidden: int, scope: Scope) -> Iterator[Tensor]:
    """Return the short convolution of LFM2, with gates before and after."""
    values = a.value_width
    yield scope.tensor("conv.in_proj.weight", (3 * values, hidden), "linear", columns(values))
    yield scope.tensor("conv.conv.weight", (values, 1, a.conv_kernel), "plain", columns(values))
    if a.conv_bias:  # LFM2's one key is for both projections too
        yield scope.tensor("conv.in_proj.bias", (3 * values,), "plain", columns(values))
        yield scope.tensor("conv.conv.bias", (values,), "plain", columns(values))
        yield scope.tensor("conv.out_proj.bias", (hidden,), "plain")
    yield scope.tensor("conv.out_proj.weight", (hidden, values), "linear", rows(values))


def _mamba1(a: Linear, hidden: int, scope: Scope) -> Iterator[Tensor]:
    """Return the mixer of Mamba-1: step, input and output matrices follow from the state."""
    values = a.value_width
    state, rank = a.key_head_dim, a.rank
    yield scope.tensor("mamba.in_proj.weight", (2 * values, hidden), "linear", columns(values))
    yield scope.tensor("mamba.conv1d.weight", (values, 1, a.conv_kernel), "plain", columns(values))
    if a.conv_bias:
        yield scope.tensor("mamba.conv1d.bias", (values,), "plain", columns(values))
    yield scope.tensor("mamba.x_proj.weight", (rank + 2 * state, values), "linear", rows(values))
    yield scope.tensor("mamba.dt_proj.weight", (values, rank), "linear", columns(values))
    yield scope.tensor("mamba.dt_proj.bias", (values,), "plain", columns(values))
    yield scope.tensor("mamba.A_log", (values, state), "plain", columns(values))
    yield scope.tensor("mamba.D", (values,), "plain", columns(values))
    for key, width in (("dt", rank), ("b", state), ("c", state)) if a.inner_norms else ():
        yield scope.tensor(f"mamba.{key}_layernorm.weight", (width,), "plain")
    yield scope.tensor("mamba.out_proj.weight", (hidden, values), "linear", rows(values))


def _kimi_delta(a: Linear, hidden: int, scope: Scope) -> Iterator[Tensor]:
    """Return Kimi delta attention: decay by low-rank gates, or full-rank ones in K3."""
    keys, values, heads = a.key_width, a.value_width, a.num_value_heads
    for key, width in (("q", keys), ("k", keys), ("v", values)):
        yield scope.tensor(f"self_attn.{key}_proj.weight", (width, hidden), "linear", columns(heads))
    yield scope.tensor("self_attn.conv1d.weight", (a.conv_width, 1, a.conv_kernel), "plain", columns(heads))
    if a.rank:
        yield scope.tensor("self_attn.f_a_proj.weight", (a.rank, hidden), "linear")
        yield scope.tensor("self_attn.f_b_proj.weight", (values, a.rank), "linear", columns(heads))
    else:
        yield scope.tensor("self_attn.f_proj.weight", (values, hidden), "linear", columns(heads))
    if a.full_gate:
        yield scope.tensor("self_attn.g_proj.weight", (values, hidden), "linear", columns(heads))
    else:
        yield scope.tensor("self_attn.g_a_proj.weight", (a.rank, hidden), "linear")
        yield scope.tensor("self_attn.g_b_proj.weight", (values, a.rank), "linear", columns(heads))
    yield scope.tensor("self_attn.b_proj.weight", (heads, hidden), "linear", columns(heads))
    yield scope.tensor("self_attn.dt_bias", (values,), F32, columns(heads))
    yield scope.tensor("self_attn.A_log", (heads,), F32, columns(heads))
    yield scope.tensor("self_attn.o_norm.weight", (a.value_head_dim,), "plain")
    yield scope.tensor("self_attn.o_proj.weight", (hidden, values), "linear", rows(heads))


def _lightning(a: Linear, hidden: int, scope: Scope) -> Iterator[Tensor]:
    """Return lightning attention, whose decay is fixed: projections, norms of queries and keys where it has
    them, a norm and a gate before the output."""
    values, heads = a.value_width, a.num_value_heads
    width = 2 * a.key_width + values
    yield scope.tensor("self_attn.query_key_value.weight", (width, hidden), "linear", columns(heads))
    if a.inner_norms:
        yield scope.tensor("self_attn.qk_norms.weight", (a.key_head_dim,), "plain", repeat=2)
    yield scope.tensor("self_attn.g_proj.weight", (values, hidden), "linear", columns(heads))
    yield scope.tensor("self_attn.g_norm.weight", (values,), "plain", columns(heads))
    yield scope.tensor("self_attn.dense.weight", (hidden, values), "linear", rows(heads))
