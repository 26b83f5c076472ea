"""Which releases of SGLang are known, and who divides what: attention, dense layers and experts have ranks of
their own."""

from functools import cache
from typing import NamedTuple

from ...errors import UnsupportedError
from ...model.feedforward import MoE
from ...model.model import Model
from ...run.hardware import Hardware
from ...run.serving import Layout, Resolved
from .. import parse_version

VERSIONS = ("0.4.4", "0.4.5", "0.4.6", "0.5.3", "0.5.23")
FIRST, LATEST = (0, 4), "0.5.23"
FUSED_SHAPE = (256, 1)
"""(routed, shared) experts of the models whose shared expert may be fused: DeepSeek-V3 and its descendants.
"""


class Release(NamedTuple):
    numbers: tuple[int, ...]

    def since(self, *numbers: int) -> bool:
        return self.numbers >= numbers


@cache
def release(text: str) -> Release:
    """The release that a version names; one without a patch number is the newest of its kind.

    >>> release("0.4.6.post2").since(0, 4, 6), release("0.5").numbers, release("0.5.3").since(0, 5, 4)
    (True, (0, 5, 23), False)
    """
    numbers = parse_version(text)
    if numbers < FIRST:
        raise UnsupportedError(
            f"sglang {text} is older than the rules here", "0.4 and later are known: `oomless engines`"
        )
    if len(numbers) == 2:
        same = [parse_version(known) for known in VERSIONS if parse_version(known)[:2] == numbers]
        numbers = same[-1] if same else numbers
    return Release(numbers)


def attention_ranks(layout: Layout) -> int:
    """Ranks that divide the attention: `tp`, less the groups of data-parallel attention."""
    return layout.tp // layout.dp if layout.enable_dp_attention else layout.tp


def expert_ranks(asked: Resolved) -> int:
    """Ranks that divide the experts among them; the others of `tp` divide each expert's width."""
    layout = asked.layout
    if asked.moe_a2a_backend == "deepep" or layout.enable_expert_parallel:
        return layout.tp
    return layout.ep_size or 1


def shared_clones(model: Model, asked: Resolved, hardware: Hardware, now: Release) -> int:
    """Experts that stand for the shared one beside the routed ones; 0: it stays apart.

    0.4.6 makes one for each rank (models/deepseek_v2.py, determine_n_share_experts_fusion: compute capability
    9.0 and later, MI300's 9.4 among them), so that each rank holds as much as a whole one: +2.06 GiB for R1
    at TP8. From 0.4.7 there is one, divided like the others.
    """
    experts = [layer.ffn for layer in model.layers if isinstance(layer.ffn, MoE)]
    if not experts or not now.since(0, 4, 6) or not model.family.startswith("deepseek_v3"):
        return 0
    first = experts[0]
    if (first.num_experts, first.shared_width // first.expert_width) != FUSED_SHAPE or expert_ranks(
        asked
    ) > 1:
        return 0
    if now.since(0, 4, 7):
        return (
            1
            if hardware.card.vendor in ("NVIDIA", "") and not 0 < hardware.card.capability < FUSED_CAPABILITY
            else 0
        )
    modern = hardware.card.capability >= 9 or hardware.card.vendor == "AMD"
    return asked.layout.tp if modern else 0


FUSED_CAPABILITY = 8.0
