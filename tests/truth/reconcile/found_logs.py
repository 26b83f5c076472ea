"""Logs as people paste them into threads: excerpts, tables, what a terminal broke. The figures are made up."""

from written import Written, gib, mib

CARD_4090 = "NVIDIA GeForce RTX 4090"


def logs() -> list[Written]:
    """Each of them, whole."""
    return [*_trtllm(), *_llamacpp(), half_host(), *_sglang(), *_training(), *_excerpts()]


def _trtllm() -> list[Written]:
    version = "[TensorRT-LLM] TensorRT-LLM version: 0.20.0"
    backend = "[07/24/2025-08:13:02] [TRT-LLM] [I] Using LLM with PyTorch backend"
    cache = "[TensorRT-LLM][INFO] [MemUsageChange] Allocated 62.10 GiB for max tokens in paged KV cache (1017440)."
    facts = {
        "engine": "trtllm",
        "engine_version": "0.20.0",
        "kv_bytes": gib(62.10),
        "kv_tokens": 1017440,
    }
    return [
        Written(
            "trtllm-storage",
            [
                version,
                backend,
                "[07/24/2025-08:13:02] [TRT-LLM] [I] Rank 0 uses 8.46 GB for model weights.",
                "[07/24/2025-08:13:03] [TRT-LLM] [I] Rank 0 prefetching /hub/models--nvidia--Llama-3.1-8B-Instruct-FP8/snapshots/02/model-00001-of-00002.safetensors to memory...",
                cache,
            ],
            {**facts, "model": "nvidia/Llama-3.1-8B-Instruct-FP8", "weights_bytes": gib(8.46)},
        ),
        Written(
            "trtllm-both-set",
            [
                version,
                backend,
                "[07/24/2025-08:13:02] [TRT-LLM] [W] Both free_gpu_memory_fraction and max_tokens are set (to 0.9 and 8256 with free memory 40.687347412109375 of total memory 79.109375, respectively). The smaller value will be used.",
                cache,
            ],
            {**facts, "gpu_memory_bytes": gib(79.109375)},
        ),
        Written(
            "trtllm-cuda-malloc-async",
            [
                "[TensorRT-LLM][INFO] Engine version 0.5.0 found in the config file, assuming engine(s) built by new builder API.",
                "[TensorRT-LLM][INFO] TRTGptModel maxNumSequences: 24",
                "[TensorRT-LLM][INFO] Loaded engine size: 12556 MiB",
                "E1103 02:59:01.152656 81041 backend_model.cc:553] ERROR: Failed to create instance: unexpected error when creating modelInstanceState: [TensorRT-LLM][ERROR] CUDA runtime error in ::cudaMallocAsync(ptr, n, mCudaStream->get()): out of memory (/app/runtime/tllmBuffers.h:112)",
            ],
            {
                "engine": "trtllm",
                "engine_version": "0.5.0",
                "max_num_seqs": 24,
                "weights_bytes": mib(12556),
            },
            state="oom",
        ),
    ]


