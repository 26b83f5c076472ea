"""One file or folder an engine: how it lays memory out. Here: the list of engines, and what each knows."""

from collections.abc import Iterator
from functools import cache
from importlib import import_module

from ..errors import UnsupportedError, UsageError, did_you_mean
from ..run.serving import Serving, flag
from .engine import Engine

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
"""Engine name -> module, which has its record under its name in capitals."""
DEFAULT = "vllm"
"""The engine that is asked where nobody names one."""

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
SHARES = ("gpu_memory_utilization", "mem_fraction_static", "free_gpu_memory_fraction")
"""Fields of the share of the card that an engine takes whole: not the same share, so none stands in for
another."""


@cache
def engine(name: str) -> Engine:
    """Return the record of an engine; its module is loaded when it is first asked for."""
    if name not in ENGINES:
        raise UsageError(f"unknown engine {name!r}", did_you_mean(name, list(ENGINES), "oomless engines"))
    module = import_module(f".{ENGINES[name]}", __name__)
    found: Engine = getattr(module, name.upper().replace("-", "_"))
    return found


def engines() -> Iterator[Engine]:
    """Yield every engine."""
    return map(engine, ENGINES)


@cache
def engines_tried(vendor: str) -> tuple[str, ...]:
    """Return the engines that a plan tries on a maker's cards unasked.

    >>> engines_tried("NVIDIA"), engines_tried("Huawei"), engines_tried("MetaX")
    (('vllm', 'sglang', 'llamacpp'), ('vllm-ascend',), ('vllm',))
    """
    named = tuple(each.name for each in engines() if vendor in each.cards.tried)
    return named or tuple(each.name for each in engines() if "*" in each.cards.tried)


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
            own = engine(asked.engine).share_flag
            if name in SHARES and own:
                hint = f"its own is {own}"
            raise UsageError(f"{asked.engine} has no {FLAG_NAMES.get(name, flag(name))}", hint)


def check_card(name: str, vendor: str) -> None:
    """Refuse a card that the engine has no kernels for. A card that is only a size ("") is taken for one that
    it has.

    >>> check_card("vllm", "Apple")
    Traceback (most recent call last):
    oomless.errors.UnsupportedError: vllm does not run on cards of Apple
      use --engine llamacpp
    """
    only, instead = engine(name).cards.only, dict(engine(name).cards.instead)
    if vendor and only and vendor not in only:
        raise UnsupportedError(f"{name} does not run on cards of {vendor}", f"it is for {' and '.join(only)}")
    if vendor in instead:
        where = "is not known on a plain CPU" if vendor == "generic" else f"does not run on cards of {vendor}"
        raise UnsupportedError(f"{name} {where}", f"use --engine {instead[vendor]}")


FLAG_NAMES = {
    "images_per_prompt": "--limit-mm-per-prompt",
    "dcp": "--decode-context-parallel-size",
    "speculative": "--speculative-config",
    "draft_tokens": "--spec-draft-n-max",
}
