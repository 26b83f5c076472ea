"""How TensorRT-LLM's log reads, 0.5 to 1.2: the PyTorch backend, the C++ runtime, trtllm-build.

The cache is made twice: a small one to measure with, then the real one, so the last line counts.
"""

from ...recording.log_lines import NUMBER, LogLine, LogReader, says

N = NUMBER
LINES = (
    LogLine(b"LLM version", r"TensorRT[- ]LLM version:? v?(\d[\w.+-]*)", says("engine_version text")),
    LogLine(
        b"Using LLM with",
        r"(Using LLM with (?:PyTorch|TensorRT|AutoDeploy) backend)",
        says("backend text"),
        "start",
    ),
    LogLine(
        b"Engine version",
        r"Engine version (\d[\w.]*) found in the config file",
        says("engine_version text", rank=1),
        "start",
    ),
    LogLine(b"tensor_parallel_size=", r"(?:^|LLM Args:\s*)(model=.*)", says("resolved arguments")),
    LogLine(b"models--", r"\[TRT-LLM\].{0,200}?/models--([\w.-]+)/snapshots/", says("model_folder text")),
    LogLine(
        b"(inside torch)",
        rf"after loading model weights \(inside torch\)(?: in memory usage profiling)?: {N} GiB",
        says("weights_bytes GiB"),
    ),
    LogLine(
        b"(outside torch)",
        rf"after loading model weights \(outside torch\) in memory usage profiling: {N} GiB",
        says("non_torch_bytes GiB"),
    ),
    LogLine(
        b"during inference (inside",
        rf"dynamically allocated during inference \(inside torch\) in memory usage profiling: {N} GiB",
        says("activation_bytes GiB"),
    ),
    LogLine(
        b"used outside torch",
        rf"Memory used outside torch \(e\.g\., NCCL and CUDA graphs\) in memory usage profiling: {N} GiB",
        says("outside_torch_bytes GiB"),
    ),
    LogLine(
        b"GB for model weights",  # of parameters that the rank holds, before anything is loaded; GB is GiB
        rf"(?:Use|Rank \d+ uses) {N} GB for model weights",
        says("weights_bytes GiB", rank=3),
    ),
    LogLine(
        b"Loaded engine size", r"Loaded engine size: (\d+) MiB", says("weights_bytes MiB", keep="sum", rank=1)
    ),
    LogLine(
        b"Total Weights Memory", r"Total Weights Memory: (\d+)\b(?: bytes)?", says("weights_bytes B", rank=2)
    ),
    LogLine(
        b"Total Activation Memory",
        r"Total Activation Memory: (\d+)\b(?: bytes)?",
        says("activation_bytes B", rank=2),
    ),
    LogLine(
        b"execution context memory",
        rf"Allocated {N} GiB for execution context memory",
        says("activation_bytes GiB", rank=1),
    ),
    LogLine(
        b"in paged kv cache:",
        rf"paged kv cache: total: {N} GiB, available: {N} GiB",
        says("gpu_memory_bytes GiB", "gpu_free_bytes GiB"),
    ),
    LogLine(
        b"tokens in paged KV cache",
        rf"Allocated {N} GiB for max tokens in paged KV cache \((\d+)\)",
        says("kv_bytes GiB", "kv_tokens count", keep="last"),
    ),
    LogLine(b"tokens in paged KV cache", r"Using (\d+) tokens in paged KV cache", says("kv_tokens count")),
    LogLine(b"for k/v cache", r"Allocate (\d+) bytes for k/v cache", says("kv_bytes B", keep="last", rank=1)),
    LogLine(
        b"device total memory",
        rf"kv size is (\d+)\. device total memory {N} GiB",
        says("kv_bytes_per_token B", "gpu_memory_bytes GiB"),
    ),
    LogLine(b"tokens per block", r"Number of tokens per block: (\d+)\b", says("block_size count")),
    LogLine(
        b"free memory ",
        rf"\(to {N} and \d+ with free memory {N}(?:GiB)? of total memory {N}(?:GiB|,)",
        says("free_gpu_memory_fraction share", "free_gpu_bytes GiB", "gpu_memory_bytes GiB", keep="last"),
    ),
    LogLine(
        b"max_num_requests=",
        r"max_seq_len=(\d+), max_num_requests=(\d+), max_num_tokens=(\d+)",
        says("max_model_len count", "max_num_seqs count", "max_num_batched_tokens count"),
    ),
    LogLine(b"TRTGptModel max", r"TRTGptModel maxNumSequences: (\d+)", says("max_num_seqs count")),
    LogLine(b"TRTGptModel max", r"TRTGptModel maxSequenceLen: (\d+)", says("max_model_len count")),
    LogLine(b"Application startup complete", r"Application startup complete", (), "ready"),
    LogLine(b"ready to serve", r"Engine loaded and ready to serve", (), "ready"),
    LogLine(
        b"CUDA runtime error in",
        r"\[TensorRT-LLM\]\[ERROR\] CUDA runtime error in .*: out of memory",
        (),
        "oom",
    ),
    LogLine(b"Executor worker returned", r"Executor worker returned error", (), "failed"),
)
LOG = LogReader(
    "trtllm",
    LINES,
    label=r"\[(RANK \d+)\]()|^\[\d+,(\d+)\]<std",
    wakes=(b"Using LLM with",),
    one_rank_unsaid=True,
    arguments=(
        ("model", "model", "text"),
        ("tensor_parallel_size", "tp", "count"),
        ("pipeline_parallel_size", "pp", "count"),
        ("moe_expert_parallel_size", "ep", "count"),
        ("dtype", "dtype", "text"),
        ("max_seq_len", "max_model_len", "count"),
        ("max_batch_size", "max_num_seqs", "count"),
        ("max_num_tokens", "max_num_batched_tokens", "count"),
    ),
)