def _llamacpp() -> list[Written]:
    """Since 2025-09 what lies where is printed on exit too; -fit prints the same of what it only plans."""
    head = "llama_memory_breakdown_print: | memory breakdown [MiB] | total   free     self   model   context   compute    unaccounted |"
    row = "llama_memory_breakdown_print: |   - CUDA{} (RTX 4090)   | 24080 = {} + ({} = 13169 +      38 +     {}) +         {} |"
    host = "llama_memory_breakdown_print: |   - Host               |                    72 =     0 +      57 +      15                |"
    facts = {
        "engine": "llamacpp",
        "gpu": "RTX 4090",
        "gpu_memory_bytes": mib(24080),
        "weights_bytes": mib(13169),
        "compute_buffer_bytes": mib(985),
    }
    named = "llama_model_loader: - kv   2:                               general.name str              = MiniMax M3"
    return [
        Written(
            "llamacpp-breakdown",
            [head, row.format(0, 9436, 14193, 985, 451), row.format(1, 9868, 13756, 548, 456), host],
            facts,
        ),
        Written(
            "llamacpp-breakdown-first-form",
            [
                "llama_print_memory_breakdown: memory breakdown:      total   free     self   model   context   compute    unaccounted",
                "llama_print_memory_breakdown:   - CUDA0 (RTX 4090):  24080 = 9436 + (14193 = 13169 +      38 +     985) +         451",
                "llama_print_memory_breakdown:   - CPU (EPYC 7742):  515628              72 =     0 +      57 +      15",
            ],
            facts,
        ),
        Written(
            "llamacpp-fit-plans",
            [
                "0.00.812.001 I llama_model_loader: loaded meta data with 58 key-value pairs and 1001 tensors from C:\\m\\MiniMax-M3-IQ4_XS-00001-of-00006.gguf (version GGUF V3 (latest))",
                f"0.01.012.001 I {named}",
                "1.01.012.001 I common_memory_breakdown_print: |   - CUDA1 (RTX 3090)   | 24575 = 23332 + (17829 =  1177 +   15360 +    1292) +      -16586 |",
                "1.06.520.070 I llama_kv_cache:      CUDA0 KV buffer size =  4096.00 MiB",
                "1.06.520.077 E ggml_backend_cuda_buffer_type_alloc_buffer: allocating 51748.72 MiB on device 1: cudaMalloc failed: out of memory",
                "1.06.520.084 E ggml_gallocr_reserve_n_impl: failed to allocate CUDA1 buffer of size 54262464512",
                "1.06.520.086 E graph_reserve: failed to allocate compute buffers",
                "1.06.520.107 W sched_reserve: compute buffer allocation failed, retrying without pipeline parallelism",
                "1.07.304.100 I sched_reserve:      CUDA0 compute buffer size =  2048.00 MiB",
                "1.07.304.130 I srv    load_model: initializing, n_slots = 1, n_ctx_slot = 50176, kv_unified = 'false'",
                "1.07.404.131 I main: server is listening on http://127.0.0.1:8080",
            ],
            {
                "engine": "llamacpp",
                "model": "MiniMax M3",
                "max_model_len": 50176,
                "max_num_seqs": 1,
                "kv_bytes": mib(4096),
                "compute_buffer_bytes": mib(2048),
            },
            state="ready",
        ),
    ]


def half_host() -> Written:
    """34 layers and the output on the card: the table's cache is that of card and host together."""
    return Written(
        "llamacpp-half-host",
        [
            "build: 8179 (ecbcb7ea9) with GNU 13.3.0 for Linux x86_64",
            "llama_model_load_from_file_impl: using device CUDA0 (NVIDIA GeForce RTX 3060) (0000:01:00.0) - 5861 MiB free",
            "llama_model_loader: loaded meta data with 26 key-value pairs and 434 tensors from /models/Qwen2.5-3B-Instruct.Q4_K_M.gguf (version GGUF V3 (latest))",
            "llama_model_loader: - kv   2:                               general.name str              = Qwen2.5 3B Instruct",
            "print_info: file type   = Q4_K - Medium",
            "load_tensors: offloaded 35/37 layers to GPU",
            "load_tensors:   CPU_Mapped model buffer size =   337.51 MiB",
            "load_tensors:        CUDA0 model buffer size =  1740.74 MiB",
            "llama_context: n_seq_max     = 4",
            "llama_context: n_ctx         = 4096",
            "llama_context: n_ctx_seq     = 4096",
            "llama_context: n_ubatch      = 512",
            "llama_context: flash_attn    = enabled",
            "llama_context: kv_unified    = true",
            "llama_kv_cache:        CPU KV buffer size =     8.00 MiB",
            "llama_kv_cache:      CUDA0 KV buffer size =   136.00 MiB",
            "llama_kv_cache: size =  144.00 MiB (  4096 cells,  36 layers,  4/1 seqs), K (f16):   72.00 MiB, V (f16):   72.00 MiB",
            "sched_reserve:      CUDA0 compute buffer size =   304.75 MiB",
            "main: server is listening on http://127.0.0.1:8080",
        ],
        {
            "engine": "llamacpp",
            "engine_version": "8179 (ecbcb7ea9)",
            "model": "Qwen2.5 3B Instruct",
            "gpu": "NVIDIA GeForce RTX 3060",
            "quantization": "Q4_K - Medium",
            "max_model_len": 4096,
            "max_num_seqs": 4,
            "weights_bytes": mib(1740.74),
            "kv_bytes": mib(136),
            "compute_buffer_bytes": mib(304.75),
        },
        state="ready",
    )


def _sglang() -> list[Written]:
    """Two of sixteen ranks, and a share below the weights."""
    return [
        Written(
            "sglang-no-room",
            [
                "[2026-07-09 10:05:00 TP0] Load weight begin. avail mem=138.00 GB",
                "[2026-07-09 10:05:00 TP0] Load weight end. elapsed=240.01 s, type=DeepseekV4ForCausalLM, quant=fp8, fmt=e4m3, avail mem=12.25 GB, mem usage=125.65 GB.",
                "ValueError: Loaded weights leave no GPU memory for the KV cache under --mem-fraction-static=0.88.",
            ],
            {"engine": "sglang", "weights_bytes": gib(125.65)},
            state="failed",
        ),
        Written("sglang-draft-loaded-first", [*DRAFT_FIRST], DRAFT_FIRST_FACTS, state="ready"),
    ]


