"""Serving: one question about inference. None means "as the engine would choose"; an engine's `resolve`
leaves no None."""

from typing import NamedTuple

from ..errors import UsageError


class Layout(NamedTuple):
    """How ranks divide the work. Sizes, not indices."""

    tp: int = 1
    pp: int = 1
    dp: int = 1
    dcp: int = 1
    enable_expert_parallel: bool = False
    enable_dp_attention: bool = False
    """SGLang: the `dp` groups lie inside of the `tp` ranks and divide the attention alone."""
    ep_size: int = 0
    """Ranks that divide the experts, where the engine lets one say it; 0: all or none."""

    @property
    def num_ranks(self) -> int:
        return self.tp * self.pp * (1 if self.enable_dp_attention else self.dp)


class Serving(NamedTuple):
    """A serving question, under the flags' own names."""

    engine: str = "vllm"
    engine_version: str | None = None
    layout: Layout | None = None
    dtype: str = "auto"
    quantization: str | None = None
    kv_cache_dtype: str = "auto"
    hf_overrides: str | None = None
    """A JSON object: other values for keys of the model's config."""
    max_model_len: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    context: int | None = None
    concurrency: int | None = None
    gpu_memory_utilization: float | None = None
    block_size: int | None = None
    indexer_kv_dtype: str = "auto"
    """Keys of the sparse-attention indexer: fp8 (auto) or mxfp4."""
    enforce_eager: bool = False
    enable_prefix_caching: bool = False
    """vLLM's V0 with MLA: takes a workspace for cached context. Elsewhere it shares blocks and takes nothing.
    """
    images_per_prompt: int | None = None
    """vLLM: images that a prompt may have; 0: none, so that no room is made for them."""
    no_async_scheduling: bool = False
    """vLLM: no batch is prepared while another runs, which windows need less room for."""
    cpu_offload_gb: float = 0.0
    """vLLM: GiB of each rank's layers that stay on the host."""
    swap_space: float | None = None
    """vLLM's V0: GiB of host memory of each rank for blocks of sequences that wait."""
    kv_offloading_size: float = 0.0
    """vLLM: GiB of host memory, of all ranks, for blocks of the cache."""
    enable_lora: bool = False
    max_loras: int = 1
    """Adapters that run at once, each with a slot of the largest rank."""
    max_lora_rank: int = 16
    fully_sharded_loras: bool = False
    speculative: bool = False
    """Load the MTP or draft layers that the checkpoint carries."""
    num_redundant_experts: int = 0
    moe_backend: str = "auto"
    """vLLM: kernels of the experts; deep_gemm_mega_moe maps a buffer for all ranks, the others are counted as
    auto."""
    engram: str = "auto"
    """Where V4.1's Engram tables live: host or gpu; auto: where the engine puts them."""
    mem_fraction_static: float | None = None
    """SGLang: share of the memory found free at the start that weights and cache take."""
    swa_full_tokens_ratio: float | None = None
    """SGLang: slots of window layers for each slot of full ones."""
    moe_a2a_backend: str = "none"
    """SGLang: what carries tokens to experts; deepep keeps shared experts whole on every rank."""
    cuda_graph_max_bs: int | None = None
    """SGLang: the largest batch that is captured."""
    free_gpu_memory_fraction: float | None = None
    """TensorRT-LLM: share of what is free after loading that the cache takes."""
    device_map: str = "auto"
    """transformers: auto spreads layers over the cards."""
    cache_implementation: str = "dynamic"
    """transformers: dynamic grows with the sequence, static is made for the longest one."""

    instances: int = 1
    """Independent copies of the engine on each card, which divide its memory."""
    reserve: str | None = None
    """Memory of each card that is left to others, with its unit."""

    n_gpu_layers: int | None = None
    """llama.cpp: layers on the cards, counted from the last; the output is one more."""
    ubatch_size: int | None = None
    flash_attn: bool = True
    kv_unified: bool | None = None
    """llama.cpp: slots share one cache; None: they do if the number of slots is the server's own choice."""
    swa_full: bool = False
    """llama.cpp: layers with a window keep cells for the whole context, so that a prefix can be taken up
    again."""
    draft_tokens: int = 0
    """llama.cpp: tokens that the model's own MTP layer drafts at a time; hybrid models keep a state for each.
    """
    cache_type_k: str = "f16"
    cache_type_v: str = "f16"
    mla_attn: int | None = None
    """ik_llama.cpp: how the cache keeps MLA (0 to 3)."""
    attn_max_batch: int = 0
    """ik_llama.cpp: MiB of F32 scores at a time; 0: all."""
    cpu_moe: bool = False
    """Routed experts stay on the host."""
    n_cpu_moe: int = 0
    """Layers, from the first, whose routed experts stay on the host."""
    override_tensor: str | None = None
    """Rules for single tensors: pattern=CPU or pattern=CUDA0, the first that finds a tensor's name counts."""
    tensor_split: str | None = None
    """Share of each card in the layers; None: by its memory."""
    split_mode: str = "layer"
    """layer deals whole layers, row cuts matrices too, none uses one card."""

    def given(self) -> tuple[str, ...]:
        """What the question says, beside engine and version: the fields that are no defaults, those of the
        layout by their own names.

        >>> (
        ...     Serving(engine_version="0.19.0", context=4096, layout=Layout(tp=8)).given(),
        ...     Serving(layout=Layout()).given(),
        ... )
        (('context', 'tp'), ('tp',))
        """
        usual = Serving(self.engine, self.engine_version, self.layout)
        names = [
            name for name, value, default in zip(self._fields, self, usual, strict=True) if value != default
        ]
        if self.layout is not None:
            names += [
                n
                for n, value, default in zip(Layout._fields, self.layout, Layout(), strict=True)
                if value != default
            ] or ["tp"]
        return tuple(names)

    def check(self) -> None:
        """Refuse what no engine can mean, naming the flag."""
        for name in (
            "max_model_len",
            "max_num_seqs",
            "max_num_batched_tokens",
            "context",
            "concurrency",
            "block_size",
            "cuda_graph_max_bs",
            "ubatch_size",
        ):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= 1 << 40:
                raise UsageError(f"{flag(name)} is {value}", "it must be between 1 and 2**40")
        for name in (
            "gpu_memory_utilization",
            "mem_fraction_static",
            "swa_full_tokens_ratio",
            "free_gpu_memory_fraction",
        ):
            share = getattr(self, name)
            if share is not None and not 0 < share <= 1:
                raise UsageError(f"{flag(name)} is {share}", "it is a share: above 0, at most 1")
        if self.layout is not None:
            for name in ("tp", "pp", "dp", "dcp"):
                value = getattr(self.layout, name)
                if not 1 <= value <= 65536:
                    raise UsageError(f"--{name} is {value}", "it must be between 1 and 65536")
            if not 0 <= self.layout.ep_size <= 65536:
                raise UsageError(f"--ep-size is {self.layout.ep_size}", "it must be between 1 and 65536")
            if self.layout.tp % self.layout.dcp:
                raise UsageError(
                    f"--decode-context-parallel-size {self.layout.dcp} does not divide --tp {self.layout.tp}",
                    "choose a size that divides the tensor-parallel size",
                )
        if not 0 <= self.num_redundant_experts <= 1 << 20:
            raise UsageError(
                f"--num-redundant-experts is {self.num_redundant_experts}", "it must be 0 or more"
            )
        if not 1 <= self.instances <= 1024:
            raise UsageError(f"--instances is {self.instances}", "it must be between 1 and 1024")
        for name in ("n_gpu_layers", "attn_max_batch", "n_cpu_moe", "draft_tokens", "images_per_prompt"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1 << 40:
                raise UsageError(f"{flag(name)} is {value}", "it must be 0 or more")
        for name in ("cpu_offload_gb", "swap_space", "kv_offloading_size"):
            size = getattr(self, name)
            if size is not None and not 0 <= size <= 1 << 20:
                raise UsageError(f"{flag(name)} is {size}", "it is GiB: 0 or more")
        for name in ("max_loras", "max_lora_rank"):
            value = getattr(self, name)
            if not 1 <= value <= 1 << 12:
                raise UsageError(f"{flag(name)} is {value}", "it must be between 1 and 4096")
        if self.mla_attn not in (None, 0, 1, 2, 3):
            raise UsageError(f"--mla-use is {self.mla_attn}", "it is 0, 1, 2 or 3")
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise UsageError(f"{flag(name)} is {getattr(self, name)!r}", f"it is {' or '.join(known)}")


MOE_BACKENDS = (
    "auto",
    "deep_gemm_mega_moe",
    "deep_gemm",
    "triton",
    "batched_triton",
    "triton_unfused",
    "cutlass",
    "flashinfer_trtllm",
    "flashinfer_cutlass",
    "flashinfer_cutedsl",
    "flashinfer_b12x",
    "marlin",
    "humming",
    "aiter",
    "flydsl",
    "hpc",
    "emulation",
)
"""vllm/config/kernel.py of 0.19 to 0.33, without those that need a build of their own."""
CHOICES = {
    "indexer_kv_dtype": ("auto", "fp8", "mxfp4"),
    "engram": ("auto", "host", "gpu"),
    "moe_backend": MOE_BACKENDS,
    "moe_a2a_backend": ("none", "deepep"),
    "device_map": ("auto", "cuda"),
    "cache_implementation": ("dynamic", "static"),
    "split_mode": ("layer", "row", "none"),
}


def flag(field: str) -> str:
    return "--" + field.replace("_", "-")
