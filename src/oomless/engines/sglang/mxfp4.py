"""What SGLang makes of gpt-oss's experts in MXFP4 (layers/quantization/mxfp4.py of 0.5.1 to 0.5.23,
create_weights and process_weights_after_loading; the kernel by the card: _gpt_oss_overrides)."""

from ...model.storage import BF16
from ...run.cards import Hardware
from ...run.serving import Resolved
from ..mxfp4_experts import KernelLayout, placed
from ..parameters import Member, allocations
from ..rank import Placed
from .release import RELEASES, SglangRules, expert_ranks


def placed_gpt_oss(members: list[Member], asked: Resolved, hardware: Hardware) -> list[Placed]:
    """The allocations of a rank. Where ranks divide the experts, Triton's kernels do not run, and experts
    become 16 bit.

    gpt-oss-20b, whose pool on one RTX 5090 leaves 14.0 GiB of weights with their pieces (July 2026):

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> from ...run.serving import Layout
    >>> from ..rank import Stage
    >>> from .weights import placed_weights
    >>> def gib(gpu: str, layout: Layout) -> float:
    ...     asked = Resolved(engine="sglang", engine_version="0.5.16", dtype="bfloat16", layout=layout)
    ...     found = placed_weights(load("gpt-oss-20b"), asked, parse_gpu(gpu), Stage(0, 1, 0, 24))
    ...     return round(sum(group.total_bytes for group in found) / 2**30, 2)
    >>> gib("rtx-5090", Layout()), gib("h100", Layout()), gib("h100:4", Layout(tp=4, ep_size=4))
    (13.7, 13.44, 9.77)
    """
    kept = kernel_layout(hardware, RELEASES.at(asked.engine_version))
    if kept.keeps_loaded and expert_ranks(asked) > 1:
        return allocations(
            (*each[:4], BF16 if "experts." in each[0] else each[4], each[5]) for each in members
        )
    return placed(members, kept)


def kernel_layout(hardware: Hardware, rules: SglangRules) -> KernelLayout:
    """TRTLLM's on Blackwell, Marlin's on RTX Blackwell from 0.5.15 on, aiter's on AMD's cards, and Triton's,
    which swizzles scales on Hopper and leaves the loaded ones beside them."""
    capability = hardware.card.capability
    if hardware.card.vendor == "AMD":
        return KernelLayout(256, 256, 4) if rules.runs_mxfp4_by_aiter else KernelLayout(64, 1, 4)
    if 10 <= capability < 11:
        return KernelLayout(rules.trtllm_mxfp4_padding, rules.trtllm_mxfp4_padding, 4)
    if capability >= 12 and rules.runs_mxfp4_by_marlin:
        return KernelLayout(128, 256, 2)
    hopper = 9 <= capability < 10 or not capability
    return KernelLayout(64, 1, 4, swizzled=hopper, keeps_loaded=True)
