"""The options of `infer`, as a table. Both readers of a command line use it: click's, and the quick one of
fast.py."""

from typing import Literal, NamedTuple

FlagType = Literal["whole", "share", "text", "switch"]


class Flag(NamedTuple):
    """One option: its spellings, the keyword that it sets, its type, and its help."""

    names: tuple[str, ...]
    field: str
    type: FlagType
    help: str
    choices: tuple[str, ...] = ()


INFER = (
    Flag(
        ("--gpu",),
        "gpu",
        "text",
        "Cards: h200:8, h100:8x2 (two nodes), rtx-4090, 80GiB:8 (any card of that size).",
    ),
    Flag(
        ("--engine",),
        "engine",
        "text",
        "Serving engine.",
        (
            "vllm",
            "vllm-ascend",
            "vllm-hpu",
            "sglang",
            "llamacpp",
            "ik-llamacpp",
            "ollama",
            "trtllm",
            "transformers",
        ),
    ),
    Flag(
        ("--engine-version",), "engine_version", "text", "Its version, for example 0.19.0 [the newest known]."
    ),
    Flag(
        ("--tp", "--tensor-parallel-size", "--tp-size"),
        "tp",
        "whole",
        "Tensor-parallel ranks [the smallest size that fits].",
    ),
    Flag(("--pp", "--pipeline-parallel-size", "--pp-size"), "pp", "whole", "Pipeline stages."),
    Flag(
        ("--dp", "--data-parallel-size", "--dp-size"), "dp", "whole", "Data-parallel ranks of the attention."
    ),
    Flag(
        ("--decode-context-parallel-size",),
        "decode_context_parallel_size",
        "whole",
        "Ranks that share a sequence's cache.",
    ),
    Flag(
        ("--enable-expert-parallel",),
        "enable_expert_parallel",
        "switch",
        "Divide experts over the ranks, not their width.",
    ),
    Flag(
        ("--num-redundant-experts", "--ep-num-redundant-experts"),
        "num_redundant_experts",
        "whole",
        "Copies of experts for balance.",
    ),
    Flag(
        ("--moe-backend",),
        "moe_backend",
        "text",
        "Kernels of the experts; deep_gemm_mega_moe takes a buffer of its own.",
    ),
    Flag(("--dtype",), "dtype", "text", "Type of weights and activations: auto, bfloat16, float16, float32."),
    Flag(("--quantization",), "quantization", "text", "Quantise on loading: fp8."),
    Flag(
        ("--kv-cache-dtype",), "kv_cache_dtype", "text", "Type of the cache: auto, fp8, fp8_ds_mla, nvfp4 ..."
    ),
    Flag(
        ("--indexer-kv-dtype",),
        "indexer_kv_dtype",
        "text",
        "Keys of the sparse indexer.",
        ("auto", "fp8", "mxfp4"),
    ),
    Flag(
        ("--hf-overrides", "--json-model-override-args"),
        "hf_overrides",
        "text",
        "Other values for keys of the model's config, as JSON.",
    ),
    Flag(
        ("--max-model-len", "--context-length", "--max-seq-len"),
        "max_model_len",
        "whole",
        "Longest sequence that the engine admits [the model's own].",
    ),
    Flag(
        ("--max-num-seqs", "--max-running-requests", "--max-batch-size", "--parallel", "-np"),
        "max_num_seqs",
        "whole",
        "Sequences in a step, slots of llama.cpp [by version and card].",
    ),
    Flag(
        ("--max-num-batched-tokens", "--chunked-prefill-size", "--max-num-tokens"),
        "max_num_batched_tokens",
        "whole",
        "Tokens in a step [by version and card].",
    ),
    Flag(("--context",), "context", "whole", "Tokens of each sequence of the asked load [--max-model-len]."),
    Flag(("--concurrency",), "concurrency", "whole", "Sequences of the asked load at once [1]."),
    Flag(
        ("--gpu-memory-utilization",),
        "gpu_memory_utilization",
        "share",
        "Share of the card that the engine takes [0.9, 0.92].",
    ),
    Flag(
        ("--block-size", "--page-size", "--tokens-per-block"),
        "block_size",
        "whole",
        "Tokens of a cache block [by attention].",
    ),
    Flag(("--enforce-eager", "--disable-cuda-graph"), "enforce_eager", "switch", "No CUDA graphs."),
    Flag(
        ("--enable-prefix-caching",),
        "enable_prefix_caching",
        "switch",
        "vLLM: takes memory with V0 and MLA alone.",
    ),
    Flag(
        ("--limit-mm-per-prompt",),
        "limit_mm_per_prompt",
        "text",
        "vLLM: images of a prompt: image=4, or vLLM's JSON.",
    ),
    Flag(
        ("--no-async-scheduling",),
        "no_async_scheduling",
        "switch",
        "vLLM: prepare no batch while another runs.",
    ),
    Flag(
        ("--cpu-offload-gb",),
        "cpu_offload_gb",
        "share",
        "vLLM: GiB of each rank's layers that stay on the host.",
    ),
    Flag(("--swap-space",), "swap_space", "share", "vLLM's V0: GiB of host memory a rank for blocks [4]."),
    Flag(
        ("--kv-offloading-size",),
        "kv_offloading_size",
        "share",
        "vLLM: GiB of host memory, all ranks, for blocks.",
    ),
    Flag(("--enable-lora",), "enable_lora", "switch", "vLLM: slots for adapters beside every matrix."),
    Flag(("--max-loras",), "max_loras", "whole", "Adapters that run at once [1]."),
    Flag(("--max-lora-rank",), "max_lora_rank", "whole", "Rank of a slot [16]."),
    Flag(
        ("--fully-sharded-loras",),
        "fully_sharded_loras",
        "switch",
        "Both halves of an adapter are cut over --tp.",
    ),
    Flag(
        ("--speculative-config", "--speculative-algorithm"),
        "speculative_config",
        "text",
        "Load the model's own draft: mtp, or vLLM's JSON.",
    ),
    Flag(
        ("-ngl", "--n-gpu-layers"),
        "n_gpu_layers",
        "whole",
        "llama.cpp: layers on the cards, from the last [all].",
    ),
    Flag(
        ("--ubatch-size", "-ub"),
        "ubatch_size",
        "whole",
        "llama.cpp: tokens of a micro-batch [512; Ollama: by context].",
    ),
    Flag(("--flash-attn", "-fa"), "flash_attn", "text", "llama.cpp: flash attention [on].", ("on", "off")),
    Flag(
        ("--kv-unified", "-kvu"),
        "kv_unified",
        "switch",
        "llama.cpp: slots share one cache [if their number is not given].",
    ),
    Flag(("--swa-full",), "swa_full", "switch", "llama.cpp: layers with a window cache the whole context."),
    Flag(
        ("--spec-draft-n-max",),
        "draft_tokens",
        "whole",
        "llama.cpp: tokens that the model's own MTP layer drafts [0].",
    ),
    Flag(("--cache-type-k", "-ctk"), "cache_type_k", "text", "llama.cpp: type of cached keys [f16]."),
    Flag(("--cache-type-v", "-ctv"), "cache_type_v", "text", "llama.cpp: type of cached values [f16]."),
    Flag(("--mla-use", "-mla"), "mla_attn", "whole", "ik_llama.cpp: how the cache keeps MLA, 0 to 3."),
    Flag(
        ("--attention-max-batch", "-amb"),
        "attn_max_batch",
        "whole",
        "ik_llama.cpp: MiB of F32 scores at a time [all].",
    ),
    Flag(("--cpu-moe", "-cmoe"), "cpu_moe", "switch", "llama.cpp: routed experts stay on the host."),
    Flag(("--n-cpu-moe", "-ncmoe"), "n_cpu_moe", "whole", "llama.cpp: those of the first N layers do."),
    Flag(
        ("--override-tensor", "-ot"),
        "override_tensor",
        "text",
        "llama.cpp: tensors by name: exps=CPU,blk.3.=CUDA1.",
    ),
    Flag(
        ("--tensor-split", "-ts"), "tensor_split", "text", "llama.cpp: share of each card: 3,1 [by memory]."
    ),
    Flag(
        ("--split-mode", "-sm"),
        "split_mode",
        "text",
        "llama.cpp: how cards divide.",
        ("layer", "row", "none"),
    ),
    Flag(
        ("--instances",), "instances", "whole", "Copies of the engine on each card, which divide its memory."
    ),
    Flag(("--reserve",), "reserve", "text", "Memory of each card to leave to others: 2GiB."),
    Flag(("--engram",), "engram", "text", "Where V4.1's Engram tables live.", ("auto", "host", "gpu")),
    Flag(
        ("--mem-fraction-static",),
        "mem_fraction_static",
        "share",
        "SGLang: share for weights and cache [by card and batch].",
    ),
    Flag(
        ("--enable-dp-attention",),
        "enable_dp_attention",
        "switch",
        "SGLang: --dp divides the attention inside of --tp.",
    ),
    Flag(("--ep-size",), "ep_size", "whole", "SGLang: ranks that divide the experts."),
    Flag(
        ("--moe-a2a-backend",),
        "moe_a2a_backend",
        "text",
        "SGLang: transport of the experts.",
        ("none", "deepep"),
    ),
    Flag(("--cuda-graph-max-bs",), "cuda_graph_max_bs", "whole", "SGLang: largest batch that is captured."),
    Flag(
        ("--swa-full-tokens-ratio",),
        "swa_full_tokens_ratio",
        "share",
        "SGLang: slots of windows for each slot of full layers.",
    ),
    Flag(
        ("--free-gpu-memory-fraction", "--kv-cache-free-gpu-memory-fraction"),
        "free_gpu_memory_fraction",
        "share",
        "TensorRT-LLM: share of what is free after loading [0.9].",
    ),
    Flag(
        ("--device-map",),
        "device_map",
        "text",
        "transformers: auto spreads layers over the cards.",
        ("auto", "cuda"),
    ),
    Flag(("--cache-implementation",), "cache_implementation", "text", "transformers.", ("dynamic", "static")),
    Flag(
        ("--command",),
        "command",
        "text",
        'A real command line instead of MODEL and flags: "vllm serve ...", "llama-server ...".',
    ),
    Flag(("--from",), "from_file", "text", "Ask again what an earlier answer (JSON of infer) was asked."),
    Flag(
        ("--compare",),
        "compare",
        "text",
        "Variants side by side: gpu=h100:8,h200:8 or kv-cache-dtype=auto,fp8 or model=A,B.",
    ),
    Flag(("--plot",), "plot", "text", "Write a picture of the answer to this .svg file."),
    Flag(("--revision",), "revision", "text", "Revision of a hub repository."),
    Flag(("--offline",), "offline", "switch", "Ask no network; use what is cached or in the catalogue."),
    Flag(("--strict",), "strict", "switch", "Exit with 3 when the answer is tight."),
    Flag(("--json",), "json", "switch", "One JSON object on stdout."),
    Flag(
        ("--explain",), "explain", "text", "Show the lines of a category (or all): formula, numbers, source."
    ),
)

OUTPUT_FIELDS = ("strict", "json", "explain", "plot", "compare")
"""Fields that say how to answer, not what is asked."""
