"""The releases of vLLM that were read, and what each of them does otherwise (facts/engine_rules.csv)."""

import re

from ..releases import NO_FAMILY, Families, ReleaseRules, Releases, heads_loaded

BEYOND = "beyond positions"
"""What the text of a release says where a length beyond the model's positions is let through
(VLLM_ALLOW_LONG_MAX_MODEL_LEN)."""
CHUNKS = "chunks"
"""What it says where --enable-chunked-prefill cuts prompts of any length in the first engine."""
LATENTS_OFF = "MLA off"
"""What the text of a release says where its MLA is switched off (VLLM_MLA_DISABLE)."""
FIRST_RUNNER, SECOND_RUNNER = "MRV1", "MRV2"
"""What the text says where a model runner was chosen by hand (VLLM_USE_V2_MODEL_RUNNER=0 or 1)."""
COMPILED = "warm"
"""What the text says of a start that finds its compiled code on disk ("Directly load the compiled graph")."""
SORTS, FLASHINFER = "no FlashInfer", "FlashInfer"
"""What the text says of the package that samples where it is installed: the official image has it."""
WINDOWS_WHOLE = "windows whole"
"""What it says where windows are cached as full layers are: a connector of caches, or the flag
--disable-hybrid-kv-cache-manager, switches their groups off (config/vllm.py)."""
SHARED_WHOLE = "shared experts whole"
"""What it says where --additional-config of vLLM-Ascend asks for enable_shared_expert_dp."""
UNSCORED = "flash_attn"
"""A package without which towers of MoonViT make scores: named, or with a \"no\" before it."""
TRIED, UNTRIED = "graphs tried", "graphs untried"
"""What it says where captured graphs are tried before the cache is cut, or are not, against the release's
default (VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS)."""
ATTENTION = ("FLASHINFER", "FLASH_ATTN", "TRITON_ATTN", "FLEX_ATTENTION")
"""Kernels of attention that the text may name (--attention-backend, or before 0.14 VLLM_ATTENTION_BACKEND);
those of latents have names of their own."""
FROM_HOST = "from the host"
"""What it says where Intel's fork makes weights on the host, and moves them when they are quantised
(VLLM_OFFLOAD_WEIGHTS_BEFORE_QUANT)."""
XPU_GRAPHS = "XPU graphs"
"""What it says where an Intel GPU captures graphs though the release does not (VLLM_XPU_ENABLE_XPU_GRAPH)."""
UNWARMED = "not warmed"
"""What it says where Gaudi tries no steps at its start (VLLM_SKIP_WARMUP), or none beyond the pool
(VLLM_CONTIGUOUS_PA)."""
OFFLINE = "LLM class"
"""What it says of an engine that a script starts by LLM(), whose steps are larger than a server's."""
DOUBLED = "batch doubled"
"""What it says where --performance-mode throughput doubles the sequences and tokens that no flag says."""
DRIVER = "driver "
"""What stands in the text before the number of NVIDIA's driver, of which the first three digits count."""
HCCL = "HCCL of "
"""What stands in it before the MiB of a buffer of HCCL (HCCL_BUFFSIZE)."""