DRAFT_FIRST = (
    "[2026-08-01 23:37:40] server_args=ServerArgs(model_path='a/B-8B', tp_size=1, pp_size=1, dp_size=1, ep_size=1, dtype='auto', speculative_algorithm='DFLASH', chunked_prefill_size=2048)",
    "[2026-08-01 23:37:50] Load weight begin. avail mem=115.30 GB",
    "[2026-08-01 23:39:39] Load weight end. elapsed=109.3 s, type=BForCausalLM, quant=fp8, avail mem=107.30 GB, mem usage=8.00 GB.",
    "[2026-08-01 23:39:43] Load weight begin. avail mem=107.30 GB",
    "[2026-08-01 23:39:55] Load weight end. elapsed=12.2 s, type=DFlashBForCausalLM, avail mem=106.30 GB, mem usage=1.00 GB.",
    "[2026-08-01 23:40:01] KV Cache is allocated. dtype: torch.bfloat16, #tokens: 80000, K size: 10.00 GB, V size: 10.00 GB",
    "[2026-08-01 23:40:01] KV Cache is allocated. dtype: torch.bfloat16, #tokens: 100000, K size: 4.00 GB, V size: 4.00 GB",
    "[2026-08-01 23:40:01] SWAKVPool mem usage: 28.00 GB, swa size: 80000, full size: 100000",
    "[2026-08-01 23:40:01] Memory pool end. avail mem=78.30 GB",
    "[2026-08-01 23:40:01] KV Cache is allocated. dtype: torch.bfloat16, #tokens: 100000, K size: 2.00 GB, V size: 2.00 GB",
    "[2026-08-01 23:40:01] Memory pool end. avail mem=74.30 GB",
    "[2026-08-01 23:43:38] Capture target prefill CUDA graph end. elapsed=216.19 s, mem usage=5.25 GB, avail mem=69.05 GB.",
    "[2026-08-01 23:43:41] Capture target verify CUDA graph end. elapsed=3.00 s, mem usage=0.50 GB, avail mem=68.55 GB.",
    "[2026-08-01 23:43:42] Capture draft verify CUDA graph end. elapsed=0.77 s, mem usage=0.25 GB, avail mem=68.30 GB.",
    "[2026-08-01 23:43:42] max_total_num_tokens=100000, chunked_prefill_size=2048, max_prefill_tokens=16384, max_running_requests=48, context_len=65536, available_gpu_mem=68.30 GB",
    "[2026-08-01 23:43:50] The server is fired up and ready to roll!",
)
"""Since both models are loaded before either has a cache: all that followed was taken for the draft's."""
DRAFT_FIRST_FACTS: dict[str, object] = {
    "engine": "sglang",
    "model": "a/B-8B",
    "tp": 1,
    "pp": 1,
    "dp": 1,
    "ep": 1,
    "max_model_len": 65536,
    "max_num_seqs": 48,
    "max_num_batched_tokens": 2048,
    "weights_bytes": gib(8),
    "kv_bytes": gib(28),
    "kv_tokens": 100000,
    "cuda_graph_bytes": gib(5.75),
}


