"""How the logs of llama.cpp and ik_llama.cpp read, 2023-11 to b10615.

Buffers are printed a device; "rank" here is the device's name. Read in llama.cpp of llama-cpp-python 0.2.20 to
0.3.36, and in ik_llama.cpp.
"""

from ...recording.log_lines import NUMBER, PREDICTED, LogLine, LogReader, Said, says

N = NUMBER
DEVICE = r"([A-Za-z][\w.:\[\]-]*)"
LOAD = (
    LogLine(
        b"build: ", r"^(?:.*\s)?build: (\d+ \([0-9a-f]{6,}\)) with", says("engine_version text"), "start"
    ),
    LogLine(b"build_info: ", r"build_info: (b\d+-[0-9a-f]{6,})\b", says("engine_version text"), "start"),
    LogLine(b"main: build = ", r"main: build = (\d+ \([0-9a-f]{6,}\))", says("engine_version text"), "start"),
    LogLine(
        b"loaded meta data",
        r"loaded meta data with \d+ key-value pairs and \d+ tensors from (.+?) \(version",
        says("model_file text"),
        "load",
    ),
    LogLine(b"loading draft model", r"(loading draft model)", says("drafted text"), "draft"),
    LogLine(b"general.name", r"\bkv\s+\d+:\s+general\.name str\s+= (.+)", says("model text")),
    LogLine(
        b"general.name",
        r"(?:print_info|llm_load_print_meta): general\.name\s*= (.+)",
        says("model text", rank=1),
    ),
    LogLine(b"general.basename", r"general\.basename str\s+= (.+)", says("basename text")),
    LogLine(
        b"general.base_model.0.repo",
        r"general\.base_model\.0\.repo_url str\s+= (\S+)",
        says("base_model text"),
    ),
    LogLine(b" ftype", r"print_meta: model ftype\s*= (.+)", says("quantization text")),
    LogLine(b"file type", r"print_info: file type\s*= (.+)", says("quantization text")),
    LogLine(b"file size", rf"print_info: file size\s*= {N} ([GM]iB)", (Said("file_bytes", "printed"),)),
    LogLine(
        b"model size",
        rf"(?:print_meta: )?model size\s*= {N} ([GM]iB) \([\d.]+ BPW\)",
        (Said("file_bytes", "printed"),),
    ),
    LogLine(b"n_layer ", r"(?:print_info|print_meta): n_layer\s*= (\d+)\b", says("num_layers count")),
    LogLine(
        b"vocab_only ",
        r"(?:print_info|print_meta): vocab_only\s*= (\d)\b",
        says("vocab_only count", keep="last"),
    ),
    LogLine(b" no_alloc ", r"print_info: no_alloc\s*= (1)\b", says("rehearsal count")),
    LogLine(
        b"using device ",
        r"using device (\S+) \((.+?)\)(?: \([\w:. -]*\))? - (\d+) MiB free",
        says("device text", "gpu text", "gpu_free_bytes MiB"),
    ),
    LogLine(b", compute capability", r"Device \d+: (.+?), compute capability \d", says("gpu text", rank=1)),
    LogLine(b"found device: ", r"ggml_metal_init: found device: (.+)", says("gpu text", rank=1)),
    LogLine(
        b" repeating layers to",
        r"offloading (\d+) repeating layers to GPU",
        says("repeating_offloaded count"),
    ),
    LogLine(
        b" layers to GPU",
        r"offloaded (\d+)/(\d+) layers to GPU",
        says("layers_offloaded count", "layers count"),
    ),
)
CONTEXT = (
    LogLine(b" n_seq_max ", r": n_seq_max\s+= (\d+)\b", says("max_num_seqs count")),
    LogLine(b" n_ctx ", r": n_ctx\s+= (\d+)\b", says("context count")),
    LogLine(b" n_ctx_seq ", r": n_ctx_seq\s+= (\d+)\b", says("max_model_len count")),
    LogLine(b" n_ctx_per_seq ", r": n_ctx_per_seq\s+= (\d+)\b", says("max_model_len count")),
    LogLine(
        b", n_slots = ",
        r"initializing(?: slots)?, n_slots = (\d+)(?:, n_ctx_slot = (\d+), kv_unified = '(\w+)')?",
        says("max_num_seqs count", "max_model_len count", "kv_unified text", rank=1),
    ),
    LogLine(b" n_batch ", r": n_batch\s+= (\d+)\b", says("n_batch count")),
    LogLine(b" n_ubatch ", r": n_ubatch\s+= (\d+)\b", says("ubatch_size count")),
    LogLine(b" flash_attn ", r": flash_attn\s+= (\w+)\b", says("flash_attn text")),
    LogLine(b" kv_unified ", r": kv_unified\s+= (\w+)\b", says("kv_unified text")),
    LogLine(b" mla_attn ", r": mla_attn\s+= (\d)\b", says("mla_attn count")),
    LogLine(b" attn_max_b ", r": attn_max_b\s+= (\d+)\b", says("attn_max_batch count")),
    LogLine(
        b"flash Attention was auto",
        r"Flash Attention was auto, set to (\w+)",
        says("flash_attn_resolved text"),
    ),
)
BUFFERS = (
    LogLine(
        b" buffer size",
        rf"{DEVICE} model buffer size\s*=\s+{N} MiB",
        (Said("device", "place"), Said("weights_bytes", "MiB", "sum")),
    ),
    LogLine(
        b" buffer size",
        rf"load_tensors:\s+{DEVICE} buffer size\s*=\s+{N} MiB",
        (Said("device", "place"), Said("weights_bytes", "MiB", "sum")),
    ),
    LogLine(
        b"KV buffer",
        rf"{DEVICE} (?:KV|cache) buffer(?: size)?\s*=\s+{N} MiB",
        (Said("device", "place"), Said("kv_bytes", "MiB", "sum")),
    ),
    LogLine(
        b"RS buffer",
        rf"{DEVICE} RS buffer size\s*=\s+{N} MiB",
        (Said("device", "place"), Said("state_bytes", "MiB", "sum")),
    ),
    LogLine(
        b"compute buffer",
        rf"{DEVICE} compute buffer size(?: of \d+ blocks)?\s*=\s+{N} MiB",
        (Said("device", "place"), Said("compute_buffer_bytes", "MiB")),
    ),
    LogLine(
        b"output buffer",
        rf"{DEVICE}\s+output buffer size\s*=\s+{N} MiB",
        (Said("device", "place"), Said("output_bytes", "MiB")),
    ),
    LogLine(b"self size", rf"(?i:KV self size)\s*=\s*{N} MiB", says("kv_total_bytes MiB")),
    LogLine(
        b" cells,",
        rf"llama_(?:kv_cache|memory)\w*: size =\s*{N} MiB \(\s*(\d+) cells,\s*(\d+) layers",
        (Said("kv_total_bytes", "MiB", "sum"), Said("kv_cells", "count", "most"), Said("kv_layers", "count")),
    ),
    LogLine(
        b" cells,",
        r"MiB \(\s*\d+ cells.*\bK \((\w+)\).*\bV \((\w+)\)",
        says("cache_type_k text", "cache_type_v text"),
    ),
    LogLine(
        b"self size",
        r"(?i:KV self size).*\bK \((\w+)\).*\bV \((\w+)\)",
        says("cache_type_k text", "cache_type_v text"),
    ),
    LogLine(
        b"c^KV (",
        rf"K\^R \(\w+\):\s+{N} MiB, c\^KV \(\w+\):\s+{N} MiB",
        (Said("kv_total_bytes", "MiB", "sum", 1), Said("kv_total_bytes", "MiB", "sum", 1)),
    ),
    LogLine(b"c^KV (", r"\bc\^KV \((\w+)\)", says("cache_type_k text")),
    LogLine(
        b"total VRAM used",
        rf"total VRAM used: {N} MiB \(model: {N} MiB, context: {N} MiB\)",
        says("used_bytes MiB", "weights_bytes MiB", "context_bytes MiB", rank=1),
    ),
    LogLine(b"VRAM used:", rf"load_tensors: VRAM used: {N} MiB", says("weights_bytes MiB", rank=2)),
    LogLine(  # printed on exit, and by -fit before anything is loaded, when what is unaccounted for is negative
        b"memory_breakdown",
        rf"memory_breakdown\w*: \|? *- {DEVICE} \(([^)]{{1,80}})\) *[|:] *(\d+) = +\d+ \+ \( *\d+ = +(\d+) \+ +(\d+) \+ +(\d+)\) \+ +\d{{1,7}}\b",
        (
            Said("device", "place"),
            Said("gpu", "text", rank=2),
            Said("gpu_memory_bytes", "MiB", rank=1),
            Said("weights_bytes", "MiB", rank=PREDICTED),
            Said("context_bytes", "MiB", rank=PREDICTED),
            Said("compute_buffer_bytes", "MiB", rank=PREDICTED),
        ),
    ),
    LogLine(
        b"projected to use",
        r"projected to use (\d+) MiB of device memory vs\. (\d+) MiB of free",
        says("projected_bytes MiB", "gpu_free_bytes MiB"),
    ),
)
ENDS = (
    LogLine(b"server is listening", r"server is listening on", (), "ready"),
    LogLine(b"HTTP server listening", r"HTTP server listening", (), "ready"),
    LogLine(b"model loaded", r"main: model loaded", (), "ready"),
    LogLine(b"llama_perf", r"llama_(?:perf_context_print|print_timings):", (), "ready"),
    LogLine(b"system_info: n_threads", r"(system_info: n_threads)", says("seen text")),
    LogLine(
        b"MiB on device ",
        rf"allocating {N} MiB on device (\d+)\b(?:: \w+ failed)?",
        says("tried_bytes MiB", "gpu_index count"),
        "oom",
    ),
    LogLine(
        b"buffer of size ",
        r"failed to allocate (\S+) buffer of size (\d+)\b",
        says("oom_device text", "tried_bytes B", rank=1),
        "oom",
    ),
    LogLine(
        b"unable to allocate", r"unable to allocate (\S+) buffer", says("oom_device text", rank=1), "oom"
    ),
    LogLine(
        b"failed to allocate",
        r"failed to allocate (?:compute (?:pp|tg )?buffers|buffer for kv cache|compute pp buffers)",
        (),
        "oom",
    ),
    LogLine(b"ErrorOutOfDeviceMemory", r"(ErrorOutOfDeviceMemory)", says("oom_text text"), "oom"),
    LogLine(b"failed to load model", r"(?:error|failed)[: ].*load model", (), "failed"),
)
HOST_BUFFERS = (
    "CPU",
    "CPU_Mapped",
    "CUDA_Host",
    "Vulkan_Host",
    "ROCm_Host",
    "SYCL_Host",
    "CPU_REPACK",
    "CPU_AARCH64",
    "AMX",
)
LLAMA = (*LOAD, *CONTEXT, *BUFFERS, *ENDS)
LOG = LogReader(
    "llamacpp",
    LLAMA,
    wakes=(b"loaded meta data",),
    names_devices=True,
    host_buffers=HOST_BUFFERS,
)
