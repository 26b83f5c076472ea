"""What llama-server, ik_llama.cpp and Ollama choose where the question is silent: context, micro-batch,
types, layers of each card."""

from ...errors import UnsupportedError, UsageError
from ...model.attention import DSA, GQA, MLA, V4, V41
from ...model.gguf_model import num_blocks
from ...model.gguf_types import TYPES
from ...model.model import Model
from ...run.cards import Hardware
from ...run.serving import Asked, Layout, Resolved
from ...units import GIB, MIB
from ..rank import Stage
from ..releases import first_with
from .builds import dated
from .gguf_file import expands, heads_of, published_as
from .ollama_command import USUAL
from .placement import check, deal
from .release import LATEST, LLAMACPP_BUILDS, is_ik, rules_of
from .tensor_slices import refuse_uncut

MOST_DEVICES = 15
"""GGML_SCHED_MAX_BACKENDS is 16, the host among them: a usual build ends in an assertion on sixteen cards
(ollama issue 8920); one made for more has run (ik_llama.cpp issue 245)."""
CELLS = 256
"""The context is padded to a multiple of it (llama_kv_cache padding with flash attention)."""
PADDED_UNFLASHED = 32
"""The same without it, for a time (`pads_less_unflashed`)."""
HOSTS = ("generic", "Raspberry Pi")
"""Makers of "cards" that are the host itself."""


def resolve(model: Model, hardware: Hardware, asked: Asked, layout: Layout) -> Resolved:
    """llama-server's defaults: context of the model, one slot, micro-batches of 512, flash attention where it
    can, cache in f16."""
    version = LATEST if asked.engine_version is None else dated(asked.engine, asked.engine_version)
    asked = asked._replace(engine_version=version)
    check_asked(model, asked, layout)
    if asked.split_mode == "none":
        layout = layout._replace(pp=1)
    asked = as_built(model, asked)
    length = asked.max_model_len or asked.context or default_length(model, hardware, asked)
    mode = asked.mla_attn
    if mode is None and is_ik(asked):
        mode = rules_of(asked).latent_mode if model.kinds.has(MLA, DSA) else 0
    # a build without cards takes no notice of -ngl: all is in the one memory; Metal ran the whole graph once
    alone = hardware.card.vendor in HOSTS
    whole = rules_of(asked).fills_metal and hardware.card.vendor == "Apple" and asked.n_gpu_layers != 0
    found = Resolved.of(
        asked,
        engine_version=version,
        layout=layout,
        max_model_len=length,
        max_num_seqs=asked.max_num_seqs or 0,
    )
    all_layers = num_blocks(model) + 1
    found = found._replace(
        quantization=asked.quantization
        or (None if model.quantization.startswith("gguf") else served_as(model, rules_of(asked).has_library)),
        n_gpu_layers=all_layers
        if asked.n_gpu_layers is None or alone or whole
        else min(asked.n_gpu_layers, all_layers),
        mla_attn=mode,
        flash_attn=flashes_unasked(model, found) if asked.flash_attn is None else asked.flash_attn,
        max_num_seqs=num_slots(found),
        kv_unified=asked.max_num_seqs is None and found.concurrency <= LLAMACPP_BUILDS.at(LATEST).auto_slots
        if asked.kv_unified is None
        else asked.kv_unified,
        tensor_split=asked.tensor_split or by_memory(hardware, layout.pp, asked.split_mode),
        fit=fits_itself(asked),
    )
    if not alone and estimates(model, asked):
        from .ollama_layers import on_cards  # most questions are of other engines

        taken = on_cards(model, hardware, found._replace(max_num_seqs=asked.max_num_seqs or 0))
        found = taken if asked.n_gpu_layers is None else found._replace(max_num_seqs=taken.max_num_seqs)
    slots = found.max_num_seqs or 1
    if rules_of(asked).slots_have_context:
        found = found._replace(concurrency=max(found.concurrency, slots))
    check(found)
    if slots > num_cells(found):
        raise UsageError(
            f"{slots:,} slots share a cache of {num_cells(found):,} cells",
            "llama.cpp does not start: ask for fewer --max-num-seqs, or more --context",
        )
    return found._replace(ubatch_size=asked.ubatch_size or default_ubatch(model, hardware, found))