class VllmRules(ReleaseRules):
    """What a release of vLLM does; `text` may say which of its two engines runs: `0.8.5 (V0)`."""

    runs_v0: bool = False
    offers_v0: bool = False
    leaves_to_v0: Families = NO_FAMILY
    has_v1_on_cuda_alone: bool = False
    v1_asked_for_on_ascend: bool = False
    v1_needs_ampere: bool = False
    v1_caches_no_fp8: bool = False
    v1_caches_fp8_by_fa3: bool = False
    v1_caches_fp8_on_blackwell: bool = False
    follows_cache_of_checkpoint: bool = False
    v1_stages_by_ray_alone: bool = False
    v1_drafts_unasked: bool = False
    deals_remainder_to_earlier_stages: bool = False

    # what its server chooses
    v0_chunk: int = 0
    """Tokens of a chunk of a long prompt in the first engine; 0: it reads prompts whole."""
    v0_cuts_unasked: bool = False
    v0_cuts_states: bool = False
    v0_keeps_slots_in_f32: bool = False
    v1_serves_slots: bool = False
    v0_tokens_of_images: int = 0
    """The least batch of a model that sees images, in the first engine."""
    v0_fills_with_images: bool = False
    v0_caps_images: bool = False
    v0_scores_slices: Families = NO_FAMILY
    v0_tries_one_image: Families = NO_FAMILY
    """Families without videos, whose towers attend within one picture or tile at a time."""
    v0_tries_tiles: Families = NO_FAMILY
    v0_masks_by_hand: Families = NO_FAMILY
    """Families that mask each sequence by hand, whose scores may be kept."""
    v0_tries_one_with_images: bool = False
    v0_may_read_images_as_text: bool = False
    v0_lengthens_for_images: bool = False
    v0_cuts_cached_prefixes: bool = False
    v0_cuts_beside_images: bool = False
    v0_cuts_latents: bool = False
    v0_cuts_on_rocm: bool = False
    takes_1024_sequences: bool = False
    takes_a100_for_small: bool = False
    knows_huge_cards: bool = False
    takes_spark_for_small: bool = False
    takes_apu_for_small: bool = False
    blackwell_mla_block: int = 16
    """Tokens a block of MLA on Blackwell; 16 elsewhere."""

    # what it serves
    caps_interleaved_windows: bool = False
    """A model whose windows alternate with full attention is served to the length of the window."""
    drafts_by_eagle: bool = False
    drafts_by_eagle3: bool = False
    drafts_by_dflash: bool = False
    drafts_by_dspark: bool = False
    drafts_by_assistant: bool = False
    skips_unused_towers: bool = False
    serves_sparse_mla: bool = False
    serves_v4: bool = False
    serves_v41: bool = False
    serves_states: bool = False
    reads_state_types: bool = False
    """The state of Nemotron-H has the type that its config names."""
    types_delta_states: bool = False
    """--mamba-ssm-cache-dtype is heeded by the gated delta rule, as by Mamba; next, by KDA."""
    types_kda_states: bool = False
    keeps_f32_states: Families = NO_FAMILY

    # how the cache is laid out and counted
    packs_sparse_cache_unasked: bool = False
    packs_sparse_rows: bool = False
    chooses_attention_by_order: bool = False
    attends_turing_by_flashinfer: bool = False
    wants_share_free: bool = False
    """What attention runs on is the first of a list that reads the cache: FlashInfer where FlashAttention
    reads no FP8."""
    sizes_flashinfer_by_batch: bool = False
    scans_by_flashinfer_on_hopper: bool = False
    scans_by_flashinfer_on_sm10: bool = False
    scans_by_flashinfer_on_sm12: bool = False
    takes_flashinfer_sparse: bool = False
    """Sparse MLA on Blackwell runs FlashInfer's kernel, whose rows are plain."""
    caches_v4_in_nvfp4: bool = False
    codes_caches: bool = False
    codes_beside_states: bool = False
    shares_codes_scratch: bool = False
    caches_latents: bool = False
    latents_of_fp8_alone: bool = False
    """MLA is off where a model is quantised in a form other than FP8."""
    least_mla_head: int = 0
    """Elements to which the keys and values of MLA's heads are padded where they are cached."""
    latent_alignment: int = 1
    """Bytes to which the row of a latent is rounded up."""
    caches_windows: bool = False
    group_tolerance: float = 1
    """Ratio of the commonest kind's number of layers to the rarest one's, below which the rarer is padded."""
    pads_uneven_pages: bool = False
    raises_batch_to_items: bool = False
    keeps_states_of_prefixes: bool = False
    needs_block_a_sequence: bool = False
    sizes_v4_blocks_by_slots: bool = False
    packs_v4_by_pattern: bool = False
    counts_batches_in_flight: bool = False
    counts_blocks_alike: bool = False
    keeps_null_block: bool = False
    checks_length_by_engine: bool = False
    checks_stages_as_one: bool = False
    """One sequence's cache of all layers is held against the pool of a stage."""
    prints_tokens_by_groups: bool = False
    prints_tokens_by_concurrency: bool = False

    # what is set aside beside weights and cache
    charges_context: bool = False
    """The second engine charges whatever the card has less of; the first starts counting later."""
    charges_torch_alone: bool = False
    charges_segments: bool = False
    """The peak of the profile run is what the card has less of after it."""
    v0_samples_in_f32: bool = False
    fuses_experts: bool = False
    gptq_by_marlin: bool = False
    awq_by_marlin: bool = False
    v0_charges_context: bool = False
    v0_holds_reduced: bool = False
    """What ranks add up stays with torch through the profile run, whose peak is what the card has less of."""
    charges_context_on_ascend: bool = False
    tries_moved_experts: bool = False
    """Experts on Ascend get groups of ranks of their own with expert parallelism alone, and the profile run
    tries them."""
    captures_graphs: bool = False
    charges_graphs: bool = False
    charges_graphs_on_rocm: bool = False
    captures_on_xpu: bool = False
    second_runner_charges_graphs: bool = False
    second_runner_tries_images: bool = False
    captures_all_sizes: bool = False
    captures_whole_steps: bool = False
    captures_drafted_steps: bool = False
    has_runners: bool = False
    splits_latents: bool = False
    """MLA on Hopper runs FlashAttention 3."""
    doubles_graphs_on_blackwell: bool = False
    graph_step: int = 16
    """Tokens between two captured sizes above 256."""
    largest_graph_of_gpt_oss: int = 0
    """Tokens of the largest step of gpt-oss that is captured; 0: as of any model."""
    captures_with_and_without_adapters: bool = False
    expands_context_when_profiled: bool = False
    charges_made_before_loading: bool = False
    tries_joined_kernels: bool = False
    keeps_topp_rows: bool = False
    has_second_runner: bool = False
    second_runner_takes: Families = NO_FAMILY
    second_runner_takes_quantised: bool = False
    second_runner_takes_dense: bool = False
    second_runner_takes_v4: bool = False
    second_runner_takes_all: bool = False
    verifies_at_once: bool = False
    warms_up_before_graphs: bool = False
    profiles_images_on_ascend: bool = False
    gathers_heads_of_images: bool = False
    rotates_images_in_f32: bool = False
    scores_of_moonvit: Families = NO_FAMILY
    drops_pixels: bool = False
    takes_images_apart: Families = NO_FAMILY
    sees_images_in_chunks: Families = NO_FAMILY
    tries_videos: Families = NO_FAMILY
    """Families whose dummy video has frames of the largest image."""
    caches_times_of_videos: Families = NO_FAMILY
    """Families whose videos have a time before each frame, for which the profile run fills a cache."""
    profiles_mla_projection: bool = False
    shares_expert_workspace: bool = False
    gathers_tokens_of_ranks: bool = False
    awq_parts: int = 0
    """Parts of a product that AWQ's kernel makes before it adds them up."""
    experts_per_call: int = 0
    """Tokens that one call of the fused experts takes at most; 0: the whole batch."""
    merges_expert_outputs: bool = False
    reuses_expert_inputs: bool = False
    has_gemm_of_experts: bool = False
    profiles_indexer_scores: bool = False
    joins_sparse_queries: bool = False
    samples_canvases_at_once: bool = False
    sums_unsplit_parts: bool = False
    pads_sparse_queries: bool = False
    gathers_less_of_long_contexts: bool = False
    keeps_row_indices: bool = False
    reserves_scores_on_rocm: bool = False
    runs_v4_uncompiled: bool = False
    scores_index_beside_queries: bool = False
    keeps_streams_undrafted: bool = False
    wraps_b12x: bool = False
    narrows_b12x_tiles: bool = False
    has_mega_moe: Families = NO_FAMILY
    has_later_mega_moe: bool = False

    # what loading leaves
    reads_awq_of_autoawq_alone: bool = False
    loads_through_card: bool = False
    reserves_sparse_rows_at_load: bool = False
    fuses_qkv_a: bool = False
    fuses_indexer_inputs: bool = False
    shares_ends_with_draft: bool = False
    shares_embedding_with_head: bool = False
    keeps_draft_inputs: bool = False
    charges_draft: bool = False
    """The weights of a draft are in the budget; before, they come on top of it."""
    makes_adapters_uncounted: bool = False
    keeps_shared_experts_whole: bool = False
    quantises_while_loading: bool = False
    keeps_16_bit_beside_copies: bool = False
    """Quantising on loading keeps every parameter of 16 bit beside its copy in FP8 until all are loaded."""
    absorbs_products: bool = False
    absorbs_copies: bool = False
    imports_flashinfer_mla: bool = False
    adapts_experts: bool = False
    adapts_ends: Families = NO_FAMILY
    """Families whose embedding and head take adapters; of others only the layers do."""
    keeps_all_on_card: Families = NO_FAMILY
    """Families of which --cpu-offload-gb leaves nothing on the host."""
    runs_mxfp4_by_triton: bool = False
    runs_mxfp4_by_marlin_after_blackwell: bool = False
    trtllm_mxfp4_padding: int = 128
    """Multiple to which TRTLLM's kernels round the width of an expert."""
    pads_mxfp4_values: bool = False
    keeps_loaded_mxfp4_scales: bool = False
    keeps_loaded_nvfp4_scales: bool = False

    @property
    def heads_cached(self) -> bool:
        """Whether MLA is switched off, or not there yet: keys of all heads are cached, and values padded to
        them.

        >>> [RELEASES.at(text).heads_cached for text in ("0.7.0", "0.8.5 (V1, MLA off)", "0.8.5")]
        [True, True, False]
        """
        return LATENTS_OFF in self.text or not self.caches_latents

    @property
    def runner_chosen(self) -> bool | None:
        """Whether the second model runner was asked for, or the first; None: neither.

        >>> [RELEASES.at(text).runner_chosen for text in ("0.26.0 (MRV1)", "0.25.0 (MRV2)", "0.25.0")]
        [False, True, None]
        """
        chosen = FIRST_RUNNER in self.text, SECOND_RUNNER in self.text
        return None if chosen == (False, False) else chosen[1]

    @property
    def tries_graphs(self) -> bool:
        """Whether graphs are tried before the cache is cut.

        >>> [RELEASES.at(text).tries_graphs for text in ("0.24.0", "0.24.0 (graphs untried)", "0.19.0")]
        [True, False, False]
        """
        return TRIED in self.text or (self.charges_graphs and UNTRIED not in self.text)

    @property
    def captures_on_this_xpu(self) -> bool:
        return self.captures_on_xpu or XPU_GRAPHS in self.text

    @property
    def is_compiled(self) -> bool:
        """Whether compiled code lies on disk from an earlier start.

        >>> RELEASES.at("0.24.0 (warm)").is_compiled, RELEASES.at("0.24.0").is_compiled
        (True, False)
        """
        return COMPILED in self.text

    @property
    def samplers(self) -> tuple[str, ...]:
        """The condition of who samples; (): not said.

        >>> [RELEASES.at(text).samplers for text in ("0.8.5 (no FlashInfer)", "0.8.5")]
        [('no_flashinfer',), ()]
        """
        if SORTS in self.text:
            return ("no_flashinfer",)
        return ("flashinfer",) if FLASHINFER in self.text else ()

    @property
    def named_attention(self) -> str:
        """The kernels of attention that were named; nothing where the engine chooses.

        >>> RELEASES.at("0.26.0 (V1, FLASH_ATTN)").named_attention
        'FLASH_ATTN'
        """
        return next((name for name in ATTENTION if name in self.text), "")

    @property
    def driver(self) -> int:
        """The first three digits of NVIDIA's driver; 0 where the text does not say it.

        >>> RELEASES.at("0.9.2 (V1, driver 535.247)").driver, RELEASES.at("0.9.2").driver
        (535, 0)
        """
        said = self.text.partition(DRIVER)[2][:3]
        return int(said) if said.isdecimal() else 0

    @property
    def hccl_mib(self) -> int:
        """MiB of a buffer of HCCL, Ascend's NCCL.

        >>> RELEASES.at("0.18.0 (HCCL of 1024)").hccl_mib, RELEASES.at("0.18.0").hccl_mib
        (1024, 200)
        """
        said = re.match(r"\d+", self.text.partition(HCCL)[2])
        return int(said[0]) if said else 200

    @property
    def v0(self) -> bool:
        """Whether the first engine runs: the default before 0.8, an option up to 0.10.

        >>> RELEASES.at("0.6.6").v0, RELEASES.at("0.8.5 (V0)").v0, RELEASES.at("0.19.0").v0
        (True, True, False)
        """
        return self.runs_v0 or (self.offers_v0 and "V0" in self.text)


RELEASES = Releases(
    "vllm",
    VllmRules,
    (
        "0.3.3",
        "0.5.4",
        "0.5.5",
        "0.6.2",
        "0.6.6",
        "0.7.2",
        "0.8.5",
        "0.11.0",
        "0.16.0",
        "0.17.0",
        "0.18.0",
        "0.19.0",
        "0.21.0",
        "0.25.0",
        "0.33.0",
    ),
    first="0.2",
)


def draft_heads(version: str | None) -> tuple[str, ...]:
    """Return the kinds of heads that a release loads."""
    rules = RELEASES.at(version)
    return heads_loaded(rules)
