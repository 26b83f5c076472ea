"""Builds of llama.cpp and its kin, which are known by their dates, and what each of them does."""

from ...run.serving import Asked
from ..releases import NO_FAMILY, NO_NUMBERS, ByFamily, Families, ReleaseRules, Releases
from .builds import dated

VERSIONS = ("2025-03", "2025-07", "2026-02", "2026-06", "2026-08")
LATEST = VERSIONS[-1]


class LlamaRules(ReleaseRules):
    """What a build does: False or the first value where no row of the table holds."""

    # what the server chooses
    auto_slots: int = 1
    """Slots where nobody says how many; several then share one cache, or are what fits of Ollama's."""
    slots_have_context: bool = False
    """A context is one slot's; else all share it."""
    default_context: int = 0
    """Tokens where nobody says how many; 0: the model's own length."""
    lengthens: Families = NO_FAMILY
    """Families whose context is longer on cards that are not small."""
    tiers_context: bool = False
    """It goes by the memory of all cards."""
    cuts_context: bool = False
    """No context is made that is longer than the model's own."""
    offloads_output_first: bool = False
    divides_rows_unasked: bool = False
    """Rows of every matrix are divided over cards, where --split-mode is not known yet."""
    fits_itself: bool = False
    """It changes what was not set where a card is too small."""
    fits_when_told: bool = False
    """It does so where --fit is there alone, whatever -ngl says, and leaves the context as it is."""
    keeps_loaded_draft: bool = False
    """The context that a model which drafts was loaded with stays beside the slot's."""
    fits_drafts: bool = False
    """It counts a context that drafts then."""
    fits_towers: bool = False
    """It counts a file of --mmproj then."""
    deals_whole_layers: bool = False
    """No part of a layer can be left to the host."""
    precedes_macos_26: bool = False
    looks_up_layers_on_cards: bool = False
    """Gemma's embedding of each layer is where the output is."""
    estimates_layers: bool = False
    """By Ollama's estimate, not by what fits."""
    measures_layers: bool = False
    """Of what its own engine runs."""
    fills_metal: bool = False
    """All layers go to an Apple GPU, whatever there is room for."""
    sums_cards: bool = False
    shares_file: bool = False
    reserves_layer: bool = False
    """Ollama's estimate keeps room for a first layer."""
    lacks_graph: Families = NO_FAMILY
    """Its estimate takes their graph for a share of the cache."""
    weighs_experts: bool = False
    """It knows the graph of Mixtral's experts where layers stay on the host."""
    counts_from_front: bool = False
    divides_width: bool = False
    """A head is the hidden state divided by their number."""
    joins_sinks: bool = False
    """Of Ollama's own engine: scores are laid out anew with the sinks, and without them again."""
    serves_v4: bool = False
    runs_llama_server: bool = False
    """Of Ollama: its own engine is left."""
    flashes_unasked: bool = False
    """Flash attention is on where nobody says otherwise."""
    flashes_sinks_unasked: bool = False
    flashes_families_unasked: Families = NO_FAMILY
    """Of Ollama's own engine."""

    # of Ollama
    own_engine: Families = NO_FAMILY
    """What its own engine runs."""
    has_library: bool = False
    """A model without a type is one of its library."""
    keeps_16_bit_beside_mxfp4: Families = NO_FAMILY
    keeps_kv_b_whole: Families = NO_FAMILY
    """The library's files are older than kv_b in two: keys and values of all heads are cached."""
    keeps_layer_table: bool = False
    """Gemma's embedding of each layer is not quantised."""
    has_tower_in_file: bool = False
    """What reads images is a part of the model's file; else a file of its own (--mmproj)."""
    drops_encoders: Families = NO_FAMILY
    decides_mapping: bool = False
    """The file may be read where llama-server maps it."""
    says_context: bool = False
    """llama-server is told a context, whatever was asked."""

    # the cache
    keeps_slots_apart: bool = False
    caches_windows: bool = False
    caches_windows_itself: bool = False
    """Of Ollama's own engine."""
    caches_on_main_card: bool = False
    """Where rows are divided, the first card has the cache of all layers."""
    caches_every_head: bool = False
    """Of MLA."""
    caches_latent_once: bool = False
    latent_mode: int = 0
    """-mla of ik_llama.cpp where nobody says it."""
    has_indexer: bool = False
    caches_unused_drafts: bool = False
    knows_windows: Families = NO_FAMILY
    """Families whose windows it knows; of others every layer caches the whole context."""
    cuts_no_tensors: Families = NO_FAMILY
    """Families that --split-mode tensor does not serve, beside those of latents and other states."""
    cuts_values_alone: Families = NO_FAMILY
    """It cuts values of the gated delta rule by themselves, not as keys are."""
    measures_windows: Families = NO_FAMILY
    """Families whose windows Ollama's estimate knows."""
    length_of_windows: ByFamily = NO_NUMBERS
    """In that, where it does not take it from the file."""
    drafts_with_all_cells: Families = NO_FAMILY
    """The context that drafts has cells for layers which it does not run: they were not told from its own."""

    pads_less_unflashed: bool = False
    """Without flash attention the context is padded to 32 cells, not to 256."""

    # the graph of a micro-batch
    copies_inputs: int = 1
    """Micro-batches that several cards work on at once."""
    copies_host_matrices: bool = False
    """As often every matrix of the host, and none is let go, unless it was built to copy once."""
    limits_scores: int = 0
    """MiB of -amb where nobody says it."""
    fuses_indexer: bool = False
    fuses_gated_delta: bool = False
    casts_mask: bool = False
    turns_quantised: bool = False
    reserves_cast_cache: bool = False
    """Of a cache that is not F16, for flash attention; before, the copies came out of the backend's pool."""
    reserves_logits_of_slots: bool = False
    retries_unpipelined: bool = False
    """Where a buffer finds no room, the context is tried without micro-batches on several cards at once."""
    widens_for_images: bool = False
    """A micro-batch is as large as a batch where a tower is on the card."""
    reserves_picture: bool = False
    """Of Ollama's own engine: at the start it reserves the graph of a picture of 2048 x 2048."""
    patches_reserved: ByFamily = NO_NUMBERS
    """Of that picture."""
    patches_of_all: ByFamily = NO_NUMBERS
    """Of families whose pictures are all as large."""
    flashes_towers: bool = False
    """Of the same: flash attention, where it is on, spares the scores of a tower too."""
    tower_scores: int = 16
    """Heads whose scores of all pairs of patches a tower's buffer has at once."""
    takes_any_picture: Families = NO_FAMILY
    """Families whose pictures keep their size."""
    writes_tower_scores: Families = NO_FAMILY
    """Families whose towers Ollama's own engine runs without flash attention."""
    picture_tokens: int = 0
    """Of the largest picture of a family whose pictures have any size; 0: as its processor has it."""
    inputs_row_indices: bool = False
    inputs_embeddings: bool = False
    expands_in_f32: bool = False
    activates_on_host: Families = NO_FAMILY
    """Cards have no kernel for the activation (XIELU)."""

    keeps_pool_buffers: bool = False
    """What running operations take of an NVIDIA card stays, as on other makers' cards."""

    multiplies_by_cublas: bool = False
    """NVIDIA's cards with matrix units multiply quantised matrices in F16, where a batch is large."""
    multiplies_output_of_all: bool = False
    """The output matrix is multiplied for every token of a micro-batch, asked for or not."""

    # what multiplies quantised matrices on AMD's cards
    has_mfma_kernels: bool = False
    has_wmma_kernels: bool = False

    # experts on the host
    lacks_interleaved_kernels: bool = False
    counts_tokens_of_experts: bool = False
    leaves_batches: bool = False
    """Layers of the host are the host's for large batches too; one matrix at a time is multiplied by a card,
    which takes it out of its pool."""
    reads_first_mixes: bool = False
    """Its files were made before rules of llama-quantize that others follow."""
    loops_over_experts: bool = False
    """A graph multiplies a layer's experts one after the other: copies of all their matrices stay."""


LLAMACPP_BUILDS = Releases("llamacpp", LlamaRules, VERSIONS, first="2000-01", dated=True)
IK_BUILDS = Releases("ik-llamacpp", LlamaRules, VERSIONS, first="2000-01", dated=True)
OLLAMA_BUILDS = Releases("ollama", LlamaRules, VERSIONS, first="2000-01", dated=True)


def is_ik(asked: Asked) -> bool:
    """ik_llama.cpp, which alone has -mla."""
    return asked.engine == "ik-llamacpp" or asked.mla_attn is not None


def rules_of(asked: Asked) -> LlamaRules:
    """Return what the build that a question names does, of the fork that it names.

    >>> rules_of(Asked(engine="llamacpp")).auto_slots, rules_of(Asked(engine="ollama")).auto_slots
    (4, 1)
    """
    kin = IK_BUILDS if is_ik(asked) else OLLAMA_BUILDS if asked.engine == "ollama" else LLAMACPP_BUILDS
    return kin.at(asked.engine_version and dated(asked.engine, asked.engine_version))
