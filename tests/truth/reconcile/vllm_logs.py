"""Whole logs of vLLM as its releases word them, with the facts that stand in them. The figures are made up."""

from written import Written, gib

ARGS = "port=8000, model='{m}', tokenizer=None, dtype='auto', max_model_len={n}, tensor_parallel_size={tp}, pipeline_parallel_size=1, block_size=16, gpu_memory_utilization={u}, max_num_seqs=256, quantization=None, enforce_eager=False, kv_cache_dtype='auto'"
CONFIG = "model='{m}', speculative_config=None, tokenizer='{m}', skip_tokenizer_init=False, revision=None, trust_remote_code=False, dtype=torch.bfloat16, max_seq_len={n}, download_dir=None, load_format=auto, tensor_parallel_size={tp}, pipeline_parallel_size=1, disable_custom_all_reduce=False, quantization=None, enforce_eager=False, kv_cache_dtype=auto, seed=0, served_model_name={m}, pooler_config=None"
MODEL = "meta-llama/Llama-3.1-8B-Instruct"


def start(
    version: str, prefix: str = "", tp: int = 1, length: int = 8192, share: str = "0.9", word: str = "an"
) -> list[str]:
    """The lines before anything is loaded."""
    fill = {"m": MODEL, "n": length, "tp": tp, "u": share}
    return [
        f"{prefix}INFO 03-02 10:00:00 api_server.py:100] vLLM API server version {version}",
        f"{prefix}INFO 03-02 10:00:00 api_server.py:101] args: Namespace({ARGS.format(**fill)})",
        f"{prefix}INFO 03-02 10:00:09 llm_engine.py:200] Initializing {word} LLM engine (v{version}) with config: {CONFIG.format(**fill)}, ",
    ]


def start_v1(version: str, api: str, core: str, args: str, tp: int = 1, length: int = 8192) -> list[str]:
    """The same since the arguments are printed as those that are no defaults."""
    fill = {"m": MODEL, "n": length, "tp": tp}
    return [
        f"{api}INFO 03-02 10:00:00 [api_server.py:100] vLLM API server version {version}",
        f"{api}INFO 03-02 10:00:00 [utils.py:200] non-default args: {{'model_tag': '{MODEL}', 'model': '{MODEL}', {args}}}",
        f"{api}INFO 03-02 10:00:05 [model.py:300] Using max model len {length}",
        f"{core}INFO 03-02 10:00:09 [core.py:70] Initializing a V1 LLM engine (v{version}) with config: {CONFIG.format(**fill)}, compilation_config={{'level': 3}}",
    ]


BASE = {
    "engine": "vllm",
    "model": MODEL,
    "tp": 1,
    "pp": 1,
    "dp": 1,
    "dtype": "bfloat16",
    "max_model_len": 8192,
    "enforce_eager": False,
}


