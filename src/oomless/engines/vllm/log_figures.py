"""The lines of vLLM's log that carry measured figures: weights, profile run, cache, graphs."""

from ...recording.log_lines import NUMBER, LogLine, Said, says

N = NUMBER
WEIGHTS = (
    LogLine(b"odel weights took", rf"Loading model weights took {N} ?Gi?B\b", says("weights_bytes GiB")),
    LogLine(b"odel loading took", rf"Model loading took {N} ?Gi?B\b", says("weights_bytes GiB")),
    LogLine(
        b"model weights on",
        rf"Pre-loading model weights on \S+ took {N} ?([GM]iB)",
        (Said("weights_bytes", "printed"),),
    ),
    LogLine(b"model weights take", rf"model weights take {N} ?GiB", says("weights_bytes GiB", rank=1)),
    LogLine(b"weights memory:", rf"; weights memory: {N} ?GiB", says("weights_bytes GiB", rank=2)),
    LogLine(b"GiB for weight,", rf"Actual usage is {N} GiB for weight,", says("weights_bytes GiB", rank=3)),
)
PEAK_WITH_GRAPHS = 2
"""Rank of the peak of 0.27 on, which counts the graphs' estimate where that is taken off the pool
(v1/worker/gpu_worker.py: peak_activation_memory)."""
PROFILE = (
    LogLine(
        b"total_gpu_memory",
        rf"total_gpu_memory \({N} ?GiB\) x gpu_memory_utilization \((\d\.\d+)\)",
        says("gpu_memory_bytes GiB", "gpu_memory_utilization share"),
    ),
    LogLine(b"total_gpu_memory=", rf"total_gpu_memory={N}GiB", says("gpu_memory_bytes GiB")),
    LogLine(
        b"gpu_memory_utilization=0",
        r"GiB gpu_memory_utilization=(\d\.\d+)(?:\s|$)",
        says("gpu_memory_utilization share"),
    ),
    LogLine(b"non_torch_memory", rf"non_torch_memory(?: takes)? {N} ?GiB", says("non_torch_bytes GiB")),
    LogLine(b"non_torch_memory=", rf"non_torch_memory={N}GiB(?!,)", says("non_torch_bytes GiB")),
    LogLine(
        b"non-torch forward increase",
        rf"non-torch forward increase memory: {N} ?GiB",
        says("non_torch_bytes GiB"),
    ),
    LogLine(b"for non-torch memory", rf"{N} GiB for non-torch memory", says("non_torch_bytes GiB", rank=1)),
    LogLine(
        b"activation peak memory",
        rf"activation peak memory(?: takes)? {N} ?GiB",
        says("activation_bytes GiB"),
    ),
    LogLine(
        b"torch peak memory increase", rf"torch peak memory increase: {N} ?GiB", says("activation_bytes GiB")
    ),
    LogLine(
        b"GiB for peak activation",
        rf"(?<![.\d])(?<!torch\), ){N} GiB for peak activation",
        says("activation_bytes GiB", rank=1),
    ),
    LogLine(
        b"for consumed memory",
        rf"{N} GiB for consumed memory \(weights \+ non-torch\), {N} GiB for peak activation",
        says("consumed_bytes GiB") + says("activation_bytes GiB", rank=PEAK_WITH_GRAPHS),
    ),
    LogLine(
        b"Free memory on device",
        rf"Free memory on device (?:\S+ )?\({N}/{N} GiB\) on startup",
        says("gpu_free_bytes GiB", "gpu_memory_bytes GiB"),
    ),
    LogLine(
        b"GPU memory utilization",
        rf"[Dd]esired GPU memory utilization(?: is)? \((\d(?:\.\d+)?), {N} GiB\)",
        says("gpu_memory_utilization share", "requested_bytes GiB"),
    ),
    LogLine(
        b"Requested memory:",
        rf"Initial free memory: {N} GiB; Requested memory: (\d(?:\.\d+)?) \(util\), {N} GiB",
        says("gpu_free_bytes GiB", "gpu_memory_utilization share", "requested_bytes GiB"),
    ),
)
CACHE = (
    LogLine(b"reserved for KV Cache", rf"reserved for KV Cache is {N} ?GiB", says("kv_bytes GiB")),
    LogLine(b"kv_cache_size=", rf"\bkv_cache_size={N}GiB", says("kv_bytes GiB")),
    LogLine(b"vailable KV cache memory", rf"Available KV cache memory: {N} ?GiB", says("kv_bytes GiB")),
    LogLine(
        b"memory for KV Cache as",
        rf"reserved {N} ?GiB memory for KV Cache as specified",
        says("kv_bytes GiB"),
    ),
    LogLine(
        b"kv cache memory in use",
        r"Current kv cache memory in use is (\d+) bytes",
        says("kv_bytes B", rank=1),
    ),
    LogLine(
        b"kv cache memory in use", rf"Current kv cache memory in use is {N} GiB", says("kv_bytes GiB", rank=1)
    ),
    LogLine(
        b"for KV cache on node",
        rf"(?:Auto|Explicitly) set \({N}/{N}\) GiB for KV cache on node",
        says("kv_bytes GiB", "host_bytes GiB"),
    ),
    LogLine(
        b"GiB for KV cache.",
        rf"KVCACHE_SPACE not set\. Using {N} GiB for KV cache",
        says("kv_bytes GiB", rank=2),
    ),
    LogLine(
        b"KV cache size:",
        r"\b[A-Z]{3}[A-Z +a-z]{0,9} KV cache size: ([\d,]+) tokens",
        says("kv_tokens count", keep="least"),
    ),
    LogLine(
        b"aximum concurrency for",
        rf"Maximum concurrency for ([\d,]+) tokens(?:/| per )request(?:: | = ){N}x",
        says("length_of_concurrency count", "max_concurrency share", keep="least"),
    ),
    LogLine(
        b" blocks: ",
        r"(?:# ?)?\b(?:GPU|CUDA|cuda|gpu|ROCM|rocm|hip|NPU|npu|XPU|xpu|HPU|hpu|TPU|tpu) blocks: (\d+)\b",
        says("kv_blocks count", keep="least"),
    ),
    LogLine(b"num_gpu_blocks is", r"after num_gpu_blocks is: (\d+)\b", says("kv_blocks count", keep="least")),
)
GRAPHS = (
    LogLine(
        b"graph memory profiling is enabled",
        r"(CUDA graph memory profiling is enabled)",
        says("estimate_is_taken_off text"),
    ),
    LogLine(
        b"raph capturing finished",
        rf"(?<!ncoder )Graph capturing finished(?: in \d+ secs)?, took {N} GiB",
        says("cuda_graph_bytes GiB"),
    ),
    LogLine(
        b"GiB (actual)",
        rf"{N} GiB \(actual\), {N} GiB \(estimated\)",
        says("cuda_graph_bytes GiB", "cuda_graph_estimate_bytes GiB", rank=1),
    ),
    LogLine(
        b"GiB for CUDAGraph memory", rf"{N} GiB for CUDAGraph memory", says("cuda_graph_bytes GiB", rank=2)
    ),
    LogLine(
        b"Estimated CUDA graph memory",
        rf"Estimated CUDA graph memory: {N} GiB total",
        says("cuda_graph_estimate_bytes GiB", rank=1),
    ),
)
