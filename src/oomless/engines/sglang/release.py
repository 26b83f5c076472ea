"""Which releases of SGLang are known, and who divides what: attention, dense layers and experts have ranks of
their own."""

from ...model.attention import DSA, MLA, V4, V41
from ...model.feedforward import MoE
from ...model.model import Model
from ...run.cards import Hardware
from ...run.serving import Resolved
from ..releases import NO_FAMILY, Families, ReleaseRules, Releases, heads_loaded

FUSED_SHAPE = (256, 1)
"""(routed, shared) experts of the models whose shared expert may be fused: DeepSeek-V3 and its descendants.
"""

OWN_AWQ = "awq by its own kernels"
"""What the text of a release says where a command has --quantization awq: where nothing or awq_marlin is
said, Marlin's run."""


class SglangRules(ReleaseRules):
    """What a release of SGLang does: False or the first value where no row of the table holds."""

    # what it serves
    drafts_by_eagle: bool = False
    drafts_by_eagle3: bool = False
    drafts_by_dflash: bool = False
    drafts_by_dspark: bool = False
    serves_states: bool = False
    serves_sparse_mla: bool = False
    serves_v4: bool = False
    serves_v41: bool = False
    serves_canvases: bool = False
    forces_dp_attention: bool = False
    """Of sparse MLA."""
    replicates_attention_by_rank: bool = False
    """Data-parallel attention has no size of its own."""

    # what its server chooses
    reserves_by_class: bool = False
    reserves_by_size: bool = False
    gib_beside_share_of_large_cards: int = 0
    raises_share_of_large_cards: bool = False
    share_of_largest_cards: float = 0.0
    graphs_of_small_cards: int = 0
    """Largest batch that is captured below TP4 on cards of less than 25 GB; 0: they are as all others."""
    captures_more_above_gib: int = 0
    """Cards beyond which batches to 256 are captured; 0: none."""
    captures_more_of_one_group: bool = False
    """They are without data-parallel attention alone."""
    chunks_by_class: bool = False
    graphs_of_35_gib: int = 16
    caps_graphs_by_requests: bool = False
    keeps_logits_of_graphs: bool = False
    """Of each captured batch, in F32; later all write to one buffer."""
    captures_twelve: bool = False
    """A batch of 12, and above 256 fewer."""
    drafts_unpadded: bool = False
    """Where tokens are drafted, batches up to 32 and of 64 and 128 are captured, and prompts are not cut."""
    drafts_for_32: bool = False
    """Where tokens are drafted, 32 requests run at most and each batch of them is captured."""
    multiplies_scaled_positions: bool = False
    """Gemma 3's too, which are counted after scaling."""
    captures_prefills: bool = False
    captures_prefills_if_asked: bool = False
    reserves_for_prefills: bool = False
    mib_of_prefills: float = 0.0
    compiles_prefills: bool = False
    """In pieces, which what a host holds of the cache forbids; later they are captured as they run."""
    captures_prefills_of_drafts: bool = False
    captures_prefills_of_latents: bool = False
    captures_prefills_of_sparse: bool = False
    captures_prefills_of_images: Families = NO_FAMILY
    """Families whose texts are captured though they show images."""
    captures_prefills_of_groups: bool = False
    """Data-parallel attention, tokens that are sent to experts, adapters."""
    has_one_page_table: bool = False
    """Of captured batches; before, one more for drafts whether there are any."""
    runs_fa3: bool = False
    """On Hopper, where no other backend is asked."""
    copies_page_tables: bool = False
    """Of FlashAttention 3, for each captured batch."""
    reserves_for_deepep: bool = False
    gib_of_symmetric_memory: int = 0
    """Taken when graphs are captured."""
    sends_single_steps: bool = False
    """By DeepEP's buffers of low latency."""
    gives_drafts_all_layers: bool = False
    """The pool of an MTP layer has a row for every layer of the target, unless it keeps latents."""
    counts_rows_of_blocks: bool = False
    """Of heads that draft a block at once; others count as rows of the target."""
    divides_towers_as_attention: bool = False
    """What a tower attends with; the rest of it lies over all ranks."""
    divides_whole_towers_as_attention: Families = NO_FAMILY
    gib_reserved_for_drafts: int = 0
    cuts_any_share_of_vision_models: bool = False
    share_of_vision_models: float = 0.0
    reads_images_if_asked: Families = NO_FAMILY
    """Families that show no images unless --enable-multimodal."""
    cuts_no_prompt_of_vision_models: bool = False
    """Their prompts are read at once, however long."""
    sparse_mla_share: float = 0.0
    """mem_fraction_static of sparse MLA; 0: as of other models."""
    share_beside_aiter: float = 1.0
    """Of what is asked or chosen, where AITER attends to more than 8,192 positions."""
    shows_share_beside_aiter: bool = False
    runs_windows_by_triton: bool = False
    """AITER's backend leaves a cache of windows to Triton's kernel."""
    drafts_latents_by_aiter: bool = False
    takes_plain_fp8_rows: bool = False
    """Of sparse MLA in FP8, on Blackwell and ROCm."""
    pages_mla_on_blackwell: bool = False
    pages_heads_on_blackwell: bool = False
    spreads_remainder: bool = False

    # what a rank holds
    clones_shared_experts: Families = NO_FAMILY
    fuses_shared_expert: Families = NO_FAMILY
    runs_chunks_by_triton: Families = NO_FAMILY
    runs_heads_by_triton: Families = NO_FAMILY
    fuses_qkv_a: bool = False
    turns_untabled: Families = NO_FAMILY
    has_plain_tables: Families = NO_FAMILY
    """Families whose rotary tables no scaling lengthens."""
    absorbs_in_16_bit: bool = False
    loads_draft_before_pool: bool = False
    shares_ends_after_pool: bool = False
    """A draft lets go of its own embedding and head only when the pool is cut."""
    follows_cache_of_checkpoint: bool = False
    keeps_loaded_mxfp4_scales: bool = False
    """Of V4's experts, where Marlin multiplies them."""
    aligns_fp4_on_rocm: int = 1
    """What a rank's width of V4's experts in FP4 is a multiple of on AMD's cards."""
    runs_mxfp4_by_aiter: bool = False
    runs_mxfp4_by_marlin: bool = False
    trtllm_mxfp4_padding: int = 256
    holds_loaded_experts: Families = NO_FAMILY
    holds_loaded_weights: Families = NO_FAMILY
    """Families whose models keep a dictionary of their experts, or of all parameters."""
    copies_experts_on_ascend: bool = False
    """In 8 bit: what was loaded stays where something holds it."""
    holds_experts_of_ranks: bool = False
    """Those that EPMoE loaded, beside MI300's own FP8."""

    # how the pool is divided
    shares_pool_with_states: bool = False
    slots_of_buffered_states: int = 1
    """Of a request: its own and those of prefixes."""
    counts_states_by_requests: bool = False
    """Without prefixes, though the requests are not said."""
    multiplies_states_by_drafts: bool = False
    sets_draft_states_aside: bool = False
    counts_unused_slot_of_states: bool = False
    splits_window_pools: Families = NO_FAMILY
    """Families whose window layers have a pool of their own; others store every token."""
    leaves_own_draft_uncounted: Families = NO_FAMILY
    """Families whose own layers that draft do not count where the pool is divided."""
    keeps_towers_whole: Families = NO_FAMILY
    keeps_tables_on_host: Families = NO_FAMILY
    """Of n-grams, in 16 bit."""
    widens_workspaces: Families = NO_FAMILY
    """Families whose workspace of FlashInfer has 512 MiB."""
    has_no_symmetric_memory_with_dcp: Families = NO_FAMILY
    counts_windows_twice: Families = NO_FAMILY
    sizes_v4_windows_by_requests: bool = False
    """And by whole pages; before, V4's windows were a tenth of the tokens."""
    counts_v4_states_by_requests: bool = False
    """Of C128; before, by slots of the windows."""
    counts_v4_draft: bool = False
    """A window row of the draft's layer, drafts or none, and the whole model's rows on a pipeline's stage."""
    tunes_with_logits: bool = False
    """FlashInfer's tuning runs all requests that a rank may have, to their logits."""
    bounds_scores: bool = False
    """An indexer's scores of prompts are made in parts where they are many."""
    bounds_scores_of_v4: bool = False
    pads_v4_to_all_heads: bool = False
    """Queries of a rank are as wide as all ranks'; later as FlashMLA's 64 heads."""
    has_v4_heads_on_sm120: bool = False
    joins_parts_of_v4: bool = False
    """Prompts run by the kernel of steps, which joins results of parts in F32."""
    indexes_every_layer: bool = False
    divides_pool_by_plain_rows: bool = False
    divides_pool_by_index_rows: bool = False
    stores_rows_of_states: bool = False
    """On Ascend."""