def v0_logs() -> list[Written]:
    """0.2 to 0.8: blocks, then a profile in words, on a card."""
    tail = "INFO:     Application startup complete."
    known = {**BASE, "gpu_memory_utilization": 0.9, "max_num_seqs": 256}
    concurrency = (
        "INFO 03-02 10:00:30 executor_base.py:110] Maximum concurrency for 8192 tokens per request: 13.18x"
    )
    return [
        Written(
            "vllm-0.2.7",
            [
                f"INFO 01-05 10:00:00 llm_engine.py:70] Initializing an LLM engine with config: {CONFIG.format(m=MODEL, n=8192, tp=1)}, ",
                "INFO 01-05 10:00:40 llm_engine.py:275] # GPU blocks: 7448, # CPU blocks: 2048",
                tail,
            ],
            {**BASE, "kv_tokens": 7448 * 16},
        ),
        Written(
            "vllm-0.5.4",
            [
                *start("0.5.4"),
                "INFO 03-02 10:00:20 model_runner.py:732] Loading model weights took 14.9888 GB",
                "INFO 03-02 10:00:25 gpu_executor.py:102] # GPU blocks: 6749, # CPU blocks: 2048",
                tail,
            ],
            {**known, "engine_version": "0.5.4", "weights_bytes": gib(14.9888), "kv_tokens": 6749 * 16},
        ),
        Written(
            "vllm-0.6.4",
            [
                *start("0.6.4.post1"),
                "INFO 03-02 10:00:20 model_runner.py:1072] Loading model weights took 14.9888 GB",
                "INFO 03-02 10:00:22 worker.py:232] Memory profiling results: total_gpu_memory=23.65GiB initial_memory_usage=15.34GiB peak_torch_memory=17.06GiB memory_usage_post_profile=15.41GiB non_torch_memory=0.35GiB kv_cache_size=3.81GiB gpu_memory_utilization=0.90",
                "INFO 03-02 10:00:25 gpu_executor.py:113] # GPU blocks: 1952, # CPU blocks: 2048",
                "INFO 03-02 10:00:25 gpu_executor.py:117] Maximum concurrency for 8192 tokens per request: 3.81x",
                tail,
            ],
            {
                **known,
                "engine_version": "0.6.4.post1",
                "weights_bytes": gib(14.9888),
                "non_torch_bytes": gib(0.35),
                "kv_bytes": gib(3.81),
                "gpu_memory_bytes": gib(23.65),
                "kv_tokens": 31232,
                "max_concurrency": 3.81,
            },
        ),
        *(
            Written(
                f"vllm-{version}-v0",
                [
                    *start(version, word=word),
                    f"INFO 03-02 10:00:20 model_runner.py:1100] {loading} weights took 14.9888 GB"
                    if loading
                    else "",
                    "INFO 03-02 10:00:25 worker.py:267] Memory profiling takes 1.52 seconds",
                    "INFO 03-02 10:00:25 worker.py:267] the current vLLM instance can use total_gpu_memory (79.10GiB) x gpu_memory_utilization (0.90) = 71.19GiB",
                    "INFO 03-02 10:00:25 worker.py:267] model weights take 14.99GiB; non_torch_memory takes 0.15GiB; PyTorch activation peak memory takes 1.23GiB; the rest of the memory reserved for KV Cache is 54.82GiB.",
                    f"INFO 03-02 10:00:26 executor_base.py:111] # {device} blocks: 6749, # CPU blocks: 2048",
                    concurrency,
                    "INFO 03-02 10:00:50 model_runner.py:1500] Graph capturing finished in 19 secs, took 0.47 GiB",
                    tail,
                ],
                {
                    **known,
                    "engine_version": version,
                    "weights_bytes": gib(14.9888) if loading else gib(14.99),
                    "non_torch_bytes": gib(0.15),
                    "activation_bytes": gib(1.23),
                    "kv_bytes": gib(54.82),
                    "kv_tokens": 107984,
                    "max_concurrency": 13.18,
                    "cuda_graph_bytes": gib(0.47),
                    "gpu_memory_bytes": gib(79.10),
                },
            )
            for version, word, loading, device in (
                ("0.6.6", "an", "Loading model", "GPU"),
                ("0.7.2", "a V0", "Loading model", "CUDA"),
                ("0.8.4", "a V0", "", "cuda"),
            )
        ),
    ]


def v1_logs() -> list[Written]:
    """0.7 to 0.33: one line a figure."""
    found = []
    for version, loading, cache, behind in V1_WORDS:
        api, core = (
            ("", "")
            if version < "0.10.2" and version.startswith("0.") and version in EARLY
            else ("(APIServer pid=10) ", "(EngineCore_DP0 pid=20) ")
        )
        lines = [
            *start_v1(version, api, core, "'max_model_len': 8192, 'gpu_memory_utilization': 0.85"),
            f"{core}INFO 03-02 10:00:20 [gpu_model_runner.py:1000] {loading}",
            *(f"{core}INFO 03-02 10:00:30 [gpu_worker.py:250] {line}" for line in cache),
            *(f"{core}INFO 03-02 10:00:50 [gpu_model_runner.py:1600] {line}" for line in behind),
            f"{core}INFO 03-02 10:00:51 [core.py:160] init engine (profile, create kv cache, warmup model) took 30.1 seconds",
            f"{api}INFO:     Application startup complete.",
            f"{api}INFO 03-02 10:01:00 [loggers.py:100] Engine 000: Avg prompt throughput: 1.0 tokens/s, Avg generation throughput: 2.0 tokens/s, Running: 3 reqs, Waiting: 1 reqs, GPU KV cache usage: 12.5%, Prefix cache hit rate: 0.0%",
        ]
        facts = {
            **BASE,
            "engine_version": version,
            "gpu_memory_utilization": 0.85,
            "weights_bytes": gib(14.9888 if "14.9888" in loading else 14.99),
        }
        text = "\n".join((*cache, *behind))
        if "Available KV" in text or "reserved" in text:
            facts["kv_bytes"] = gib(50.25)
        if "KV cache size" in text:
            facts |= {"kv_tokens": 411648}
        if "# GPU blocks" in text:
            facts |= {"kv_tokens": 25728 * 16}
        if "concurrency" in text:
            facts |= {"max_concurrency": 50.25}
        if "took 0.62" in text or "0.62 GiB (actual)" in text:
            facts |= {"cuda_graph_bytes": gib(0.62)}
        if "torch peak" in text or "for peak activation" in text:
            facts |= {"activation_bytes": gib(0.65 if ENABLED in text else 1.23)}
        if "non-torch forward" in text or "for non-torch memory" in text:
            facts |= {"non_torch_bytes": gib(0.11)}
        if "on startup" in text or "Requested memory" in text:
            facts |= {"gpu_memory_bytes": gib(79.19)} if "on startup" in text else {}
        found.append(Written(f"vllm-{version}-v1", lines, facts))
    return found


