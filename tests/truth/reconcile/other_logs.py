"""Whole logs of SGLang, llama.cpp, ik_llama.cpp, Ollama, TensorRT-LLM and of trainers, as their releases word
them. The figures are made up."""

from written import Written, gib, mib

V3 = "deepseek-ai/DeepSeek-V3"


def sglang_start(tp: int = 1, dp: int = 1, more: str = "") -> str:
    return (
        f"[2025-08-01 10:00:00] server_args=ServerArgs(model_path='{V3}', tokenizer_path='{V3}', dtype='auto', quantization=None, kv_cache_dtype='auto', "
        f"mem_fraction_static=0.85, max_running_requests=None, context_length=None, chunked_prefill_size=8192, page_size=1, tp_size={tp}, pp_size=1, dp_size={dp}, ep_size=1, "
        f"disable_cuda_graph=False, device='cuda', api_key='secret'{more})"
    )


def sglang_logs() -> list[Written]:
    """0.2 to 0.5: free memory before and behind, then what was taken."""
    ready = "[2025-08-01 10:05:00] The server is fired up and ready to roll!"
    base = {"engine": "sglang", "model": V3, "tp": 1, "pp": 1, "dp": 1, "ep": 1, "enforce_eager": False}
    found = [
        Written(
            "sglang-0.3.6",
            [
                sglang_start(),
                "[2025-08-01 10:01:00] Load weight begin. avail mem=78.81 GB",
                "[2025-08-01 10:02:00] Load weight end. type=LlamaForCausalLM, dtype=torch.bfloat16, avail mem=63.72 GB",
                "[2025-08-01 10:02:10] Memory pool end. avail mem=9.10 GB",
                "[2025-08-01 10:03:00] max_total_num_tokens=444500, max_prefill_tokens=16384, max_running_requests=2049, context_len=131072",
                ready,
            ],
            {
                **base,
                "dtype": "bfloat16",
                "weights_bytes": gib(78.81) - gib(63.72),
                "kv_tokens": 444500,
                "max_num_seqs": 2049,
                "max_model_len": 131072,
                "max_num_batched_tokens": 8192,
            },
        ),
        Written(
            "sglang-0.4.3",
            [
                sglang_start(),
                "[2025-08-01 10:01:00 TP0] Load weight begin. avail mem=78.81 GB",
                "[2025-08-01 10:02:00 TP0] Load weight end. type=LlamaForCausalLM, dtype=torch.bfloat16, avail mem=63.72 GB, mem usage=15.09 GB.",
                "[2025-08-01 10:02:05 TP0] KV Cache is allocated. K size: 27.13 GB, V size: 27.13 GB.",
                "[2025-08-01 10:02:10 TP0] Memory pool end. avail mem=9.10 GB",
                "[2025-08-01 10:02:40 TP0] Capture cuda graph end. Time elapsed: 7.12 s",
                "[2025-08-01 10:03:00 TP0] max_total_num_tokens=444500, chunked_prefill_size=8192, max_prefill_tokens=16384, max_running_requests=2049, context_len=131072",
                ready,
            ],
            {
                **base,
                "dtype": "bfloat16",
                "weights_bytes": gib(15.09),
                "kv_bytes": gib(27.13) * 2,
                "kv_tokens": 444500,
                "max_num_seqs": 2049,
                "max_model_len": 131072,
                "max_num_batched_tokens": 8192,
            },
        ),
    ]
    for version, tp, head in (("0.4.9", 8, ""), ("0.5.9", 8, "elapsed=61.02 s, ")):
        lines = [sglang_start(tp)]
        for rank in (3, 0, 1, 2, 7, 5, 4, 6):
            at = f"[2025-08-01 10:01:00 TP{rank}] "
            lines += [
                at + "Load weight begin. avail mem=138.56 GB",
                at
                + f"Load weight end. {head}type=DeepseekV3ForCausalLM, dtype=torch.bfloat16, avail mem=57.20 GB, mem usage=81.36 GB.",
            ]
        for rank in (3, 0, 1, 2, 7, 5, 4, 6):
            at = f"[2025-08-01 10:02:00 TP{rank}] "
            lines += [
                at + f"KV Cache is allocated. #tokens: {500000 + rank}, KV size: 32.70 GB",
                at + "Memory pool end. avail mem=18.00 GB",
                at + "Capture cuda graph end. Time elapsed: 26.07 s. mem usage=6.37 GB. avail mem=11.72 GB.",
                at
                + "max_total_num_tokens=500000, chunked_prefill_size=8192, max_prefill_tokens=16384, max_running_requests=2048, context_len=163840, available_gpu_mem=11.72 GB",
            ]
        found.append(
            Written(
                f"sglang-{version}-tp8",
                [*lines, ready],
                {
                    **base,
                    "tp": 8,
                    "dtype": "bfloat16",
                    "weights_bytes": gib(81.36),
                    "kv_bytes": gib(32.70),
                    "kv_tokens": 500000,
                    "cuda_graph_bytes": gib(6.37),
                    "max_num_seqs": 2048,
                    "max_model_len": 163840,
                    "max_num_batched_tokens": 8192,
                },
            )
        )
    at = "[2025-08-01 10:01:00 DP0 TP0 EP0] "
    found.append(
        Written(
            "sglang-0.5.6-eagle",
            [
                sglang_start(8, 8, ", speculative_algorithm='EAGLE', enable_dp_attention=True"),
                at + "Load weight begin. avail mem=138.56 GB",
                at
                + "Load weight end. type=DeepseekV3ForCausalLM, dtype=torch.bfloat16, avail mem=57.20 GB, mem usage=81.36 GB.",
                at + "KV Cache is allocated. #tokens: 75904, KV size: 4.98 GB",
                at + "Memory pool end. avail mem=52.0 GB",
                at + "Capture cuda graph end. Time elapsed: 9.2 s. mem usage=2.10 GB. avail mem=49.90 GB.",
                at + "Load weight begin. avail mem=49.90 GB",
                at
                + "Load weight end. type=DeepseekV3ForCausalLMNextN, dtype=torch.bfloat16, avail mem=45.30 GB, mem usage=4.60 GB.",
                at + "KV Cache is allocated. #tokens: 75904, KV size: 0.08 GB",
                at + "Memory pool end. avail mem=45.2 GB",
                at
                + "Capture draft cuda graph end. Time elapsed: 3.2 s. mem usage=0.31 GB. avail mem=44.9 GB.",
                at
                + "max_total_num_tokens=75904, chunked_prefill_size=1024, max_prefill_tokens=16384, max_running_requests=32, context_len=163840, available_gpu_mem=44.90 GB",
                ready,
            ],
            {
                **base,
                "tp": 8,
                "dp": 8,
                "dtype": "bfloat16",
                "weights_bytes": gib(81.36),
                "kv_bytes": gib(4.98),
                "kv_tokens": 75904,
                "cuda_graph_bytes": gib(2.10),
                "max_num_seqs": 32,
                "max_model_len": 163840,
                "max_num_batched_tokens": 8192,
            },
        )
    )
    found.append(
        Written(
            "sglang-v4",
            [
                sglang_start(4),
                *(
                    f"[2026-05-13 02:15:18 TP{rank}] {line}"
                    for rank in range(4)
                    for line in (
                        "Load weight begin. avail mem=182.63 GB",
                        "Load weight end. elapsed=42.37 s, type=DeepseekV4ForCausalLM, quant=fp8, fmt=e4m3, avail mem=109.20 GB, mem usage=73.43 GB.",
                        "DSV4 memory calculation: bytes_per_full_token=15955.85, available_bytes=45.78 GB, full_token=3080960",
                        "Memory pool end. avail mem=60.1 GB",
                    )
                ),
            ],
            {
                **base,
                "tp": 4,
                "weights_bytes": gib(73.43),
                "kv_tokens": 3080960,
                "max_num_batched_tokens": 8192,
            },
        )
    )
    found.append(
        Written(
            "sglang-windows",
            [
                sglang_start(),
                "[2026-08-01 10:01:00] Load weight begin. avail mem=93.10 GB",
                "[2026-08-01 10:02:00] Load weight end. elapsed=9.10 s, type=Gemma3ForCausalLM, dtype=torch.bfloat16, avail mem=83.60 GB, mem usage=9.50 GB.",
                "[2026-08-01 10:02:01] SWAKVPool mem usage: 71.25 GB, swa size: 729088, full size: 911360",
                "[2026-08-01 10:02:01] Memory pool end. avail mem=12.10 GB",
                ready,
            ],
            {
                **base,
                "dtype": "bfloat16",
                "weights_bytes": gib(9.50),
                "kv_bytes": gib(71.25),
                "kv_tokens": 911360,
                "max_num_batched_tokens": 8192,
            },
        )
    )
    found.append(
        Written(
            "sglang-no-room",
            [
                sglang_start(),
                "[2025-08-01 10:01:00] Load weight begin. avail mem=23.31 GB",
                "[2025-08-01 10:02:00] Load weight end. type=LlamaForCausalLM, dtype=torch.float16, avail mem=8.20 GB, mem usage=15.11 GB.",
                "RuntimeError: Not enough memory. Please try to increase --mem-fraction-static. Current value: server_args.mem_fraction_static=0.5",
            ],
            {**base, "dtype": "float16", "weights_bytes": gib(15.11), "max_num_batched_tokens": 8192},
            state="failed",
        )
    )
    return found


