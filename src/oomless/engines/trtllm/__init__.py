"""TensorRT-LLM: weights, then a share of what is free beside them and the execution context goes to blocks of
cache.

Engine builds (0.5 to 0.19) fix the context from maximal shapes when the engine is built; the PyTorch backend
(the default from 1.0 on) measures a dry run. Read in cpp/tensorrt_llm/batch_manager (kDefaultGpuMemFraction,
calculateMaxNumBlocks) and tensorrt_llm/_torch/pyexecutor/_util.py (_cal_max_memory),
_torch/modules/attention.py and llmapi's KvCacheConfig.
"""

from ..layouts import tensor_parallel, tensor_parallel_layouts
from ..record import Candidates, CardMakers, Engine, Start, Tunable
from .budget import budget_bytes, budget_lines, host_bytes, pool_bytes
from .cache import cache_layout, longest_sequence, max_tokens, needed_bytes, sequences
from .defaults import CACHE_TYPES, resolve, stages
from .measured_rows import ROWS
from .release import RELEASES
from .weights import placed_weights

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
    budget_bytes=budget_bytes,
    budget_lines=budget_lines,
    pool_bytes=pool_bytes,
    cache_layout=cache_layout,
    needed_bytes=needed_bytes,
    max_tokens=max_tokens,
    sequences=sequences,
    longest_sequence=longest_sequence,
    host_bytes=host_bytes,
    cache_types=CACHE_TYPES,
    share_flag="--free-gpu-memory-fraction",
    cuts_at_model_positions=True,
    log="trtllm.log",
)
