"""Attention of a card: which kernel torch would choose there, called by name, since torch's own choice
follows the device at hand.

The order is that of sdp_utils.cpp: flash, memory-efficient, math; on compute capability 9.0 and 10.x cuDNN
comes first. The rules a kernel has (types, head sizes, masks) are rows of facts/attention_kernels.csv.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

from .. import facts
from ..errors import UnsupportedError, need

CUDNN_FIRST = (9.0, 10.0, 10.3)
"""Compute capabilities on which torch 2.13 with cuDNN above 9.15 prefers cuDNN (sdp_utils.cpp,
check_prefer_cudnn_attention)."""
MASK_ALIGNMENT = 16
"""Last dimension of a mask that the memory-efficient kernel takes; others are padded to it (attention.cpp,
pad_bias)."""


class Kernel(NamedTuple):
    """What a kernel accepts."""

    name: str
    first_capability: float
    dtypes: frozenset[str]
    max_head_dim: int
    equal_head_dims: bool
    mask: bool
    grouped_heads: bool


@cache
def kernels() -> dict[str, Kernel]:
    """The rows of facts/attention_kernels.csv."""
    return {
        row["kernel"]: Kernel(
            row["kernel"],
            float(row["first_capability"]),
            frozenset(row["dtypes"].split()),
            int(row["max_head_dim"]),
            row["equal_head_dims"] == "yes",
            row["mask"] == "yes",
            row["grouped_heads"] == "yes",
        )
        for row in facts.table("attention_kernels")
    }


class AttentionCall(NamedTuple):
    """What of a call decides the kernel."""

    dtype: str
    head_dim: int
    value_dim: int
    has_mask: bool
    grouped: bool


def accepts(kernel: Kernel, call: AttentionCall, capability: float) -> bool:
    """Whether a kernel runs a call on a card.

    >>> mla = AttentionCall("bfloat16", 192, 128, False, False)
    >>> [name for name, kernel in kernels().items() if accepts(kernel, mla, 9.0)]
    ['efficient', 'math']
    """
    return (
        capability >= kernel.first_capability
        and call.dtype in kernel.dtypes
        and max(call.head_dim, call.value_dim) <= kernel.max_head_dim
        and (call.head_dim == call.value_dim or not kernel.equal_head_dims)
        and (kernel.mask or not call.has_mask)
        and (kernel.grouped_heads or not call.grouped)
    )


def choose(call: AttentionCall, capability: float, wanted: str) -> str:
    """The kernel that runs a call: the one wanted if it can, for `auto` the first that can.

    >>> plain = AttentionCall("bfloat16", 128, 128, False, True)
    >>> choose(plain, 9.0, "auto"), choose(plain, 8.0, "auto"), choose(plain, 7.5, "auto")
    ('cudnn', 'flash', 'math')
    """
    table = kernels()
    if wanted != "auto":
        if not accepts(table[wanted], call, capability):
            raise UnsupportedError(
                f"--attention {wanted} cannot run heads of {call.head_dim} and "
                f"{call.value_dim} in {call.dtype}"
                f"{' with a mask' if call.has_mask else ''} at compute capability {capability}",
                "leave --attention at auto",
            )
        return wanted
    order = (
        ("cudnn", "flash", "efficient", "math")
        if capability in CUDNN_FIRST
        else ("flash", "efficient", "math")
    )
    return next(name for name in order if accepts(table[name], call, capability))


@contextmanager
def attention_of(capability: float, wanted: str, used: dict[str, int]) -> Iterator[None]:
    """`F.scaled_dot_product_attention` as the card runs it; `used` counts the kernels."""
    functional = need("torch.nn.functional", "trace")
    original = functional.scaled_dot_product_attention
    functional.scaled_dot_product_attention = _attention(capability, wanted, used)
    try:
        yield
    finally:
        functional.scaled_dot_product_attention = original


def _attention(capability: float, wanted: str, used: dict[str, int]) -> Callable[..., Any]:
    torch = need("torch", "trace")
    aten = torch.ops.aten

    def attention(
        query: Any,
        key: Any,
        value: Any,
        attn_mask: Any = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Any:
        if torch.is_autocast_enabled("cpu"):  # a mixed-precision region casts what attention gets
            query, key, value = (each.to(torch.get_autocast_dtype("cpu")) for each in (query, key, value))
        grouped = query.shape[-3] != key.shape[-3]
        call = AttentionCall(
            str(query.dtype).removeprefix("torch."),
            query.shape[-1],
            value.shape[-1],
            attn_mask is not None,
            grouped,
        )
        name = choose(call, capability, wanted)
        used[name] = used.get(name, 0) + 1
        keep = torch.is_grad_enabled() and any(each.requires_grad for each in (query, key, value))
        if name == "math":
            return aten._scaled_dot_product_attention_math(
                query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
            )[0]
        if name == "flash":
            return aten._scaled_dot_product_flash_attention(
                query, key, value, dropout_p, is_causal, False, scale=scale
            )[0]
        if name == "cudnn":
            return aten._scaled_dot_product_cudnn_attention(
                query, key, value, None, keep, dropout_p, is_causal, False, scale=scale
            )[0]
        bias = None if attn_mask is None else _bias(torch, attn_mask, query, key)
        return aten._scaled_dot_product_efficient_attention(
            query, key, value, bias, keep, dropout_p, is_causal, scale=scale
        )[0]

    return attention


def _bias(torch: Any, mask: Any, query: Any, key: Any) -> Any:
    """A mask as the memory-efficient kernel takes it: in the type of the query, padded, seen as one for each
    head."""
    if mask.dtype is torch.bool:
        bias = torch.zeros_like(mask, dtype=query.dtype)
        bias.masked_fill_(mask.logical_not(), float("-inf"))
        mask = bias
    width = mask.shape[-1]
    if width % MASK_ALIGNMENT:
        mask = torch.nn.functional.pad(mask, (0, MASK_ALIGNMENT - width % MASK_ALIGNMENT))[..., :width]
    return mask.expand(*query.shape[:-1], key.shape[-2])