EARLY = ("0.7.3", "0.8.1", "0.8.5", "0.9.2", "0.10.0")
SIZE = "GPU KV cache size: 411,648 tokens"
TIMES = "Maximum concurrency for 8,192 tokens per request: 50.25x"
AVAILABLE = "Available KV cache memory: 50.25 GiB"
CAPTURED = "Graph capturing finished in 21 secs, took 0.62 GiB"
POOL = "CUDA graph pool memory: 0.62 GiB (actual), 0.58 GiB (estimated), difference: 0.04 GiB (6.5%)."
ENABLED = "CUDA graph memory profiling is enabled (default since v0.21.0). The current --gpu-memory-utilization=0.8500 is equivalent to --gpu-memory-utilization=0.8427 without CUDA graph memory profiling."
PROFILED = "Memory profiling takes 4.20 seconds. Total non KV cache memory: 16.33GiB; torch peak memory increase: 1.23GiB; non-torch forward increase memory: 0.11GiB; weights memory: 14.99GiB."
CONSUMED = "Memory profiling takes 4.20 seconds. Total non KV cache memory: 16.33GiB; torch peak memory increase: 1.23GiB; total consumed (from mem_get_info): 15.2GiB; weights memory: 14.99GiB."
ACTUAL = "Free memory on device (78.70/79.19 GiB) on startup. Desired GPU memory utilization is (0.85, 67.31 GiB). Actual usage is 14.99 GiB for weight, 1.23 GiB for peak activation, 0.11 GiB for non-torch memory, and 0.62 GiB for CUDAGraph memory. Replace gpu_memory_utilization config with `--kv-cache-memory=53000000000` to fit into requested memory, or `--kv-cache-memory=63000000000` to fully utilize gpu memory. Current kv cache memory in use is 53955526656 bytes."
ACTUAL_027 = "Free memory on device (78.7/79.19 GiB) on startup. Desired GPU memory utilization is (0.85, 67.31 GiB). Actual usage is 15.2 GiB for consumed memory (weights + non-torch), 1.23 GiB for peak activation, and 0.62 GiB for CUDAGraph memory. Replace gpu_memory_utilization config with `--kv-cache-memory=53000000000` (49.36 GiB) to fit into requested memory. Current kv cache memory in use is 50.25 GiB."
V1_WORDS = (
    (
        "0.7.3",
        "Loading model weights took 14.9888 GB",
        ["# GPU blocks: 25728", "Maximum concurrency for 8192 tokens per request: 50.25x"],
        [CAPTURED],
    ),
    ("0.8.1", "Model loading took 14.9888 GB and 9.120000 seconds", [SIZE, TIMES], [CAPTURED]),
    ("0.8.5", "Model loading took 14.9888 GiB and 9.120000 seconds", [SIZE, TIMES], [CAPTURED]),
    (
        "0.9.2",
        "Model loading took 14.9888 GiB and 9.120000 seconds",
        [PROFILED, AVAILABLE, SIZE, TIMES],
        [CAPTURED],
    ),
    ("0.10.0", "Model loading took 14.9888 GiB and 9.120000 seconds", [AVAILABLE, SIZE, TIMES], [CAPTURED]),
    (
        "0.10.2",
        "Model loading took 14.9888 GiB and 9.120000 seconds",
        [AVAILABLE, SIZE, TIMES],
        [CAPTURED, ACTUAL],
    ),
    ("0.11.0", "Model loading took 14.9888 GiB and 9.120000 seconds", [AVAILABLE, SIZE, TIMES], [CAPTURED]),
    (
        "0.12.0",
        "Model loading took 14.9888 GiB memory and 9.120000 seconds",
        [
            "Initial free memory 78.70 GiB, reserved 50.25 GiB memory for KV Cache as specified by kv_cache_memory_bytes config and skipped memory profiling.",
            SIZE,
            TIMES,
        ],
        [CAPTURED],
    ),
    (
        "0.14.0",
        "Model loading took 14.99 GiB memory and 9.120000 seconds",
        [AVAILABLE, SIZE, TIMES],
        [CAPTURED, ACTUAL],
    ),
    (
        "0.16.0",
        "Model loading took 14.99 GiB memory and 9.120000 seconds",
        [
            "Initial free memory: 78.7 GiB; Requested memory: 0.850000 (util), 67.31 GiB",
            PROFILED,
            AVAILABLE,
            SIZE,
            TIMES,
        ],
        [CAPTURED],
    ),
    (
        "0.18.0",
        "Model loading took 14.99 GiB memory and 9.120000 seconds",
        ["Estimated CUDA graph memory: 0.58 GiB total", AVAILABLE, SIZE, TIMES],
        [CAPTURED, POOL],
    ),
    (
        "0.19.0",
        "Model loading took 14.99 GiB memory and 9.120000 seconds",
        [PROFILED, AVAILABLE, SIZE, TIMES],
        [POOL],
    ),
    (
        "0.21.0",
        "Model loading took 14.99 GiB memory and 9.120000 seconds",
        ["Estimated CUDA graph memory: 0.58 GiB total", AVAILABLE, SIZE, TIMES],
        [CAPTURED, POOL],
    ),
    (
        "0.23.0",
        "Model loading took 14.99 GiB memory and 9.120000 seconds",
        [AVAILABLE, SIZE, TIMES],
        [CAPTURED, POOL],
    ),
    (
        "0.25.1",
        "Model loading took 14.99 GiB memory and 9.120000 seconds",
        [AVAILABLE, SIZE, TIMES],
        [CAPTURED, POOL],
    ),
    (
        "0.27.1",
        "Model loading took 14.99 GiB memory and 9.120000 seconds",
        [CONSUMED, AVAILABLE, SIZE, TIMES],
        [CAPTURED, POOL, ACTUAL_027],
    ),
    (
        "0.28.0",
        "Model loading took 14.99 GiB memory and 9.120000 seconds",
        ["Estimated CUDA graph memory: 0.58 GiB total", AVAILABLE, ENABLED, f"{SIZE}, {TIMES}"],
        [CAPTURED, POOL, ACTUAL_027],
    ),
    (
        "0.30.0",
        "Model loading took 14.99 GiB memory and 9.120000 seconds",
        [AVAILABLE, f"{SIZE}, {TIMES}"],
        [CAPTURED, POOL],
    ),
    (
        "0.33.0",
        "Model loading took 14.99 GiB memory and 9.120000 seconds",
        [CONSUMED, AVAILABLE, f"{SIZE}, {TIMES}"],
        [CAPTURED, POOL, ACTUAL_027],
    ),
)