def _training() -> list[Written]:
    """Trainers; of their facts only the machine and the layout are words of the JSON."""
    return [
        Written(
            "unsloth",
            [
                "==((====))==  Unsloth 2025.4.8: Fast Qwen3 patching. Transformers: 4.51.3.",
                f"   \\\\   /|    {CARD_4090}. Num GPUs = 1. Max memory: 23.988 GB. Platform: Linux.",
                f"GPU = {CARD_4090}. Max memory = 23.988 GB.",
                "6.428 GB of memory reserved.",
                "Peak reserved memory = 9.117 GB.",
                "Peak reserved memory for training = 2.689 GB.",
            ],
            {
                "engine": "unsloth",
                "engine_version": "2025.4.8",
                "gpu": CARD_4090,
                "gpu_memory_bytes": gib(23.988),
            },
        ),
        Written(
            "torchtune",
            [
                "INFO:torchtune.utils._logging:Running LoRAFinetuneRecipeSingleDevice with resolved config:",
                "INFO:torchtune.utils._logging:Memory stats after model init:",
                "\tGPU peak memory allocation: 15.06 GiB",
                "\tGPU peak memory reserved: 15.12 GiB",
                "\tGPU peak memory active: 15.06 GiB",
            ],
            {"engine": "torchtune"},
        ),
        Written(
            "gaudi-trainer",
            [
                "***** Running training *****",
                "{'loss': 0.6188, 'learning_rate': 2.9e-05, 'epoch': 0.09, 'memory_allocated (GB)': 3.82, 'max_memory_allocated (GB)': 6.32, 'total_memory_available (GB)': 29.85}",
                "{'train_runtime': 81.1, 'train_samples_per_second': 12.3, 'epoch': 3.0}",
            ],
            {"engine": "transformers", "gpu_memory_bytes": gib(29.85)},
            state="ready",
        ),
        Written(
            "megatron-world",
            [
                "using world size: 8, data-parallel size: 2, context-parallel size: 1, tensor-model-parallel size: 4, encoder-tensor-model-parallel size: 0, pipeline-model-parallel size: 1, encoder-pipeline-model-parallel size: 0",
                "[Rank 0] (after 1 iterations) memory (MB) | allocated: 23124.02 | max allocated: 35811.55 | reserved: 36922.0 | max reserved: 36922.0",
            ],
            {"engine": "megatron", "tp": 4, "pp": 1, "dp": 2},
        ),
    ]


def _excerpts() -> list[Written]:
    """Wordings of which a thread shows a few lines alone."""
    return [
        Written(
            "trtllm-bytes",
            [
                "[TensorRT-LLM][INFO] [MemUsageChange] TensorRT-managed allocation in IExecutionContext creation: CPU +0, GPU +0, now: CPU 0, GPU 6683 (MiB)",
                "[TensorRT-LLM][INFO] Allocate 52428800000 bytes for k/v cache. ",
                "[TensorRT-LLM][INFO] Using 100000 tokens in paged KV cache.",
            ],
            {"engine": "trtllm", "kv_bytes": 52428800000, "kv_tokens": 100000},
        ),
        Written(
            "trtllm-error-alone",
            [
                "[TensorRT-LLM][ERROR] [TensorRT-LLM][ERROR] CUDA runtime error in ::cudaMallocAsync(ptr, n, mCudaStream->get()): out of memory (/app/runtime/tllmBuffers.h:112)"
            ],
            {"engine": "trtllm"},
            state="oom",
        ),
        Written(
            "vllm-no-blocks-alone",
            [
                "(EngineCore_DP0 pid=1102) ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the engine."
            ],
            {"engine": "vllm"},
            state="failed",
        ),
        Written(
            "ollama-0.5-offload",
            [
                'time=2025-02-18T02:29:51.627Z level=INFO source=server.go:130 msg=offload library=cuda layers.requested=-1 layers.model=65 layers.offload=49 layers.split="" memory.available="[23.2 GiB]" memory.gpu_overhead="0 B" memory.required.full="31.4 GiB" memory.required.partial="23.0 GiB" memory.required.kv="8.0 GiB" memory.required.allocations="[23.0 GiB]"',
                "llm_load_tensors: offloaded 49/65 layers to GPU",
                "llm_load_tensors:        CUDA0 model buffer size = 13500.25 MiB",
            ],
            {"engine": "ollama", "weights_bytes": mib(13500.25)},
        ),
        Written(
            "ollama-0.7-buffers",
            [
                'time=2025-05-24T22:38:16.037Z level=INFO source=ggml.go:351 msg="model weights" buffer=CPU size="1.5 GiB"',
                'time=2025-05-24T22:38:16.037Z level=INFO source=ggml.go:351 msg="model weights" buffer=CUDA0 size="11.5 GiB"',
                'time=2025-05-24T22:38:16.344Z level=INFO source=ggml.go:638 msg="compute graph" backend=CUDA0 buffer_type=CUDA0 size="160.5 MiB"',
                'time=2025-05-24T22:38:16.344Z level=INFO source=ggml.go:638 msg="compute graph" backend=CPU buffer_type=CPU size="9.0 GiB"',
            ],
            {"engine": "ollama", "weights_bytes": gib(11.5), "compute_buffer_bytes": mib(160.5)},
        ),
        Written(
            "deepspeed-timer",
            [
                "[2023-08-16 16:45:00,000] [INFO] [timer.py:208:stop] epoch=0/micro_step=10/global_step=10, RunningAvgSamplesPerSec=10.1, CurrSamplesPerSec=10.2, MemAllocated=17.94GB, MaxMemAllocated=54.06GB"
            ],
            {"engine": "deepspeed"},
        ),
    ]