def as_built(model: Model, asked: Asked) -> Asked:
    """Return the question as a build takes it: rows where it divides no layers, no context that is longer
    than the model's own where it makes none."""
    if asked.split_mode == "layer" and rules_of(asked).divides_rows_unasked:
        asked = asked._replace(split_mode="row")
    if not rules_of(asked).cuts_context:
        return asked
    most = model.max_positions
    return asked._replace(
        context=asked.context and min(asked.context, most),
        max_model_len=asked.max_model_len and min(asked.max_model_len, most),
    )


def fits_itself(asked: Asked) -> bool:
    """Return whether a build changes what nobody set until it starts: one that can, unless it is told not to;
    ik_llama.cpp where it is told to."""
    rules = rules_of(asked)
    wanted = not rules.fits_when_told if asked.fit is None else asked.fit
    return rules.fits_itself and wanted and asked.split_mode != "tensor"


def estimates(model: Model, asked: Asked) -> bool:
    """Return whether a release estimates the layers of a model."""
    rules = rules_of(asked)
    return rules.estimates_layers and not (rules.measures_layers and model.family in rules.own_engine)


def has_sinks(model: Model) -> bool:
    return any(isinstance(each.core, GQA) and each.core.sinks for each in model.kinds.attentions)


def flashes_unasked(model: Model, asked: Resolved) -> bool:
    """Return whether flash attention runs where nobody says so: a cache of quantised values needs it, and
    builds turned it on by themselves one after the other."""
    rules = rules_of(asked)
    return (
        rules.flashes_unasked
        or (rules.flashes_sinks_unasked and has_sinks(model))
        or model.family in rules.flashes_families_unasked
        or TYPES[asked.cache_type_v.upper()].block > 1
    )


def served_as(model: Model, of_library: bool) -> str:
    """Return the file type that is served where none is asked for: llama-server is given a file, here the
    checkpoint as it is converted; Ollama's library holds Q4_K_M, and MXFP4 as published.

    >>> from ...model.load import load
    >>> [served_as(load(name), True) for name in ("gpt-oss-20b", "qwen3-8b")]
    ['MXFP4', 'Q4_K_M']
    """
    published = published_as(model)
    return USUAL if of_library and published != "MXFP4" else published


def check_asked(model: Model, asked: Asked, layout: Layout) -> None:
    """Refuse layouts, builds, cache types and families that llama-server does not know."""
    version = asked.engine_version or ""
    if layout.tp > 1 or layout.dp > 1:
        raise UsageError(
            "--tp and --dp are not llama.cpp's", "it deals layers out over cards: use --pp, or leave it out"
        )
    for kind in (asked.cache_type_k, asked.cache_type_v):
        if kind.upper() not in TYPES:
            raise UsageError(
                f"cache type {kind!r} is not known", "use f16, bf16, q8_0, q5_1, q5_0, q4_1, q4_0 or iq4_nl"
            )
    if asked.split_mode == "tensor":
        refuse_uncut(model, rules_of(asked))
    if model.kinds.has(V41):
        raise UnsupportedError(
            f"{model.family} is not served by llama.cpp's own releases", "use --engine vllm or sglang"
        )
    if model.kinds.has(V4) and not rules_of(asked).serves_v4:
        raise UnsupportedError(
            f"{asked.engine} of {version} is not known to serve {model.name}",
            f"use llamacpp of {first_with('llamacpp', 'serves_v4')} or later",
        )


def num_slots(asked: Resolved) -> int:
    """Sequences that the server makes room for: as many as are asked at once, at least what it takes if it is
    not told.

    >>> (
    ...     num_slots(Resolved(engine="llamacpp", concurrency=1)),
    ...     num_slots(Resolved(engine="ollama", concurrency=1)),
    ...     num_slots(Resolved(engine="llamacpp", concurrency=9)),
    ... )
    (4, 1, 9)
    """
    return asked.max_num_seqs or max(asked.concurrency, rules_of(asked).auto_slots)


