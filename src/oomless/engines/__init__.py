"""One file or folder an engine: how it lays memory out. Here: the list of engines, and what each knows."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..errors import UnsupportedError, UsageError, did_you_mean
from ..run.serving import Serving, flag

if TYPE_CHECKING:
    from .protocol import Engine  # a protocol costs start-up and says nothing at run time

ENGINES = {
    "vllm": "vllm",
    "vllm-ascend": "vllm_ascend",
    "vllm-hpu": "vllm_hpu",
    "sglang": "sglang",
    "llamacpp": "llamacpp",
    "ik-llamacpp": "llamacpp",
    "ollama": "llamacpp",
    "trtllm": "trtllm",
    "transformers": "transformers",
}
"""Engine name -> module."""

VLLM = ("vllm", "vllm-ascend", "vllm-hpu")
LLAMA = ("llamacpp", "ik-llamacpp", "ollama")
KNOWN_BY: dict[str, tuple[str, ...]] = {
    "dtype": (*VLLM, "sglang", "trtllm", "transformers"),
    "kv_cache_dtype": (*VLLM, "sglang", "trtllm", "transformers"),
    "gpu_memory_utilization": VLLM,
    "hf_overrides": (*VLLM, "sglang"),
    "indexer_kv_dtype": VLLM,
    "dcp": VLLM,
    "tp": (*VLLM, "sglang", "trtllm"),
    "dp": (*VLLM, "sglang"),
    "enable_expert_parallel": (*VLLM, "sglang", "trtllm"),
    "quantization": (*VLLM, "sglang", *LLAMA, "trtllm", "transformers"),
    "block_size": (*VLLM, "sglang", "trtllm"),
    "max_num_batched_tokens": (*VLLM, "sglang", "trtllm"),
    "max_num_seqs": (*VLLM, "sglang", "trtllm", *LLAMA),
    "speculative": (*VLLM, "sglang"),
    "num_redundant_experts": (*VLLM, "sglang"),
    "enable_prefix_caching": VLLM,
    "no_async_scheduling": VLLM,
    "images_per_prompt": VLLM,
    **dict.fromkeys(("cpu_offload_gb", "swap_space", "kv_offloading_size"), ("vllm",)),
    **dict.fromkeys(("enable_lora", "max_loras", "max_lora_rank", "fully_sharded_loras"), ("vllm",)),
    "enforce_eager": (*VLLM, "sglang", "trtllm"),
    "engram": (*VLLM, "sglang"),
    "mem_fraction_static": ("sglang",),
    "swa_full_tokens_ratio": ("sglang",),
    "moe_backend": VLLM,
    "moe_a2a_backend": ("sglang",),
    "cuda_graph_max_bs": ("sglang",),
    "enable_dp_attention": ("sglang",),
    "ep_size": ("sglang",),
    "free_gpu_memory_fraction": ("trtllm",),
    "n_gpu_layers": LLAMA,
    "ubatch_size": LLAMA,
    "flash_attn": LLAMA,
    "kv_unified": LLAMA,
    "swa_full": ("llamacpp",),
    "draft_tokens": ("llamacpp",),
    "cache_type_k": LLAMA,
    "cache_type_v": LLAMA,
    "mla_attn": ("llamacpp", "ik-llamacpp"),
    "attn_max_batch": ("llamacpp", "ik-llamacpp"),
    "cpu_moe": LLAMA,
    "n_cpu_moe": LLAMA,
    "override_tensor": LLAMA,
    "tensor_split": LLAMA,
    "split_mode": LLAMA,
    "device_map": ("transformers",),
    "cache_implementation": ("transformers",),
}
"""Fields that only some engines know; every other field is known to all. The one place that says so."""
SHARES = {
    **dict.fromkeys(VLLM, "--gpu-memory-utilization"),
    "sglang": "--mem-fraction-static",
    "trtllm": "--free-gpu-memory-fraction",
}
"""How each engine that takes its pool whole names its share: not the same share, so none stands in for
another."""


def engine(name: str) -> "Engine":
    """The module of an engine."""
    if name not in ENGINES:
        raise UsageError(f"unknown engine {name!r}", did_you_mean(name, list(ENGINES), "oomless engines"))
    module: Any = import_module(f".{ENGINES[name]}", __name__)
    rules: Engine = module
    return rules


def check_flags(asked: Serving) -> None:
    """Refuse a flag that the engine does not have: ignoring it would answer another question.

    >>> check_flags(Serving(engine="sglang", gpu_memory_utilization=0.9))
    Traceback (most recent call last):
    oomless.errors.UsageError: sglang has no --gpu-memory-utilization
      its own is --mem-fraction-static
    """
    layout = asked.layout
    given = {name for name, default in asked._field_defaults.items() if getattr(asked, name) != default}
    if layout is not None:
        given |= {
            name for name, default in layout._field_defaults.items() if getattr(layout, name) != default
        }
    for name in KNOWN_BY:
        if name in given and asked.engine in ENGINES and asked.engine not in KNOWN_BY[name]:
            known = KNOWN_BY[name]
            hint = f"{' and '.join(known)} {'know' if len(known) > 1 else 'knows'} it; leave it out"
            if (
                name in ("gpu_memory_utilization", "mem_fraction_static", "free_gpu_memory_fraction")
                and asked.engine in SHARES
            ):
                hint = f"its own is {SHARES[asked.engine]}"
            raise UsageError(f"{asked.engine} has no {FLAG_NAMES.get(name, flag(name))}", hint)


def check_card(name: str, vendor: str) -> None:
    """Refuse a card that the engine has no kernels for. A card that is only a size ("") is taken for one that
    it has.

    >>> check_card("vllm", "Apple")
    Traceback (most recent call last):
    oomless.errors.UnsupportedError: vllm does not run on cards of Apple
      use --engine llamacpp
    """
    only, never = ONLY_ON.get(name), NEVER_ON.get(name, {})
    if vendor and only and vendor not in only:
        raise UnsupportedError(f"{name} does not run on cards of {vendor}", f"it is for {' and '.join(only)}")
    if vendor in never:
        where = "is not known on a plain CPU" if vendor == "generic" else f"does not run on cards of {vendor}"
        raise UnsupportedError(f"{name} {where}", f"use --engine {never[vendor]}")


ONLY_ON = {"vllm-ascend": ("Huawei",), "vllm-hpu": ("Intel",), "trtllm": ("NVIDIA",)}
NEVER_ON = {
    "vllm": {
        "generic": "llamacpp",
        "Apple": "llamacpp",
        "Raspberry Pi": "llamacpp",
        "Huawei": "vllm-ascend",
        "Intel": "vllm-hpu",
    },
    "sglang": {"generic": "llamacpp", "Apple": "llamacpp", "Raspberry Pi": "llamacpp"},
}
"""Engine -> makers of cards, and the engine that does run there."""
FLAG_NAMES = {
    "images_per_prompt": "--limit-mm-per-prompt",
    "dcp": "--decode-context-parallel-size",
    "speculative": "--speculative-config",
    "draft_tokens": "--spec-draft-n-max",
}