def particular_logs() -> list[Written]:
    """Ranks that differ, data-parallel engines, other devices, starts that fail."""
    colour = "\x1b[1;36m({} pid={})\x1b[0;0m "
    ranks = []
    for kind, figure in (
        ("Model loading took 14.9888 GiB and 9.1 seconds", None),
        ("Available KV cache memory: {} GiB", (50.5, 50.25, 50.25, 51.0)),
    ):
        ranks += [
            colour.format(f"VllmWorker rank={rank}", 100 + rank)
            + "INFO 03-02 10:00:20 [gpu_worker.py:200] "
            + (kind.format(figure[rank]) if figure else kind)
            for rank in (2, 0, 3, 1)
        ]
    tp4 = Written(
        "vllm-0.10.0-tp4",
        [
            *start_v1("0.10.0", "", "", "'max_model_len': 8192, 'tensor_parallel_size': 4", tp=4),
            *ranks,
            *(
                f"INFO 03-02 10:00:31 [kv_cache_utils.py:833] GPU KV cache size: {tokens} tokens"
                for tokens in ("413,696", "411,648", "411,648", "417,792")
            ),
        ],
        {
            **BASE,
            "tp": 4,
            "engine_version": "0.10.0",
            "weights_bytes": gib(14.9888),
            "kv_bytes": gib(50.25),
            "kv_tokens": 411648,
        },
    )
    dp = [
        *start_v1(
            "0.11.0",
            "(APIServer pid=9) ",
            "(EngineCore_DP0 pid=20) ",
            "'data_parallel_size': 2, 'max_model_len': 8192",
        )
    ]
    for rank in (0, 1):
        core = f"(EngineCore_DP{rank} pid={20 + rank}) "
        dp += [dp[3].replace("(EngineCore_DP0 pid=20) ", core)] if rank else []
        dp += [
            core
            + "INFO 03-02 10:00:20 [gpu_model_runner.py:2653] Model loading took 14.9888 GiB and 9.1 seconds",
            core + "INFO 03-02 10:00:30 [gpu_worker.py:298] Available KV cache memory: 50.25 GiB",
            core + "INFO 03-02 10:00:31 [kv_cache_utils.py:1087] GPU KV cache size: 411,648 tokens",
        ]
    restarted = [
        *v1_logs()[6].lines,
        *[line.replace("14.9888", "7.5000").replace("pid=20", "pid=77") for line in v1_logs()[6].lines],
    ]
    return [
        tp4,
        Written(
            "vllm-0.11.0-dp2",
            dp,
            {
                **BASE,
                "dp": 2,
                "engine_version": "0.11.0",
                "weights_bytes": gib(14.9888),
                "kv_bytes": gib(50.25),
                "kv_tokens": 411648,
            },
        ),
        Written("vllm-restarted", restarted, {**v1_logs()[6].facts, "weights_bytes": gib(7.5)}, num_runs=2),
        Written(
            "vllm-0.6.6-workers",
            [
                *start("0.6.6", tp=4),
                *(
                    f"{who}INFO 03-02 10:00:20 model_runner.py:1100] Loading model weights took 3.7711 GB"
                    for who in ("", *(f"(VllmWorkerProcess pid={pid}) " for pid in (91, 92, 93)))
                ),
                "INFO 03-02 10:00:25 worker.py:241] model weights take 3.77GiB; non_torch_memory takes 0.44GiB; PyTorch activation peak memory takes 1.19GiB; the rest of the memory reserved for KV Cache is 15.30GiB.",
                *(
                    f"(VllmWorkerProcess pid={pid}) INFO 03-02 10:00:25 worker.py:241] model weights take 3.77GiB; non_torch_memory takes 0.40GiB; PyTorch activation peak memory takes 0.92GiB; the rest of the memory reserved for KV Cache is 15.61GiB."
                    for pid in (92, 91, 93)
                ),
                "INFO 03-02 10:00:26 distributed_gpu_executor.py:57] # GPU blocks: 31324, # CPU blocks: 8192",
            ],
            {
                **BASE,
                "tp": 4,
                "engine_version": "0.6.6",
                "gpu_memory_utilization": 0.9,
                "max_num_seqs": 256,
                "weights_bytes": gib(3.7711),
                "kv_bytes": gib(15.30),
                "non_torch_bytes": gib(0.44),
                "activation_bytes": gib(1.19),
                "kv_tokens": 31324 * 16,
            },
        ),
        Written(
            "vllm-0.8.5-ray",
            [
                *start_v1("0.8.5", "", "", "'max_model_len': 8192, 'tensor_parallel_size': 2", tp=2),
                "(RayWorkerWrapper pid=5001) INFO 03-02 10:00:20 [gpu_model_runner.py:1347] Model loading took 7.5100 GiB and 9.1 seconds",
                "(RayWorkerWrapper pid=811, ip=192.0.2.7) INFO 03-02 10:00:21 [gpu_model_runner.py:1347] Model loading took 7.5100 GiB and 9.9 seconds",
                "INFO 03-02 10:00:31 [kv_cache_utils.py:634] GPU KV cache size: 411,648 tokens",
            ],
            {**BASE, "tp": 2, "engine_version": "0.8.5", "weights_bytes": gib(7.51), "kv_tokens": 411648},
        ),
        Written(
            "vllm-0.32-cpu",
            [
                *start_v1("0.32.0", "", "", "'max_model_len': 8192"),
                "INFO 03-02 10:00:31 [kv_cache_utils.py:900] CPU KV cache size: 524,288 tokens, Maximum concurrency for 8,192 tokens per request: 64.00x",
            ],
            {**BASE, "engine_version": "0.32.0", "kv_tokens": 524288, "max_concurrency": 64.0},
        ),
        Written(
            "vllm-ascend-0.11",
            [
                *[
                    line.replace("kv_cache_dtype=auto,", "kv_cache_dtype=auto, device_config=npu,")
                    for line in start_v1("0.11.0", "", "", "'max_model_len': 8192")
                ],
                "INFO 03-02 10:00:20 [model_runner_v1.py:2200] Loading model weights took 6.2162 GB",
                "INFO 03-02 10:00:31 [kv_cache_utils.py:1087] GPU KV cache size: 831,872 tokens",
            ],
            {
                **BASE,
                "engine": "vllm-ascend",
                "engine_version": "0.11.0",
                "weights_bytes": gib(6.2162),
                "kv_tokens": 831872,
            },
        ),
        Written(
            "vllm-ascend-0.13",
            [
                *[
                    line.replace("kv_cache_dtype=auto,", "kv_cache_dtype=auto, device_config=npu,")
                    for line in start_v1("0.13.0", "", "", "'max_model_len': 8192")
                ],
                "INFO 04-02 10:00:20 [model_runner_v1.py:2451] Loading model weights took 15.0203 GB",
                "INFO 04-02 10:00:24 [worker.py:281] Available memory: 40141979648, total memory: 65787658240",
                "INFO 04-02 10:00:31 [kv_cache_utils.py:1305] GPU KV cache size: 306,176 tokens",
            ],
            {
                **BASE,
                "engine": "vllm-ascend",
                "engine_version": "0.13.0",
                "gpu_memory_bytes": 65787658240,
                "weights_bytes": gib(15.0203),
                "kv_bytes": 40141979648,
                "kv_tokens": 306176,
            },
        ),
        Written(
            "vllm-too-long",
            [
                *start_v1("0.11.0", "", "", "'max_model_len': 8192"),
                "INFO 03-02 10:00:20 [gpu_model_runner.py:2653] Model loading took 14.9888 GiB and 9.1 seconds",
                "(EngineCore_DP0 pid=20) ValueError: To serve at least one request with the models's max seq len (8192), (1.00 GiB KV cache is needed, which is larger than the available KV cache memory (0.61 GiB). Based on the available memory, the estimated maximum model length is 4992. Try increasing `gpu_memory_utilization`",
            ],
            {**BASE, "engine_version": "0.11.0", "weights_bytes": gib(14.9888), "kv_bytes": gib(0.61)},
            state="failed",
        ),
        Written(
            "vllm-v0-too-long",
            [
                *start("0.6.6"),
                "INFO 03-02 10:00:25 executor.py:1] # GPU blocks: 1478, # CPU blocks: 2048",
                "ValueError: The model's max seq len (32768) is larger than the maximum number of tokens that can be stored in KV cache (23648). Try increasing `gpu_memory_utilization`",
            ],
            {
                **BASE,
                "engine_version": "0.6.6",
                "gpu_memory_utilization": 0.9,
                "max_num_seqs": 256,
                "kv_tokens": 23648,
            },
            state="failed",
        ),
        Written(
            "vllm-oom",
            [
                *start_v1("0.11.0", "", "", "'max_model_len': 8192"),
                "(EngineCore_DP0 pid=20) ERROR [core.py:700] torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 224.00 MiB. GPU 0 has a total capacity of 14.57 GiB of which 118.94 MiB is free. Including non-PyTorch memory, this process has 14.45 GiB memory in use. Of the allocated memory 14.30 GiB is allocated by PyTorch, and 31.07 MiB is reserved by PyTorch but unallocated.",
            ],
            {**BASE, "engine_version": "0.11.0"},
            state="oom",
        ),
    ]


def logs() -> list[Written]:
    """All of them."""
    return [*v0_logs(), *v1_logs(), *particular_logs()]