RELEASES = Releases(
    "sglang",
    SglangRules,
    ("0.4.4", "0.4.5", "0.4.6", "0.5.3", "0.5.23"),
    first="0.1",
    newest_patch=True,
)


def attention_ranks(asked: Resolved) -> int:
    """Ranks that divide the attention: `tp`, less the groups of data-parallel attention, and of those that
    divide a prompt's tokens (arg_groups/parallel_hook.py, derive_attn_tp_size)."""
    layout = asked.layout
    return layout.tp // (layout.dp if layout.enable_dp_attention else 1) // asked.attn_cp_size


def expert_ranks(asked: Resolved) -> int:
    """Ranks that divide the experts among them; the others of `tp` divide each expert's width."""
    return asked.layout.tp if asked.moe_a2a_backend != "none" else asked.layout.expert_ranks


def by_fa3(asked: Resolved, hardware: Hardware) -> bool:
    """Return whether attention runs on FlashAttention 3: on Hopper, where it is asked or the default."""
    hopper = hardware.card.major == 9 and hardware.card.vendor != "AMD"
    usual = asked.attention_backend == "auto" and RELEASES.at(asked.engine_version).runs_fa3
    return hopper and (usual or asked.attention_backend == "fa3")


def by_aiter(model: Model, asked: Resolved, hardware: Hardware, rules: SglangRules) -> bool:
    """Return whether attention runs on AITER: on AMD's cards where it is asked, or by default for heads, and
    for latents of 16 or 128 heads a rank; sinks and OLMo's windows have Triton, and sparse latents and V4
    backends of their own (server_args.py).

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> from ...run.serving import Layout
    >>> names, cards = ("qwen3-32b", "deepseek-r1", "kimi-k2", "glm-5", "gpt-oss-20b"), parse_gpu("mi300x:8")
    >>> rules, asked = RELEASES.at("0.5.12"), Resolved(layout=Layout(tp=8))
    >>> [by_aiter(load(name), asked, cards, rules) for name in names]
    [True, True, False, False, False]
    """
    if hardware.card.vendor != "AMD" or asked.attention_backend not in ("auto", "aiter"):
        return False
    if asked.attention_backend == "aiter":
        return True
    if model.kinds.has(DSA, V4, V41) or model.family in rules.runs_heads_by_triton:
        return False
    heads = {each.num_heads // asked.layout.tp for each in model.kinds.of(MLA)}
    return heads <= {16, 128} and not (heads and asked.speculative and not rules.drafts_latents_by_aiter)


LONG_FOR_AITER = 8192
"""Positions up to which the share stays what it is."""


def shared_clones(model: Model, asked: Resolved, hardware: Hardware, rules: SglangRules) -> int:
    """Experts that stand for the shared one beside the routed ones; 0: it stays apart.

    0.4.6 makes one for each rank (models/deepseek_v2.py, determine_n_share_experts_fusion: compute capability
    9.0 and later, MI300's 9.4 among them), so that each rank holds as much as a whole one: +2.06 GiB for R1
    at TP8. From 0.4.7 there is one, divided like the others.
    """
    experts = model.kinds.of(MoE)
    if asked.disable_shared_experts_fusion or asked.kt_num_gpu_experts is not None:  # which says so, too
        return 0
    clones = model.family in rules.clones_shared_experts
    if not experts or not (clones or model.family in rules.fuses_shared_expert):
        return 0
    first = experts[0]
    if (first.num_experts, first.shared_width // first.expert_width) != FUSED_SHAPE or expert_ranks(
        asked
    ) > 1:
        return 0
    if not clones:
        return 1 if hardware.card.is_nvidia and not 0 < hardware.card.capability < FUSED_CAPABILITY else 0
    modern = hardware.card.capability >= 9 or hardware.card.vendor == "AMD"
    return asked.layout.tp if modern else 0


FUSED_CAPABILITY = 8.0


def draft_heads(version: str | None) -> tuple[str, ...]:
    """Return the kinds of heads that a release loads."""
    rules = RELEASES.at(version)
    return heads_loaded(rules)
