"""How vLLM's log reads, 0.2 to 0.33: V0 and V1, on cards, NPUs, HPUs and CPUs.

Read in the sources of 0.5.0 to 0.33.0 (worker/worker.py, v1/worker/gpu_worker.py, v1/core/kv_cache_utils.py,
utils/mem_utils.py). "GB" before 0.8.3 is GiB: the code divides by 2**30.
"""

from collections.abc import Callable

from ...recording.log_lines import NUMBER, Live, LogLine, LogReader, says
from .log_figures import CACHE, GRAPHS, PEAK_WITH_GRAPHS, PROFILE, WEIGHTS

N = NUMBER
START = (
    LogLine(
        b"API server version", r"vLLM API server version v?(\d[^\s,]*)", says("engine_version text"), "start"
    ),
    LogLine(b"non-default args", r"non-default args: (\{.*)", says("asked arguments"), "start"),
    LogLine(
        b"args: Namespace(",
        r"args: Namespace\((.*\bgpu_memory_utilization=.*)",
        says("asked arguments"),
        "start",
    ),
    LogLine(
        b"LLM engine",
        r"Initializing an? (?:V[01] )?LLM engine(?: \(v([^)\s]+)\))? with config: ?(.*)",
        says("engine_version text", "resolved arguments"),
        "start",
    ),
    LogLine(b"a V0 LLM engine", r"Initializing an? (V0) LLM engine", says("generation text")),
    LogLine(b"a V1 LLM engine", r"Initializing an? (V1) LLM engine", says("generation text")),
)
CONFIGURATION = (
    LogLine(b"max model len ", r"Using max model len (\d+)\b", says("max_model_len count", rank=1)),
    LogLine(
        b"max_num_batched_tokens=",
        r"hunked prefill is enabled(?: \(EXPERIMENTAL\))?[. ]*(?:with )?max_num_batched_tokens=(\d+)\b",
        says("max_num_batched_tokens count", keep="last", rank=1),
    ),
    LogLine(
        b"in world size",
        r"rank \d+ in world size (\d+) is assigned as DP rank \d+, PP rank \d+",
        says("world_size count"),
    ),
    LogLine(b"device_name=", r"device_name=([A-Za-z][\w. -]*?)(?:,[\w=,\[\]. -]*)?\.json", says("gpu text")),
    LogLine(
        b"--gpu-memory-utilization=",
        r"The current --gpu-memory-utilization=(\d\.\d+) is equivalent to",
        says("gpu_memory_utilization share"),
    ),
    LogLine(
        b"Auto-fit max_model_len",
        r"Auto-fit max_model_len: reduced from \d+ to (\d+) to fit",
        says("max_model_len count"),
    ),
    LogLine(b"KV cache, scaling", r"Using (fp8\w*) data type to store kv cache", ()),
    LogLine(
        b"block_size to",
        r"(?:Setting|Forcing) (?:attention |kv cache )?block.size to (\d+)\b",
        says("block_size count"),
    ),
    LogLine(b"cudagraph is disabled", r"(Cudagraph is disabled under eager mode)", says("eager text")),
    LogLine(  # of vllm-ascend, in bytes
        b", total memory: ",
        r"Available memory: (\d+), total memory: (\d+)",
        says("kv_bytes B", "gpu_memory_bytes B"),
    ),
    LogLine(b"Platform plugin", r"Platform plugin (\w+) is activated", says("platform text")),
    LogLine(b"detected platform", r"Automatically detected platform (\w+)", says("platform text")),
    LogLine(b"Loading drafter model", r"(Loading drafter model)", says("drafted text")),
)
ENDS = (
    LogLine(b"init engine (profile", r"init engine \(profile", (), "ready"),
    LogLine(b"Starting vLLM ", r"Starting vLLM (?:API )?server", (), "ready"),
    LogLine(b"Application startup complete", r"Application startup complete", (), "ready"),
    LogLine(
        b"KV cache is needed",
        rf"{N} ?Gi?B KV cache is needed(?:,? which is larger than the available KV cache memory \({N} ?Gi?B)?",
        says("needed_bytes GiB", "kv_bytes GiB", rank=1),
        "failed",
    ),
    LogLine(
        b"estimated maximum model length",
        r"estimated maximum model length is ([\d,]+)\b",
        says("longest_length count"),
        "failed",
    ),
    LogLine(
        b"stored in KV cache (",
        r"maximum number of tokens that can be stored in KV cache \(([\d,]+)\)",
        says("kv_tokens count", keep="least"),
        "failed",
    ),
    LogLine(b"No available memory for", r"No available memory for the cache blocks", (), "failed"),
    LogLine(
        b"available Mamba cache blocks",
        r"max_num_seqs \((\d+)\) exceeds available Mamba cache blocks \((\d+)\)",
        says("max_num_seqs count", "state_blocks count"),
        "failed",
    ),
    LogLine(b"on startup is less than", r"on startup is less than (?:desired|the engine)", (), "failed"),
    LogLine(b"ngine core initialization failed", r"Engine core initialization failed", (), "failed"),
    LogLine(b"EngineCore failed to start", r"EngineCore failed to start", (), "failed"),
)
ARGUMENTS = (
    ("model", "model", "text"),
    ("tensor_parallel_size", "tp", "count"),
    ("pipeline_parallel_size", "pp", "count"),
    ("data_parallel_size", "dp", "count"),
    ("enable_expert_parallel", "enable_expert_parallel", "flag"),
    ("dtype", "dtype", "text"),
    ("quantization", "quantization", "text"),
    ("kv_cache_dtype", "kv_cache_dtype", "text"),
    ("max_model_len", "max_model_len", "count"),
    ("max_seq_len", "max_model_len", "count"),
    ("max_num_seqs", "max_num_seqs", "count"),
    ("max_num_batched_tokens", "max_num_batched_tokens", "count"),
    ("gpu_memory_utilization", "gpu_memory_utilization", "share"),
    ("enforce_eager", "enforce_eager", "flag"),
    ("block_size", "block_size", "count"),
    ("speculative_config", "speculative_config", "text"),
)
LIVE = Live(
    b"GPU KV cache usage: ",
    rb"Running: (\d+) reqs.*?Waiting: (\d+) reqs.*?GPU KV cache usage: (\d+(?:\.\d+)?)%",
    ("live_running", "live_waiting", "live_kv_usage"),
    (1, 1, 0.01),
)
INFO = "vllm:cache_config_info"
METRICS = (
    (INFO, "block_size", "block_size", "count"),
    (INFO, "num_gpu_blocks", "kv_blocks", "count"),
    (INFO, "gpu_memory_utilization", "gpu_memory_utilization", "share"),
    (INFO, "cache_dtype", "kv_cache_dtype", "text"),
    (INFO, "kv_cache_memory_bytes", "kv_bytes", "B"),
    (INFO, "kv_cache_size_tokens", "kv_tokens", "count"),
    (INFO, "kv_cache_max_concurrency", "max_concurrency", "share"),
    ("vllm:kv_cache_usage_perc", "", "live_kv_usage", "live"),
    ("vllm:gpu_cache_usage_perc", "", "live_kv_usage", "live"),
    ("vllm:num_requests_running", "", "live_running", "live"),
    ("vllm:num_requests_waiting", "", "live_waiting", "live"),
    ("vllm:num_preemptions_total", "", "live_preemptions", "live"),
    ("vllm:kv_cache_usage_perc", "model_name", "model", "text"),
    ("vllm:num_requests_running", "model_name", "model", "text"),
)
V0_BLOCK = 16
"""Tokens of a block on a card, unless the log says another: vLLM's own default until V0 ended."""


