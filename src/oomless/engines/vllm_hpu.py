"""vLLM on Intel's Gaudi: vLLM's rules, on blocks of 128 tokens and without copies of W_UK and W_UV.

Known from logs (serving_memory.md): R1 fp8 TP8 takes 79.41 GiB, 79.35 by formula without the copies.
Overheads are assumed.
"""

from ..errors import UnsupportedError
from ..model.attention import V4, V41
from ..model.model import Model
from ..run.cards import Hardware
from ..run.serving import Asked, Layout, Resolved
from .rank import Placed, Stage
from .record import derived
from .vllm import VLLM

BLOCK_SIZE = 128
ABSORBED = ("W_UK and W_UV", "W_QR", "W_Q_UK", "W_UV_O", "W_UK and W_UV in F32", "FlashInfer MLA workspace")
"""What vLLM's CUDA backends keep beside the checkpoint's projections."""


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


VLLM_HPU = derived(VLLM, "vllm-hpu")._replace(
    candidates=VLLM.candidates._replace(forms=("fp8",)),
    start=VLLM.start._replace(image="", package=""),
    resolve=resolve,
    placed_weights=placed_weights,
)
