"""What vLLM makes of experts in MXFP4: widths rounded up for a kernel; of gpt-oss's scales in the kernel's
own order, biases in F32.

quantization/mxfp4.py and fused_moe/oracle/mxfp4.py of 0.11 to 0.33; third_party/triton_kernels
(tensor_details/layout_details) of 0.16 to 0.33. The kernel follows from the card: Triton on Hopper, TRTLLM on
Blackwell, Marlin before Hopper and on RTX Blackwell.
"""

from typing import Literal, NamedTuple

from ...run.cards import Hardware
from ..parameters import Member, allocation, allocations, key_of, stacked_shape
from ..rank import Placed
from .release import VllmRules

Kernel = Literal["triton", "trtllm", "marlin"]
BLOCK = 32
"""Values that share a scale of one byte."""
ROCM_WIDTH = 256
"""V4-Pro's 384 values a rank become 512: 32 GiB on eight MI300X, whose pool holds 7.52 x 9,472 tokens where
15.2 would fit (InferenceX#2194)."""


class Padding(NamedTuple):
    """Multiples to which a rank's width of an expert and the hidden size are rounded, and bytes of an entry
    of a bias."""

    inner: int
    hidden: int
    bias_bytes: int


def kernel(hardware: Hardware, rules: VllmRules) -> Kernel:
    """The kernel that a release takes for a card; an unknown card counts as Hopper."""
    capability = hardware.card.capability
    if (
        0 < capability < 9
        or (capability >= 11 and rules.runs_mxfp4_by_marlin_after_blackwell)
        or (capability < 10 and not rules.runs_mxfp4_by_triton)
    ):
        return "marlin"
    return "trtllm" if 10 <= capability < 11 else "triton"


def padding(chosen: Kernel, rules: VllmRules) -> Padding:
    """The table of mxfp4_round_up_hidden_size_and_intermediate_size."""
    match chosen:
        case "marlin":
            return Padding(128, 256, 2)
        case "trtllm":
            return Padding(rules.trtllm_mxfp4_padding, 256, 4)
        case "triton":
            return Padding(64, 1, 4)


def up(number: int, multiple: int) -> int:
    """The next multiple.

    >>> up(1440, 64), up(2880, 256)
    (1472, 3072)
    """
    return -(-number // multiple) * multiple


def multiple(hardware: Hardware, rules: VllmRules) -> int:
    """The multiple to which a rank's width of an expert of V4 and V4.1 is rounded up: AITER's on ROCm,
    TRTLLM's on Blackwell, Marlin's elsewhere (select_deepseek_v4_mxfp4_moe_backend).

    V4.1-Flash, 2,304 / 8 = 288 values a rank: 49.6 GiB on eight H200 (InferenceX#3310), 37.4 without.

    >>> from ...run.hardware import parse_gpu
    >>> from .release import RELEASES
    >>> [multiple(parse_gpu(card), RELEASES.at("0.25.0")) for card in ("h200:8", "b200:8", "mi300x:8")]
    [128, 256, 256]
    >>> multiple(parse_gpu("b200:8"), RELEASES.at("0.27.0"))
    128
    """
    if hardware.card.vendor == "AMD":
        return ROCM_WIDTH
    return padding("trtllm" if 10 <= hardware.card.capability < 11 else "marlin", rules).inner


def placed(members: list[Member], hardware: Hardware, rules: VllmRules) -> list[Placed]:
    """The allocations of the model: experts as the kernel has them, all else as of any other."""

    def of_parameter(parts: list[Member]) -> list[Placed]:
        experts = "experts.w" in parts[0][0]
        return placed_experts(parts, hardware, rules) if experts else allocation(parts)

    return allocations(members, of_parameter)


def placed_experts(parts: list[Member], hardware: Hardware, rules: VllmRules) -> list[Placed]:
    """The allocations of one fused parameter: w13 (two halves of rows), w2, or a bias of either; all experts
    of a layer in one.

    Triton on Hopper: the swizzled scales pad their rows to 256, and until 0.25 the loaded scales stay beside
    them. Releases with the triton_kernels of 0.19 to 0.21 also pad the packed values to 64 bytes. Measured:
    gpt-oss-20b 13.47 GiB on one H100 and 7.01 on two (0.19), 120b 64.38.
    """
    name, _, layers, _, _, repeat = parts[0]
    key, shape = key_of(name), stacked_shape(parts)
    chosen = kernel(hardware, rules)
    pad = padding(chosen, rules)
    first = "w13_" in name
    halves = 2 if first else 1
    if len(shape) == 1:
        width = halves * up(shape[0] // halves, pad.inner if first else pad.hidden)
        return [Placed(key, name, repeat * width * pad.bias_bytes, 1, layers)]
    num_rows, num_columns = shape
    num_rows = halves * up(num_rows // halves, pad.inner if first else pad.hidden)
    num_columns = up(num_columns, pad.hidden if first else pad.inner)
    packed, scales = num_columns // 2, num_columns // BLOCK
    loaded = repeat * num_rows * scales
    swizzled = chosen == "triton" and rules.runs_mxfp4_by_triton
    if not swizzled:
        return [
            Placed(key, name, repeat * num_rows * packed, 1, layers),
            Placed(key, f"{name} scales", loaded, 1, layers),
        ]
    value_rows = num_rows
    if rules.pads_mxfp4_values:
        value_rows, packed = up(num_rows, 64), up(packed, 64)
    placed = [
        Placed(key, name, repeat * value_rows * packed, 1, layers),
        Placed(key, f"{name} scales, swizzled", repeat * up(num_rows, 256) * up(scales, 2), 1, layers),
    ]
    if rules.keeps_loaded_mxfp4_scales:
        note = "dropped after swizzling only from 0.25 on"
        placed.append(Placed(key, f"{name} scales as loaded", loaded, 1, layers, note))
    return placed
