"""What vLLM makes of experts in MXFP4: widths rounded up for a kernel; of gpt-oss's scales in the kernel's
own order, biases in F32.

quantization/mxfp4.py and fused_moe/oracle/mxfp4.py of 0.11 to 0.33; third_party/triton_kernels
(tensor_details/layout_details) of 0.16 to 0.33. The kernel follows from the card: Triton on Hopper, TRTLLM on
Blackwell, Marlin before Hopper and on RTX Blackwell.
"""

from typing import Literal

from ...run.cards import Hardware
from .. import mxfp4_experts
from ..mxfp4_experts import KernelLayout
from ..parameters import Member
from ..rank import Placed
from .release import VllmRules

Kernel = Literal["triton", "trtllm", "marlin"]
ROCM_WIDTH = 256
"""V4-Pro's 384 values a rank become 512: 32 GiB on eight MI300X, whose pool holds 7.52 x 9,472 tokens where
15.2 would fit (InferenceX#2194)."""


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


def padding(chosen: Kernel, rules: VllmRules) -> KernelLayout:
    """The table of mxfp4_round_up_hidden_size_and_intermediate_size."""
    match chosen:
        case "marlin":
            return KernelLayout(128, 256, 2)
        case "trtllm":
            return KernelLayout(rules.trtllm_mxfp4_padding, 256, 4)
        case "triton":
            return KernelLayout(64, 1, 4)


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
    return padding("trtllm" if hardware.card.major == 10 else "marlin", rules).inner


def placed(members: list[Member], hardware: Hardware, rules: VllmRules) -> list[Placed]:
    """The allocations of gpt-oss. Triton on Hopper swizzles the scales, and until 0.25 the loaded ones stay
    beside them; releases with the triton_kernels of 0.19 to 0.21 also pad the packed values. Measured:
    gpt-oss-20b 13.47 GiB on one H100 and 7.01 on two (0.19), 120b 64.38."""
    chosen = kernel(hardware, rules)
    return mxfp4_experts.placed(
        members,
        padding(chosen, rules)._replace(
            swizzled=chosen == "triton" and rules.runs_mxfp4_by_triton,
            pads_values=rules.pads_mxfp4_values,
            keeps_loaded=rules.keeps_loaded_mxfp4_scales,
        ),
    )