def by_memory(hardware: Hardware, cards: int, mode: str = "layer") -> str:
    """The shares of the cards where none are given: as their free memory; slices of all tensors are equal.

    >>> from ...run.hardware import parse_gpu
    >>> by_memory(parse_gpu("rtx-3090:2"), 2), by_memory(parse_gpu("80GiB+20GiB"), 2)
    ('1,1', '81920,20480')
    """
    memories = [1] * cards if mode == "tensor" else hardware.memories(cards)
    return ",".join("1" if len(set(memories)) == 1 else str(memory // MIB) for memory in memories)


LONGER, LONGER_FROM = 8192, 20 * GIB
"""Tokens that Ollama gave some families (`lengthens`), from this memory on."""


def default_length(model: Model, hardware: Hardware, asked: Asked) -> int:
    """llama-server takes the model's own length, for a year 4,096 tokens, Ollama one for all, or by the
    memory of all cards (server/routes.go).

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> [
    ...     default_length(
    ...         load("gpt-oss-20b"), parse_gpu("rtx-4090"), Asked(engine="ollama", engine_version=day)
    ...     )
    ...     for day in ("2025-03", "2025-07", "2025-12", "2026-03")
    ... ]
    [2048, 4096, 8192, 32768]
    >>> default_length(
    ...     load("qwen3-8b"), parse_gpu("rtx-3090"), Asked(engine="llamacpp", engine_version="b5331")
    ... )
    4096
    """
    rules, total = rules_of(asked), hardware.card.memory_bytes * hardware.num_gpus
    length = rules.default_context or model.max_positions
    if rules.tiers_context:
        length = 262144 if total >= 47 * GIB else 32768 if total >= 23 * GIB else 4096
    if model.family in rules.lengthens and total >= LONGER_FROM:
        length = max(length, LONGER)
    return min(length, model.max_positions)


def default_ubatch(model: Model, hardware: Hardware, asked: Resolved) -> int:
    """512; Ollama takes more for long contexts, if its own estimate leaves room (server/sched.go
    automaticGenerationBatch): the file and, in F16, the fewest key-value heads of any layer in every layer
    (llm/llama_server.go PredictServerVRAM).

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> asked = Resolved(engine="ollama", quantization="Q4_0", context=32768, concurrency=1)
    >>> default_ubatch(load("deepseek-v2-lite"), parse_gpu("rtx-3090"), asked)
    1024
    """
    total = asked.context * asked.concurrency
    if not rules_of(asked).runs_llama_server or total <= 4096:
        return 512
    from .gguf_file import stored  # the file's size, which only Ollama's guess needs

    heads = [heads_of(each, expands(model, asked)) for each in model.kinds.attentions]
    query_heads, kv_heads = max(query for query, _ in heads), min(kv for _, kv in heads) or 1
    cache = 4 * len(model.layers) * kv_heads * (model.hidden_size // max(query_heads, 1)) * total
    predicted, available = (
        stored(model, asked).checkpoint_bytes + cache,
        hardware.card.memory_bytes * hardware.num_gpus,
    )
    for batch, most, surcharge in ((2048, 0.6, 2 * GIB), (1024, 0.75, 768 * MIB)):
        if batch == 2048 and total <= 32768:
            continue
        if predicted <= most * available and surcharge <= 0.8 * available - predicted:
            return batch
    return 512


def num_cells(asked: Resolved) -> int:
    """The context is shared by all slots, so it is their number times the length of one. Slots with caches of
    their own hold a block of cells each at least."""
    cells = padded(asked.context * asked.concurrency, asked)
    apart = rules_of(asked).keeps_slots_apart and not asked.kv_unified
    return max(cells, CELLS * asked.max_num_seqs) if apart else cells


def padded(cells: int, asked: Resolved) -> int:
    """Cells of a cache that holds this many."""
    less = rules_of(asked).pads_less_unflashed and asked.flash_attn is False
    block = PADDED_UNFLASHED if less else CELLS
    return -(-cells // block) * block


def flash(model: Model, asked: Resolved) -> bool:
    """Whether flash attention runs. llama.cpp's kernels have none for keys wider than values, so there it
    turns itself off; Ollama's graph of joined sinks has none either."""
    if rules_of(asked).joins_sinks and has_sinks(model):
        return False
    heads_differ = expands(model, asked) and model.kinds.has(MLA, DSA)
    return asked.flash_attn is not False and (is_ik(asked) or not heads_differ)


def output_first(asked: Resolved) -> bool:
    """Whether -ngl counts the output as the first layer to go to a card, or as the last."""
    return rules_of(asked).offloads_output_first


def stages(model: Model, asked: Resolved) -> list[Stage]:
    """Layers of each card."""
    drafting = num_blocks(model) - len(model.layers)
    return deal(len(model.layers), asked, output_first(asked), drafting)