LOADED = "llama_model_loader: loaded meta data with 26 key-value pairs and 434 tensors from /models/Qwen2.5-3B-Instruct.Q4_K_M.gguf (version GGUF V3 (latest))"
NAMED = "llama_model_loader: - kv   2:                               general.name str              = Qwen2.5 3B Instruct"


def llama_logs() -> list[Written]:
    """2023 to 2026, ik_llama.cpp, several cards, a host alone, a card that is too small."""
    base = {"engine": "llamacpp", "model": "Qwen2.5 3B Instruct"}
    ik = {"engine": "ik-llamacpp", "model": "Qwen2.5 3B Instruct"}
    new = [
        "build: 8054 (01d8eaa28) with GNU 13.3.0 for Linux x86_64",
        "llama_model_load_from_file_impl: using device CUDA0 (NVIDIA GeForce RTX 4090) (0000:01:00.0) - 23861 MiB free",
        LOADED,
        NAMED,
        "print_info: file type   = Q4_K - Medium",
        "load_tensors: offloaded 37/37 layers to GPU",
        "load_tensors:   CPU_Mapped model buffer size =   243.43 MiB",
        "load_tensors:        CUDA0 model buffer size =  1834.82 MiB",
        "llama_context: n_seq_max     = 4",
        "llama_context: n_ctx         = 4096",
        "llama_context: n_ctx_seq     = 4096",
        "llama_context: n_ubatch      = 512",
        "llama_context: kv_unified    = true",
        "llama_context:  CUDA_Host  output buffer size =     2.32 MiB",
        "llama_kv_cache:      CUDA0 KV buffer size =   144.00 MiB",
        "llama_kv_cache: size =  144.00 MiB (  4096 cells,  36 layers,  4/1 seqs), K (f16):   72.00 MiB, V (f16):   72.00 MiB",
        "sched_reserve:      CUDA0 compute buffer size =   300.75 MiB",
        "sched_reserve:  CUDA_Host compute buffer size =    16.01 MiB",
        "main: server is listening on http://127.0.0.1:8080",
    ]
    facts = {
        **base,
        "engine_version": "8054 (01d8eaa28)",
        "gpu": "NVIDIA GeForce RTX 4090",
        "quantization": "Q4_K - Medium",
        "max_model_len": 4096,
        "max_num_seqs": 4,
        "weights_bytes": mib(1834.82),
        "kv_bytes": mib(144),
        "compute_buffer_bytes": mib(300.75),
    }
    old = [
        LOADED.replace("llama_model_loader", "llama_model_loader"),
        NAMED,
        "llm_load_print_meta: model ftype      = mostly Q4_K - Medium",
        "llm_load_print_meta: model size       = 1.79 GiB (4.99 BPW)",
        "llm_load_tensors: offloaded 37/37 layers to GPU",
        "llm_load_tensors:        CPU buffer size =   243.43 MiB",
        "llm_load_tensors:      CUDA0 buffer size =  1834.82 MiB",
        "llama_new_context_with_model: n_ctx      = 4096",
        "llama_new_context_with_model: n_ubatch   = 512",
        "llama_kv_cache_init:      CUDA0 KV buffer size =   144.00 MiB",
        "llama_new_context_with_model: KV self size  =  144.00 MiB, K (f16):   72.00 MiB, V (f16):   72.00 MiB",
        "llama_new_context_with_model:      CUDA0 compute buffer size =   300.75 MiB",
    ]
    return [
        Written("llamacpp-2026", new, facts),
        Written(
            "llamacpp-2024",
            old,
            {
                **base,
                "quantization": "mostly Q4_K - Medium",
                "weights_bytes": mib(1834.82),
                "max_model_len": 4096,
                "kv_bytes": mib(144),
                "compute_buffer_bytes": mib(300.75),
            },
        ),
        Written(
            "llamacpp-2023",
            [
                LOADED,
                NAMED,
                "llm_load_print_meta: model ftype      = mostly Q4_K - Medium",
                "llm_load_tensors: VRAM used: 1834.82 MiB",
                "llama_new_context_with_model: kv self size  =  144.00 MiB",
                "llama_new_context_with_model: total VRAM used: 2280.00 MiB (model: 1834.82 MiB, context: 445.18 MiB)",
            ],
            {
                **base,
                "quantization": "mostly Q4_K - Medium",
                "weights_bytes": mib(1834.82),
                "kv_bytes": mib(144),
            },
        ),
        Written(
            "llamacpp-two-cards",
            [
                *new[:7],
                "load_tensors:        CUDA0 model buffer size =   934.82 MiB",
                "load_tensors:        CUDA1 model buffer size =   900.00 MiB",
                *new[8:14],
                "llama_kv_cache:      CUDA0 KV buffer size =    76.00 MiB",
                "llama_kv_cache:      CUDA1 KV buffer size =    68.00 MiB",
                *new[15:],
            ],
            {**facts, "weights_bytes": mib(934.82), "kv_bytes": mib(68)},
        ),
        Written(
            "llamacpp-host",
            [
                new[0],
                LOADED,
                NAMED,
                "load_tensors:   CPU_Mapped model buffer size =  2078.25 MiB",
                "llama_context: n_ctx         = 4096",
                "llama_kv_cache:        CPU KV buffer size =   144.00 MiB",
                "llama_context:        CPU compute buffer size =   300.75 MiB",
                "llama_perf_context_print:        load time = 1.0 ms",
            ],
            {
                **base,
                "engine_version": "8054 (01d8eaa28)",
                "weights_bytes": mib(2078.25),
                "max_model_len": 4096,
                "kv_bytes": mib(144),
                "compute_buffer_bytes": mib(300.75),
            },
        ),
        Written(
            "llamacpp-oom",
            [
                *new[:6],
                "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 67094.60 MiB on device 0: cudaMalloc failed: out of memory",
                "ggml_gallocr_reserve_n_impl: failed to allocate CUDA0 buffer of size 70353784832",
            ],
            {word: facts[word] for word in ("engine", "engine_version", "model", "gpu", "quantization")},
            state="oom",
        ),
        Written(
            "ik-mla",
            [
                LOADED,
                NAMED,
                "llm_load_tensors: offloaded 62/62 layers to GPU",
                "llm_load_tensors:        CPU buffer size = 362010.72 MiB",
                "llm_load_tensors:      CUDA0 buffer size = 17744.02 MiB",
                "llama_new_context_with_model: n_ctx      = 32768",
                "llama_new_context_with_model: mla_attn   = 3",
                "llama_new_context_with_model: attn_max_b = 512",
                "llama_kv_cache_init:      CUDA0 KV buffer size =  1166.63 MiB",
                "llama_new_context_with_model: KV self size  = 1166.62 MiB, c^KV (q8_0): 1166.62 MiB, kv^T: not used",
                "llama_new_context_with_model:      CUDA0 compute buffer size =  3425.00 MiB",
            ],
            {
                **ik,
                "weights_bytes": mib(17744.02),
                "max_model_len": 32768,
                "kv_bytes": mib(1166.63),
                "compute_buffer_bytes": mib(3425),
            },
        ),
        Written(
            "ik-comma",
            [
                "llama_new_context_with_model: KV self size  = 2160,00 MiB, c^KV (f16): 2160,00 MiB, kv^T: not used",
                "llama_new_context_with_model:      CUDA0 compute buffer size =  6346,00 MiB",
            ],
            {"engine": "ik-llamacpp", "kv_bytes": mib(2160), "compute_buffer_bytes": mib(6346)},
        ),
        Written(
            "ollama-0.12-engine",
            [
                'time=2025-10-02T13:12:01.29Z level=INFO source=routes.go:1528 msg="Listening on 127.0.0.1:11434 (version 0.12.3)"',
                'time=2025-10-02T13:12:02.14Z level=INFO source=types.go:131 msg="inference compute" id=GPU-1 library=CUDA compute=8.9 name=CUDA0 description="NVIDIA GeForce RTX 4090" libdirs=ollama,cuda_v13 driver=13.0 pci_id=01:00.0 type=discrete total="24.0 GiB" available="22.1 GiB"',
                'time=2025-10-02T13:13:15.94Z level=INFO source=server.go:400 msg="starting runner" cmd="/usr/bin/ollama runner --ollama-engine --model /m/blobs/sha256-ab --port 41"',
                'time=2025-10-02T13:13:16.22Z level=INFO source=runner.go:1219 msg=load request="{Operation:commit LoraPath:[] Parallel:1 BatchSize:512 FlashAttention:true KvSize:8192 KvCacheType: NumThreads:8 GPULayers:25}"',
                'time=2025-10-02T13:13:16.30Z level=INFO source=ggml.go:494 msg="offloaded 25/25 layers to GPU"',
                'time=2025-10-02T13:13:16.30Z level=INFO source=device.go:240 msg="model weights" device=CUDA0 size="11.8 GiB"',
                'time=2025-10-02T13:13:16.30Z level=INFO source=device.go:245 msg="model weights" device=CPU size="1.1 GiB"',
                'time=2025-10-02T13:13:16.30Z level=INFO source=device.go:251 msg="kv cache" device=CUDA0 size="300.0 MiB"',
                'time=2025-10-02T13:13:16.30Z level=INFO source=device.go:262 msg="compute graph" device=CUDA0 size="126.4 MiB"',
                'time=2025-10-02T13:13:16.30Z level=INFO source=device.go:272 msg="total memory" size="13.3 GiB"',
                'time=2025-10-02T13:13:21.24Z level=INFO source=server.go:1289 msg="llama runner started in 5.31 seconds"',
            ],
            {
                "engine": "ollama",
                "engine_version": "0.12.3",
                "model": "sha256-ab",
                "gpu": "NVIDIA GeForce RTX 4090",
                "gpu_memory_bytes": gib(24),
                "max_model_len": 8192,
                "max_num_seqs": 1,
                "weights_bytes": gib(11.8),
                "kv_bytes": mib(300),
                "compute_buffer_bytes": mib(126.4),
            },
        ),
        Written(
            "ollama-0.5",
            [
                'time=2025-01-10T22:05:20.1+08:00 level=INFO source=routes.go:1238 msg="Listening on 127.0.0.1:11434 (version 0.5.4)"',
                'time=2025-01-10T22:05:20.2+08:00 level=INFO source=types.go:131 msg="inference compute" id=GPU-1 library=cuda variant=v12 compute=8.9 driver=12.6 name="NVIDIA GeForce RTX 4060 Laptop GPU" total="8.0 GiB" available="6.9 GiB"',
                'time=2025-01-10T22:05:21.8+08:00 level=INFO source=memory.go:356 msg="offload to cuda" layers.requested=-1 layers.model=41 layers.offload=29 layers.split="" memory.available="[6.9 GiB]" memory.gpu_overhead="0 B" memory.required.full="9.6 GiB" memory.required.partial="6.8 GiB" memory.required.kv="400.0 MiB"',
                'time=2025-01-10T22:05:21.9+08:00 level=INFO source=server.go:376 msg="starting llama server" cmd="/usr/bin/ollama_llama_server runner --model /m/blobs/sha256-ab --ctx-size 2048 --batch-size 512 --n-gpu-layers 29 --parallel 1 --port 9"',
                LOADED,
                NAMED,
                *old[4:],
                'time=2025-01-10T22:05:31.9+08:00 level=INFO source=server.go:594 msg="llama runner started in 5.31 seconds"',
            ],
            {
                "engine": "ollama",
                "engine_version": "0.5.4",
                "model": "Qwen2.5 3B Instruct",
                "gpu": "NVIDIA GeForce RTX 4060 Laptop GPU",
                "gpu_memory_bytes": gib(8),
                "max_num_seqs": 1,
                "weights_bytes": mib(1834.82),
                "max_model_len": 4096,
                "kv_bytes": mib(144),
                "compute_buffer_bytes": mib(300.75),
            },
        ),
    ]


