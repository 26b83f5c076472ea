"""One question about inference: as it is asked, and as an engine resolves it. Fields are those of the table
of options (facts/options/serving.py), which says what each means."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from ..errors import UsageError
from ..facts.options import DEFAULT_ENGINE
from ..records import Record
from ..units import parse_bytes
from .option_values import value_of
from .options import by_keyword, given, need_known
from .speculation import Speculation


class Layout(Record):
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
    def axes(self) -> dict[str, int]:
        """Return the sizes that divide anything, under the names by which people know them.

        >>> Layout(tp=8, pp=2).axes, Layout().axes
        ({'TP': 8, 'PP': 2}, {})
        """
        sizes = zip(("TP", "PP", "DP"), self[:3], strict=True)
        return {axis: size for axis, size in sizes if size > 1}

    @property
    def divides_cache(self) -> bool:
        """Return whether each rank holds the cache of a part of the tokens."""
        return self.dcp > 1

    @property
    def expert_ranks(self) -> int:
        """Return the ranks that divide the experts among them; the others of `tp` divide each one's width.

        >>> Layout(tp=8, enable_expert_parallel=True).expert_ranks, Layout(tp=8, ep_size=2).expert_ranks
        (8, 2)
        """
        return self.tp if self.enable_expert_parallel else self.ep_size or 1

    @property
    def num_ranks(self) -> int:
        return self.tp * self.pp * (1 if self.enable_dp_attention else self.dp)

    @property
    def leaves_ranks_open(self) -> bool:
        """Return whether it says how ranks share experts or attention and not how many ranks there are.

        >>> [each.leaves_ranks_open for each in (Layout(ep_size=8), Layout(tp=8, ep_size=8), Layout())]
        [True, False, False]
        """
        divides = self.enable_expert_parallel or self.enable_dp_attention or self.ep_size > 1
        return divides and self.num_ranks == 1


class Asked(Record):
    """A question about serving; None: as the engine would choose."""

    engine: str = DEFAULT_ENGINE
    engine_version: str | None = None
    layout: Layout | None = None
    dtype: str = "auto"
    quantization: str | None = None
    kv_cache_dtype: str = "auto"
    hf_overrides: str | None = None
    max_model_len: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    context: int | None = None
    concurrency: int | None = None
    gpu_memory_utilization: float | None = None
    block_size: int | None = None
    indexer_kv_dtype: str = "auto"
    enforce_eager: bool = False
    enable_prefix_caching: bool = False
    images_per_prompt: int | None = None
    language_model_only: bool = False
    pooling: bool = False
    skip_mm_profiling: bool = False
    max_pixels: int | None = None
    mm_encoder_tp_mode: str = "weights"
    no_async_scheduling: bool = False
    kv_cache_memory_bytes: int = 0
    num_gpu_blocks_override: int | None = None
    compilation_config: str | None = None
    no_enable_chunked_prefill: bool = False
    cpu_offload_gb: float = 0.0
    swap_space: float | None = None
    kv_offloading_size: float = 0.0
    enable_lora: bool = False
    max_loras: int = 1
    max_lora_rank: int = 16
    fully_sharded_loras: bool = False
    speculation: Speculation | None = None
    num_redundant_experts: int = 0
    moe_backend: str = "auto"
    engram: str = "auto"
    mem_fraction_static: float | None = None
    swa_full_tokens_ratio: float | None = None
    disable_radix_cache: bool = False
    mamba_ssm_cache_dtype: str = "auto"
    max_mamba_cache_size: int | None = None
    mamba_full_memory_ratio: float = 0.9
    mamba_scheduler_strategy: str = "auto"
    attn_cp_size: int = 1
    moe_a2a_backend: str = "none"
    moe_a2a_tokens: int | None = None
    enable_symm_mem: bool = False
    kt_num_gpu_experts: int | None = None
    kt_method: str | None = None
    kt_gpu_prefill_token_threshold: int = 0
    deepep_mode: str = "auto"
    enable_dp_lm_head: bool = False
    disable_shared_experts_fusion: bool = False
    moe_dense_tp_size: int = 0
    max_total_tokens: int | None = None
    attention_backend: str = "auto"
    cuda_graph_max_bs: int | None = None
    disable_prefill_cuda_graph: bool = False
    enable_piecewise_cuda_graph: bool = False
    enable_hierarchical_cache: bool = False
    hicache_ratio: float = 2.0
    hicache_size: int = 0
    max_prefill_tokens: int | None = None
    free_gpu_memory_fraction: float | None = None
    backend: str = "auto"
    optimize_config_path: str | None = None
    backend_type: str | None = None
    numa_copies: int = 1
    device_map: str = "auto"
    cache_implementation: str = "dynamic"
    prompt_cache_size: int = 10
    instances: int = 1
    reserve: str | None = None
    n_gpu_layers: int | None = None
    ubatch_size: int | None = None
    flash_attn: bool | None = None
    kv_unified: bool | None = None
    no_kv_offload: bool = False
    swa_full: bool = False
    cache_type_k: str = "f16"
    cache_type_v: str = "f16"
    mla_attn: int | None = None
    attn_max_batch: int = 0
    run_time_repack: bool = False
    gpu_overhead: int = 0
    cpu_moe: bool = False
    n_cpu_moe: int = 0
    override_tensor: str | None = None
    tensor_split: str | None = None
    split_mode: str = "layer"
    fit: bool | None = None
    fit_target: int = 1024
    fit_ctx: int = 4096

    @property
    def speculative(self) -> bool:
        """Return whether layers that draft are loaded: the checkpoint's own, or another model's."""
        return self.speculation is not None and self.speculation.loads_draft

    @property
    def draft_tokens(self) -> int:
        """Return how many tokens draft layers draft at a time; 0 without them."""
        return self.speculation.tokens if self.speculation is not None and self.speculation.loads_draft else 0

    @property
    def largest_graph(self) -> int:
        """Return the sequences of the largest step that is captured; 0 where nothing says them."""
        return self.cuda_graph_max_bs or 0

    @property
    def reserve_bytes(self) -> int:
        """Return what of each card is left to others."""
        return parse_bytes(self.reserve) if self.reserve else 0

    def changed(self) -> tuple[str, ...]:
        """Return the fields that are no defaults, beside engine and version; those of the layout last.

        >>> Asked(engine_version="0.19.0", context=4096, layout=Layout(tp=8)).changed()
        ('context', 'tp')
        """
        usual = Asked(self.engine, self.engine_version, self.layout)
        return (
            *(
                name
                for name, value, default in zip(self._fields, self, usual, strict=True)
                if value != default
            ),
            *(
                n
                for n, value, default in zip(Layout._fields, self.sizes, Layout(), strict=True)
                if value != default
            ),
        )

    def given(self) -> tuple[str, ...]:
        """Return what the question says: the fields that are no defaults, and a layout of one rank where it
        is asked for.

        >>> Asked(context=4096, layout=Layout()).given(), Asked(context=4096).given()
        (('context', 'tp'), ('context',))
        """
        return (*self.changed(), "tp") if self.layout == Layout() else self.changed()

    @property
    def sizes(self) -> Layout:
        """Return the layout; one rank where none is asked for."""
        return self.layout or Layout()

    def value(self, field: str) -> Any:
        """Return the value of a field of the table, be it one of the layout.

        >>> Asked(layout=Layout(tp=8)).value("tp"), Asked().value("dtype")
        (8, 'auto')
        """
        return getattr(self.sizes, field) if field in Layout._fields else getattr(self, field)

    def with_values(self, values: Mapping[str, Any]) -> Self:
        """Return the question with other values of fields of the table, those of the layout among them.

        >>> found = Asked().with_values({"tp": 8, "dtype": "float16"})
        >>> found.sizes.tp, found.dtype
        (8, 'float16')
        """
        axes = {name: value for name, value in values.items() if name in Layout._fields}
        flat = {name: value for name, value in values.items() if name not in axes}
        return self._replace(layout=self.sizes._replace(**axes), **flat) if axes else self._replace(**flat)

    @property
    def cache_bits(self) -> int:
        """Return the bits of a value of the cache as attention reads it: 8 in the FP8 forms and Q8, 16 else.

        >>> [Asked(kv_cache_dtype=word).cache_bits for word in ("auto", "fp8_ds_mla", "e5m2")]
        [16, 8, 8]
        """
        word = self.kv_cache_dtype
        return 8 if "fp8" in word or word in ("e4m3", "e5m2") or self.cache_type_k.startswith("q8") else 16

    def check(self) -> None:
        """Refuse what no engine can mean, and what this one does not have: ignoring it would answer another
        question.

        >>> Asked(engine="sglang", gpu_memory_utilization=0.9).check()
        Traceback (most recent call last):
        oomless.errors.UsageError: sglang has no --gpu-memory-utilization
          its own is --mem-fraction-static
        """
        known = by_keyword("infer")
        changed = self.changed()
        for field in changed:
            value_of(known[field], self.value(field), known[field].flag)
        need_known("infer", self.engine, changed)
        if self.speculation is not None:
            self.speculation.check()
        if self.layout is not None and self.layout.tp % self.layout.dcp:
            raise UsageError(
                f"--decode-context-parallel-size {self.layout.dcp} does not divide --tp {self.layout.tp}",
                "choose a size that divides the tensor-parallel size",
                "dcp",
            )


class Resolved(Asked):
    """The question with every default that the engine chooses: a question too, in which these are never None.

    `max_num_seqs` and `max_num_batched_tokens` are what one data-parallel group may run and work on at once,
    whatever the engine's flags count; 0 where an engine has no such limit.
    """

    __slots__ = ()

    if TYPE_CHECKING:
        engine_version: str
        layout: Layout
        max_model_len: int
        max_num_seqs: int
        max_num_batched_tokens: int
        context: int
        concurrency: int

    @property
    def worked(self) -> Layout:
        """Return the sizes as ranks work: under --split-mode tensor each of llama.cpp's cards, which are
        stages otherwise, has a part of every matrix (ggml/src/ggml-backend-meta.cpp)."""
        dealt = self.layout
        return dealt._replace(tp=dealt.pp, pp=1) if self.split_mode == "tensor" else dealt

    @classmethod
    def of(
        cls,
        asked: Asked,
        *,
        engine_version: str,
        layout: Layout,
        max_model_len: int,
        max_num_seqs: int = 0,
        max_num_batched_tokens: int = 0,
    ) -> "Resolved":
        """Return a question with what its engine chooses; the asked load is one sequence of the longest
        length where it is not given.

        >>> Resolved.of(Asked(), engine_version="0.19.0", layout=Layout(), max_model_len=4096).context
        4096
        """
        return cls._make(
            asked._replace(
                engine_version=engine_version,
                layout=layout,
                max_model_len=max_model_len,
                max_num_seqs=max_num_seqs,
                max_num_batched_tokens=max_num_batched_tokens,
                flash_attn=asked.flash_attn is not False,
                fit=asked.fit is not False,
                context=asked.context or max_model_len,
                concurrency=asked.concurrency or 1,
            )
        )


def serving_question(**flags: Any) -> Asked:
    """Return the question that keywords put; None means not given.

    >>> serving_question(tp=8, max_model_len=32768).layout
    Layout(tp=8, pp=1, dp=1, dcp=1, enable_expert_parallel=False, enable_dp_attention=False, ep_size=0)
    """
    values = given("infer", flags)
    layout = {name: values.pop(name) for name in Layout._fields if name in values}
    if layout == {"enable_expert_parallel": False}:
        layout = {}
    return Asked(**values, layout=Layout(**layout) if layout else None)
