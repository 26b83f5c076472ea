"""vLLM on Intel's Gaudi: vLLM's rules, on blocks of 128 tokens and without copies of W_UK and W_UV.

Known from logs (serving_memory.md): R1 fp8 TP8 takes 79.41 GiB, 79.35 by formula without the copies.
Overheads are assumed.
"""

from ..model.model import Model
from ..run.cards import Hardware
from ..run.serving import Layout, Serving
from . import vllm
from .layouts import tensor_parallel_layouts
from .rank import Count, Placed, Stage
from .vllm import (
    LATEST,
    VERSIONS,
    budget_bytes,
    budget_lines,
    cache_layout,
    host_bytes,
    longest_sequence,
    max_tokens,
    needed_bytes,
    pool_bytes,
    sequences,
    stages,
)

NAME = "vLLM-HPU"
COUNTS: Count = "allocated"
layouts = tensor_parallel_layouts
BLOCK_SIZE = 128
ABSORBED = ("W_UK and W_UV", "W_QR", "W_Q_UK", "W_UV_O", "W_UK and W_UV in F32", "FlashInfer MLA workspace")
"""What vLLM's CUDA backends keep beside the checkpoint's projections."""


def resolve(model: Model, hardware: Hardware, asked: Serving, layout: Layout) -> Serving:
    """vLLM's defaults, in blocks of 128 tokens."""
    return vllm.resolve(model, hardware, asked._replace(block_size=asked.block_size or BLOCK_SIZE), layout)


def placed_weights(model: Model, asked: Serving, hardware: Hardware, stage: Stage) -> list[Placed]:
    """vLLM's tensors without the absorbed matrices of its CUDA backends.

    >>> from ..model.load import load
    >>> from ..run.hardware import parse_gpu
    >>> r1, card = load("deepseek-r1"), parse_gpu("gaudi-2:8")
    >>> asked = resolve(r1, card, Serving(engine="vllm-hpu", engine_version="0.9.0"), Layout(tp=8))
    >>> round(sum(t.total_bytes for t in placed_weights(r1, asked, card, stages(r1, asked)[0])) / 2**30, 2)
    79.31
    """
    return [
        group for group in vllm.placed_weights(model, asked, hardware, stage) if group.name not in ABSORBED
    ]


__all__ = [
    "COUNTS",
    "LATEST",
    "NAME",
    "VERSIONS",
    "budget_bytes",
    "budget_lines",
    "cache_layout",
    "host_bytes",
    "layouts",
    "longest_sequence",
    "max_tokens",
    "needed_bytes",
    "placed_weights",
    "pool_bytes",
    "resolve",
    "sequences",
    "stages",
]