def trtllm_logs() -> list[Written]:
    """The C++ runtime, the PyTorch backend, a build."""
    return [
        Written(
            "trtllm-0.12",
            [
                "[TensorRT-LLM][INFO] Engine version 0.12.0 found in the config file, assuming engine(s) built by new builder API.",
                "[TensorRT-LLM][INFO] Loaded engine size: 15330 MiB",
                "[TensorRT-LLM][INFO] [MemUsageChange] Allocated 1.08 GiB for execution context memory.",
                "[TensorRT-LLM][INFO] TRTGptModel maxNumSequences: 64",
                "[TensorRT-LLM][INFO] TRTGptModel maxSequenceLen: 8192",
                "[TensorRT-LLM][INFO] Memory usage when calculating max tokens in paged kv cache: total: 79.10 GiB, available: 61.60 GiB",
                "[TensorRT-LLM][INFO] Number of tokens per block: 64.",
                "[TensorRT-LLM][INFO] [MemUsageChange] Allocated 55.36 GiB for max tokens in paged KV cache (453504).",
            ],
            {
                "engine": "trtllm",
                "engine_version": "0.12.0",
                "gpu_memory_bytes": gib(79.10),
                "max_model_len": 8192,
                "max_num_seqs": 64,
                "weights_bytes": mib(15330),
                "kv_bytes": gib(55.36),
                "kv_tokens": 453504,
                "activation_bytes": gib(1.08),
            },
        ),
        Written(
            "trtllm-1.0",
            [
                "[TensorRT-LLM] TensorRT LLM version: 1.0.0",
                "[08/01/2025-10:00:00] [TRT-LLM] [I] Using LLM with PyTorch backend",
                "[TensorRT-LLM][INFO] [MemUsageChange] Allocated 0.13 GiB for max tokens in paged KV cache (1088).",
                "[08/01/2025-10:00:10] [TRT-LLM] [I] Memory used after loading model weights (inside torch) in memory usage profiling: 15.06 GiB",
                "[08/01/2025-10:00:10] [TRT-LLM] [I] Memory used after loading model weights (outside torch) in memory usage profiling: 2.52 GiB",
                "[08/01/2025-10:00:11] [TRT-LLM] [I] Memory dynamically allocated during inference (inside torch) in memory usage profiling: 0.14 GiB",
                "[TensorRT-LLM][INFO] [MemUsageChange] Allocated 109.96 GiB for max tokens in paged KV cache (900800).",
                "[08/01/2025-10:00:12] [TRT-LLM] [I] max_seq_len=8193, max_num_requests=32, max_num_tokens=1024, max_batch_size=32",
                "[08/01/2025-10:00:13] [TRT-LLM] [I] LLM Args:",
                "model='meta-llama/Meta-Llama-3-8B-Instruct' tokenizer=None tensor_parallel_size=1 dtype='auto' pipeline_parallel_size=1 kv_cache_config=KvCacheConfig(dtype='auto', tokens_per_block=32) max_batch_size=32 ",
            ],
            {
                "engine": "trtllm",
                "engine_version": "1.0.0",
                "model": "meta-llama/Meta-Llama-3-8B-Instruct",
                "tp": 1,
                "pp": 1,
                "max_model_len": 8193,
                "max_num_seqs": 32,
                "max_num_batched_tokens": 1024,
                "weights_bytes": gib(15.06),
                "kv_bytes": gib(109.96),
                "kv_tokens": 900800,
                "activation_bytes": gib(0.14),
                "non_torch_bytes": gib(2.52),
            },
        ),
        Written(
            "trtllm-build",
            [
                "[TRT-LLM] [I] Total Weights Memory: 14483464192 bytes",
                "[TRT-LLM] [I] Total Activation Memory: 3120566272 bytes",
                "",
            ],
            {"engine": "trtllm", "weights_bytes": 14483464192, "activation_bytes": 3120566272},
        ),
    ]


