"""How SGLang's log reads, 0.2 to 0.5.23. Its "GB" is GiB everywhere: the code divides by 2**30.

"mem usage" of a load is what became free less, so that pages of the file system's cache or a neighbour can
hide weights; before 0.4.4 only "avail mem" before and after is printed.
"""

from ...recording.log_lines import NUMBER, Live, LogLine, LogReader, says

N = NUMBER
LINES = (
    LogLine(b"server_args=", r"\bserver_args=ServerArgs\((.*)", says("asked arguments"), "start"),
    LogLine(b"SGLang version", r"SGLang version:? v?(\d[\w.+-]*)", says("engine_version text")),
    LogLine(
        b"Init torch distributed ends",
        rf"distributed ends\..*?mem usage={N} ?GB",
        says("distributed_bytes GiB"),
    ),
    LogLine(
        b"Load weight begin", rf"Load weight begin\. avail mem={N} ?GB", says("gpu_free_bytes GiB"), "load"
    ),
    LogLine(b"Load weight end", rf"Load weight end\..*?mem usage={N} ?GB", says("weights_bytes GiB")),
    LogLine(b"Load weight end", rf"Load weight end\..*?avail mem={N} ?GB", says("free_after_load_bytes GiB")),
    LogLine(b"Load weight end", r"Load weight end\..*?type=(\w+),", says("architecture text")),
    LogLine(b"Load weight end", r"Load weight end\..*?dtype=torch\.(\w+)", says("dtype text", rank=1)),
    LogLine(
        b"memory for KV cache", rf"available memory for KV cache is {N} ?GB", says("kv_available_bytes GiB")
    ),
    LogLine(b"#tokens: ", r"#tokens: (\d+)\b", says("pool_tokens count", keep="most", whose="pool")),
    LogLine(
        b"KV Cache is allocated",
        rf"KV Cache is allocated\..*?\bKV size: {N} ?GB",
        says("kv_bytes GiB", keep="sum", whose="pool"),
    ),
    LogLine(
        b"KV Cache is allocated",
        rf"KV Cache is allocated\..*?\bK size: {N} ?GB, V size: {N} ?GB",
        says("kv_bytes GiB", "kv_bytes GiB", keep="sum", whose="pool"),
    ),
    LogLine(
        b"SWAKVPool mem usage",
        rf"SWAKVPool mem usage: {N} ?GB(?:, swa size: \d+, full size: (\d+))?",
        says("kv_total_bytes GiB", "pool_tokens count", whose="pool"),
    ),
    LogLine(
        b"Mamba Cache is allocated",
        rf"conv_state size: {N} ?GB, ssm_state size: {N} ?GB",
        says("state_bytes GiB", "state_bytes GiB", keep="sum", whose="pool"),
    ),
    LogLine(
        b"emory pool end",
        rf"Memory pool end\. avail mem={N} ?GB",
        says("free_after_pool_bytes GiB", whose="pool"),
        "pool",
    ),
    LogLine(
        b"bytes_per_full_token",
        rf"memory calculation: bytes_per_full_token={N}, available_bytes={N} ?GB",
        says("kv_bytes_per_token B", "kv_available_bytes GiB", whose="pool"),
    ),
    LogLine(
        b"bytes_per_full_token",
        r"memory calculation: .*?\bfull_token=(\d+)\b",
        says("pool_tokens count", whose="pool"),
    ),
    LogLine(
        b"max_total_num_tokens",
        r"\bmax_total_num_tokens[= ]([\d,]*\d)\b",
        says("kv_tokens count", whose="run"),
    ),
    LogLine(
        b"max_running_requests=",
        r"max_total_num_tokens=\d+,.*?max_running_requests=(\d+)\b",
        says("max_num_seqs count", whose="run"),
    ),
    LogLine(
        b"context_len=",
        r"max_total_num_tokens=\d+,.*?context_len=(\d+)\b",
        says("max_model_len count", whose="run"),
    ),
    LogLine(
        b"chunked_prefill_size=",
        r"max_total_num_tokens=\d+, chunked_prefill_size=(\d+)\b",
        says("max_num_batched_tokens count", whose="run"),
    ),
    LogLine(
        b"available_gpu_mem=",
        rf"max_total_num_tokens=\d+,.*?available_gpu_mem={N} ?GB",
        says("free_bytes GiB", whose="run"),
    ),
    LogLine(
        b"apture",
        rf"Capture (?:cuda|npu|CUDA|piecewise CUDA|xpu|cpu|musa|device|decode|prefill|target\s?\w*) ?\w* graph end\..*?mem usage={N} ?GB",
        says("cuda_graph_bytes GiB", keep="sum", whose="run"),
    ),
    LogLine(
        b"apture draft",
        rf"Capture draft[\w ]* graph end\..*?mem usage={N} ?GB",
        says("draft_graph_bytes GiB", keep="sum"),
    ),
    LogLine(b"fired up and ready", r"server is fired up and ready to roll", (), "ready"),
    LogLine(b"Application startup complete", r"Application startup complete", (), "ready"),
    LogLine(
        b"Not enough memory",
        r"Not enough memory\. Please try (?:to increase|increasing) --mem-fraction-static",
        (),
        "failed",
    ),
    LogLine(b"leave no GPU memory for", r"Loaded weights leave no GPU memory for the KV cache", (), "failed"),
    LogLine(b"raph failed:", r"Capture (?:cuda|CUDA|npu|CPU|cpu) graph failed", (), "failed"),
    LogLine(b"Scheduler hit an exception", r"Scheduler hit an exception", (), "failed"),
)
ARGUMENTS = (
    ("model_path", "model", "text"),
    ("tp_size", "tp", "count"),
    ("pp_size", "pp", "count"),
    ("dp_size", "dp", "count"),
    ("ep_size", "ep", "count"),
    ("dtype", "dtype", "text"),
    ("quantization", "quantization", "text"),
    ("kv_cache_dtype", "kv_cache_dtype", "text"),
    ("context_length", "max_model_len", "count"),
    ("max_running_requests", "max_num_seqs", "count"),
    ("chunked_prefill_size", "max_num_batched_tokens", "count"),
    ("mem_fraction_static", "mem_fraction_static", "share"),
    ("page_size", "block_size", "count"),
    ("disable_cuda_graph", "enforce_eager", "flag"),
    ("enable_dp_attention", "enable_dp_attention", "flag"),
    ("speculative_algorithm", "speculative_config", "text"),
    ("device", "device", "text"),
)
LOG = LogReader(
    "sglang",
    LINES,
    label=r"\[\d[\d: .,-]*((?: (?:DP|PP|TP|EP|ATTN_[DT]P|MOE_[DET]P)\d+)+)(?:[^\]]*)\]()",
    live=Live(
        b"token usage: ",
        rb"token usage: (\d\.\d+),.*?(?:#running-req: (\d+))?,.*?(?:#queue-req: (\d+))?",
        ("live_kv_usage", "live_running", "live_waiting"),
        (1, 1, 1),
    ),
    wakes=(b"server_args=",),
    resolved=("max_num_seqs", "max_model_len"),
    says_expert_size=True,
    tp_counts_dp=True,
    arguments=ARGUMENTS,
    metrics=(
        ("sglang:weight_memory_usage_gb", "", "weights_bytes", "GiB"),
        ("sglang:kv_cache_memory_usage_gb", "", "kv_bytes", "GiB"),
        ("sglang:graph_memory_usage_gb", "", "cuda_graph_bytes", "GiB"),
        ("sglang:startup_available_gpu_memory_gb", "", "gpu_free_bytes", "GiB"),
        ("sglang:max_total_num_tokens", "", "kv_tokens", "count"),
        ("sglang:context_len", "", "max_model_len", "count"),
        ("sglang:page_size", "", "block_size", "count"),
        ("sglang:max_total_num_tokens", "model_name", "model", "text"),
        ("sglang:token_usage", "", "live_kv_usage", "live"),
        ("sglang:num_running_reqs", "", "live_running", "live"),
        ("sglang:num_queue_reqs", "", "live_waiting", "live"),
        ("sglang:num_retracted_requests_total", "", "live_preemptions", "live"),
    ),
)
