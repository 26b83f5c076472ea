"""vLLM on Intel's Gaudi: vLLM's rules, on blocks of 128 tokens and without copies of W_UK and W_UV.

Known from logs (serving_memory.md): R1 fp8 TP8 takes 79.41 GiB, 79.35 by formula without the copies.
Overheads are assumed. --gpu-memory-utilization is of what weights and the profile run leave free, and graphs
keep a part of that (VLLM_GRAPH_RESERVED_MEM).
"""

from ..errors import UnsupportedError
from ..model.attention import V4, V41
from ..model.model import Model
from ..run.cards import Hardware
from ..run.serving import Asked, Layout, Resolved
from .rank import Placed, Stage
from .record import derived
from .releases import ReleaseRules, Releases
from .vllm import VLLM

BLOCK_SIZE = 128
ABSORBED = ("W_UK and W_UV", "W_QR", "W_Q_UK", "W_UV_O", "W_UK and W_UV in F32", "FlashInfer MLA workspace")
"""What vLLM's CUDA backends keep beside the checkpoint's projections."""


class HpuRules(ReleaseRules):
    """What a release of vLLM on Gaudi does beside vLLM's own rules (facts/engine_rules.csv)."""

    graph_share: float = 0.1
    """The part of what the engine may use that is kept for graphs, unless it runs eagerly."""


RELEASES = Releases("vllm-hpu", HpuRules, VLLM.versions, first="0")


def resolve(model: Model, hardware: Hardware, asked: Asked, layout: Layout) -> Resolved:
    """vLLM's defaults, in blocks of 128 tokens. V4's attention has no kernels for these cards."""
    if model.kinds.has(V4, V41):
        raise UnsupportedError(
            f"{model.name} on Gaudi is not known: V4's attention has no kernels there", "take other cards"
        )
    return VLLM.resolve(model, hardware, asked._replace(block_size=asked.block_size or BLOCK_SIZE), layout)


def placed_weights(model: Model, asked: Resolved, hardware: Hardware, stage: Stage) -> list[Placed]:
    """vLLM's tensors without the absorbed matrices of its CUDA backends.

    >>> from ..model.load import load
    >>> from ..run.hardware import parse_gpu
    >>> r1, card = load("deepseek-r1"), parse_gpu("gaudi-2:8")
    >>> asked = resolve(r1, card, Resolved(engine="vllm-hpu", engine_version="0.9.0"), Layout(tp=8))
    >>> round(
    ...     sum(t.total_bytes for t in placed_weights(r1, asked, card, VLLM.stages(r1, asked)[0])) / 2**30, 2
    ... )
    79.31
    """
    return [
        group for group in VLLM.placed_weights(model, asked, hardware, stage) if group.name not in ABSORBED
    ]


def pool_bytes(asked: Resolved, allowed: int, charged: int) -> int:
    """A share of what is free after the profile run, less what is kept for graphs.

    >>> asked = Resolved(engine_version="0.5.3", gpu_memory_utilization=0.5)
    >>> [pool_bytes(each, 7917, 0) / 100 for each in (asked, asked._replace(enforce_eager=True))]
    [23.75, 39.58]
    """
    kept = 0 if asked.enforce_eager else RELEASES.at(asked.engine_version).graph_share
    free = allowed - charged
    return int(free * (asked.gpu_memory_utilization or 0) * (1 - kept)) if free > 0 else free


VLLM_HPU = derived(VLLM, "vllm-hpu")._replace(
    candidates=VLLM.candidates._replace(forms=("fp8",)),
    start=VLLM.start._replace(image="", package=""),
    resolve=resolve,
    placed_weights=placed_weights,
    budget_bytes=lambda asked, hardware: hardware.card.memory_bytes,
    pool_bytes=pool_bytes,
)
