"""What the columns of a measured serving row mean for each engine: the same words name different shares and
sizes."""

import re
from collections.abc import Callable

from ..errors import UnsupportedError
from ..run.serving import Asked
from ..run.speculation import Speculation

ENGINES = {
    "vLLM": "vllm",
    "vLLM-Ascend": "vllm-ascend",
    "vLLM-HPU": "vllm-hpu",
    "SGLang": "sglang",
    "TensorRT-LLM": "trtllm",
    "Transformers": "transformers",
    "transformers": "transformers",
}
"""The table's engine -> ours."""
PRINTS_GIB_AS_GB = ("SGLang",)
"""Engines whose log calls GiB GB, checked by division in rows of each (serving_memory.md)."""


def logged_share(configuration: dict[str, str], quantity: str) -> float:
    """Share of the cache that the log counts: 656 of 656 + 132 B where the row says that the index was not
    logged."""
    return (
        656 / 788
        if quantity == "kv_bytes_per_gpu" and "index not logged" in configuration["kv_dtype"]
        else 1.0
    )


def as_asked(engine: str, asked: Asked, flags: str) -> Asked:
    """The question in the engine's own fields; `asked` holds the common columns."""
    return READERS[engine](asked, flags) if engine in READERS else asked


def _sglang(asked: Asked, flags: str) -> Asked:
    """gpu_mem_util is --mem-fraction-static; dp beside tp is data-parallel attention where the flags say
    so."""
    layout = asked.sizes
    if "context-parallel" in flags:
        raise UnsupportedError("context parallelism of SGLang is not known yet")
    if layout.dp > 1:
        layout = layout._replace(enable_dp_attention="dp attention" in flags)
    requests = re.search(r"max-running-requests (\d+)", flags)
    clones = re.search(r"shared-expert fusion: (\d+)", flags)
    if clones and int(clones[1]) != layout.tp:
        raise UnsupportedError(f"{clones[1]} clones of the shared expert on {layout.tp} ranks are not known")
    return asked._replace(
        layout=layout,
        gpu_memory_utilization=None,
        mem_fraction_static=asked.gpu_memory_utilization,
        max_num_seqs=int(requests[1]) if requests else asked.max_num_seqs,
        moe_a2a_backend="deepep" if "deepep" in flags else "none",
        speculation=Speculation("EAGLE")
        if any(word in flags for word in ("eagle", "nextn", "mtp"))
        else asked.speculation,
    )


def _trtllm(asked: Asked, flags: str) -> Asked:
    """gpu_mem_util is the share of what is free after loading; max_batch and tokens per block are in the
    flags."""
    batch = re.search(r"max_batch (\d+)", flags)
    block = re.search(r"tokens[_ ]per[_ ]block (\d+)", flags)
    return asked._replace(
        gpu_memory_utilization=None,
        free_gpu_memory_fraction=asked.gpu_memory_utilization,
        max_num_seqs=int(batch[1]) if batch else asked.max_num_seqs,
        block_size=int(block[1]) if block else None,
    )


READERS: dict[str, Callable[[Asked, str], Asked]] = {"sglang": _sglang, "trtllm": _trtllm}
