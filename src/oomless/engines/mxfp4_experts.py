"""Experts in MXFP4 as a kernel has them: widths rounded up, scales in its own order, biases wider."""

from typing import NamedTuple

from .parameters import Member, allocation, allocations, key_of, stacked_shape
from .rank import Placed

BLOCK = 32
"""Values that share a scale of one byte."""


class KernelLayout(NamedTuple):
    """Multiples to which a rank's width of an expert and the hidden size are rounded, bytes of an entry of a
    bias, and what becomes of the scales.

    `swizzled`: rows of scales are padded to 256 (third_party/triton_kernels, layout_details/hopper_scale.py),
    with `pads_values` packed values to 64 B too; `keeps_loaded`: the loaded scales stay beside them.
    """

    inner: int
    hidden: int
    bias_bytes: int
    swizzled: bool = False
    pads_values: bool = False
    keeps_loaded: bool = False


def up(number: int, multiple: int) -> int:
    """The next multiple.

    >>> up(1440, 64), up(2880, 256)
    (1472, 3072)
    """
    return -(-number // multiple) * multiple


def placed(members: list[Member], layout: KernelLayout) -> list[Placed]:
    """The allocations of the model: experts as the kernel has them, all else as of any other."""

    def of_parameter(parts: list[Member]) -> list[Placed]:
        return placed_experts(parts, layout) if "experts.w" in parts[0][0] else allocation(parts)

    return allocations(members, of_parameter)


def placed_experts(parts: list[Member], kept: KernelLayout) -> list[Placed]:
    """The allocations of one fused parameter: w13 (two halves of rows), w2, or a bias of either; all experts
    of a layer in one."""
    name, _, layers, _, _, repeat = parts[0]
    key, shape = key_of(name), stacked_shape(parts)
    first = "w13_" in name
    halves = 2 if first else 1
    if len(shape) == 1:
        width = halves * up(shape[0] // halves, kept.inner if first else kept.hidden)
        return [Placed(key, name, repeat * width * kept.bias_bytes, 1, layers)]
    num_rows, num_columns = shape
    num_rows = halves * up(num_rows // halves, kept.inner if first else kept.hidden)
    num_columns = up(num_columns, kept.hidden if first else kept.inner)
    packed, scales = num_columns // 2, num_columns // BLOCK
    loaded = repeat * num_rows * scales
    if not kept.swizzled:
        return [
            Placed(key, name, repeat * num_rows * packed, 1, layers),
            Placed(key, f"{name} scales", loaded, 1, layers),
        ]
    value_rows = num_rows
    if kept.pads_values:
        value_rows, packed = up(num_rows, 64), up(packed, 64)
    found = [
        Placed(key, name, repeat * value_rows * packed, 1, layers),
        Placed(key, f"{name} scales, swizzled", repeat * up(num_rows, 256) * up(scales, 2), 1, layers),
    ]
    if kept.keeps_loaded:
        note = "dropped after swizzling only by later releases"
        found.append(Placed(key, f"{name} scales as loaded", loaded, 1, layers, note))
    return found
