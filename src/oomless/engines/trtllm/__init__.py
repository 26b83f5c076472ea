"""TensorRT-LLM: weights, then a share of what is free beside them and the execution context goes to blocks of
cache.

Engine builds (0.5 to 0.19) fix the context from maximal shapes when the engine is built; the PyTorch backend
(the default from 1.0 on) measures a dry run. Read in cpp/tensorrt_llm/batch_manager (kDefaultGpuMemFraction,
calculateMaxNumBlocks) and tensorrt_llm/_torch/pyexecutor/_util.py (_cal_max_memory),
_torch/modules/attention.py and llmapi's KvCacheConfig.
"""

import re
from collections.abc import Mapping

from ...run.serving import Asked
from ..layouts import tensor_parallel, tensor_parallel_layouts
from ..record import Candidates, CardMakers, Engine, EngineRows, PrintedText, SaidText, Start, Tunable
from .budget import budget_lines, pool_bytes
from .cache import cache_layout, longest_sequence, made_pool, max_tokens, needed_bytes, sequences
from .defaults import CACHE_TYPES, resolve, stages
from .release import RELEASES, draft_heads
from .weights import placed_weights


def as_asked(asked: Asked, flags: str) -> Asked:
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


def flags_of_log(stated: Mapping[str, object], printed: PrintedText, said: SaidText) -> list[str]:
    """Return the batch and the block of a log in the words that `as_asked` reads."""
    words = [f"max_batch {stated['max_num_seqs']}"] if "max_num_seqs" in stated else []
    block = said("block_size")
    return [*words, f"tokens per block {int(float(block))}"] if block else words


ROWS = EngineRows(words=("TensorRT-LLM",), as_asked=as_asked, flags_of_log=flags_of_log)


TUNED = (
    Tunable("free_gpu_memory_fraction", (0.95, 0.8), "share"),
    Tunable("max_num_seqs", tuple(1 << bits for bits in range(12)), "batch"),
    Tunable("max_num_batched_tokens", (2048, 4096, 8192, 16384), "pace"),
)
"""The levers of docs/source/legacy/performance/performance-tuning-guide: the share of free memory, requests
and tokens of a step."""

TRTLLM = Engine(
    name="trtllm",
    label="TensorRT-LLM",
    versions=RELEASES.versions,
    cards=CardMakers(only=("NVIDIA",)),
    candidates=Candidates(tensor_parallel, tuned=TUNED, narrow_cache=(("kv_cache_dtype", "fp8"),)),
    start=Start(mpi_launcher="trtllm-llmapi-launch"),
    rows=ROWS,
    speed_class="trtllm",
    layouts=tensor_parallel_layouts,
    resolve=resolve,
    stages=stages,
    placed_weights=placed_weights,
    budget_lines=budget_lines,
    pool_bytes=pool_bytes,
    made_pool=made_pool,
    cache_layout=cache_layout,
    needed_bytes=needed_bytes,
    max_tokens=max_tokens,
    sequences=sequences,
    longest_sequence=longest_sequence,
    cache_types=CACHE_TYPES,
    share_flag="--free-gpu-memory-fraction",
    cuts_at_model_positions=True,
    draft_heads=draft_heads,
    log="trtllm.log",
)