def unsaid_block(said: Callable[[str], str]) -> int:
    """Return the tokens of a block that a run takes by itself; 0 where V1 or the platform chose another.

    >>> unsaid_block({"generation": "V0", "platform": "cuda"}.__getitem__)
    16
    >>> unsaid_block({"generation": "V0", "platform": "cpu"}.__getitem__)
    0
    """
    other = said("platform").startswith(("cpu", "hpu", "tpu", "ascend"))
    return 0 if other or said("generation") == "V1" else V0_BLOCK


LOG = LogReader(
    "vllm",
    (*START, *CONFIGURATION, *WEIGHTS, *PROFILE, *CACHE, *GRAPHS, *ENDS),
    label=r"\(((?:Vllm|Ray)?Worker[\w ]*(?: rank=\d+)?|EngineCore\w*|APIServer\w*|ApiServer\w*) ?pid=(\d+)[^)]*\)",
    live=LIVE,
    wakes=(b"LLM engine",),
    arguments=ARGUMENTS,
    metrics=METRICS,
    sizes_left_out=("tp", "pp", "dp"),
    counts_too=(
        ("activation_bytes", PEAK_WITH_GRAPHS, "cuda_graph_estimate_bytes", "estimate_is_taken_off"),
    ),
    unsaid_block=unsaid_block,
)