def training_logs() -> list[Written]:
    """What trainers print of memory."""
    return [
        Written(
            "megatron",
            [
                "using world size: 16, data-parallel size: 2, tensor-model-parallel size: 8",
                "  tensor_model_parallel_size ...................... 8",
                "[Rank 0] (after 2 iterations) memory (MB) | allocated: 19867.5 | max allocated: 26163.25 | reserved: 27166.0 | max reserved: 27166.0",
                " iteration        2/     100 | elapsed time per iteration (ms): 812.1 |",
            ],
            {"engine": "megatron", "tp": 8, "dp": 2},
        ),
        Written(
            "deepspeed",
            [
                "[2023-02-22 14:30:21,151] [INFO] [utils.py:831:see_memory_usage] Before creating fp16 partitions",
                "[2023-02-22 14:30:21,152] [INFO] [utils.py:832:see_memory_usage] MA 0.0 GB         Max_MA 55.83 GB         CA 55.83 GB         Max_CA 56 GB ",
            ],
            {"engine": "deepspeed"},
        ),
        Written(
            "torchtitan",
            [
                "[titan] 2025-08-01 10:00:00 - root - INFO - CUDA capacity: NVIDIA H100 with 95.04GiB memory",
                "[titan] 2025-08-01 10:00:09 - root - INFO - \x1b[31mstep: 10  \x1b[32mloss:  4.1  \x1b[36mmemory: 30.11GiB(31.68%)  \x1b[34mtps: 3,120",
            ],
            {"engine": "torchtitan", "gpu": "NVIDIA H100", "gpu_memory_bytes": gib(95.04)},
        ),
        Written(
            "ms-swift",
            ["{'loss': 1.2, 'grad_norm': 0.5, 'memory(GiB)': 15.66, 'train_speed(iter/s)': 0.4}"],
            {"engine": "transformers"},
        ),
    ]


def logs() -> list[Written]:
    """All of them."""
    return [*sglang_logs(), *llama_logs(), *trtllm_logs(), *training_logs()]
