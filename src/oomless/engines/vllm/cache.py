"""vLLM's cache: bytes of a row by kind of attention and dtype, blocks, groups of layers, and the capacity
that it prints.

v1/core/kv_cache_utils.py and kv_cache_interface.py of 0.8.5 to 0.33; worker/cache_engine.py of 0.7.2.
"""

from collections import Counter

from ...errors import UnsupportedError, UsageError
from ...ledger import Line, exact
from ...model.attention import DSA, GQA, MLA, V4, V41, Attention, Linear, Sliding
from ...model.model import Model
from ...model.storage import DTYPES
from ...run.serving import Resolved
from ..rank import INDEX_ROW_BYTES, INDEX_ROW_BYTES_FP4, PACKED_ROW_BYTES, CacheGroup, CacheLayout, Stage
from .rank_tensors import draft_layers
from .release import RELEASES, WINDOWS_WHOLE, VllmRules
from .states import state_bytes, typed
from .v0_states import keeps_slots

INDEX_ROWS = {"auto": INDEX_ROW_BYTES, "fp8": INDEX_ROW_BYTES, "mxfp4": INDEX_ROW_BYTES_FP4}
PACKED_MLA_ROWS = {"fp8_ds_mla": PACKED_ROW_BYTES, "nvfp4_ds_mla": 352}


SLOTS = {
    "turboquant_k8v4": (8, 0, 4, 4),
    "turboquant_4bit_nc": (4, 2, 4, 4),
    "turboquant_k3v4_nc": (3, 2, 4, 4),
    "turboquant_3bit_nc": (3, 2, 3, 4),
    "int8_per_token_head": (8, 4, 8, 4),
    "fp8_per_token_head": (8, 4, 8, 4),
    "int4_per_token_head": (4, 4, 4, 4),
}
"""Bits of a key's elements and the bytes of its scale, and those of a value (turboquant/config.py;
v1/kv_cache_interface.py)."""
TURBOQUANT = "turboquant"


def slot_bytes(attention: GQA, dtype: str) -> int:
    """Bytes of one head's key and value; an even number.

    >>> [slot_bytes(GQA(32, 8, 128), dtype) for dtype in SLOTS]
    [196, 134, 118, 102, 264, 264, 136]
    """
    bits, scale, value_bits, value_scale = SLOTS[dtype]
    value = attention.cache_dim - attention.head_dim
    size = -(-attention.head_dim * bits // 8) + scale + -(-value * value_bits // 8) + value_scale
    return size + size % 2


def uncoded(model: Model, asked: Resolved) -> tuple[int, ...]:
    """Return the layers that TurboQuant leaves as they are: two at each end, none beside states."""
    if not asked.kv_cache_dtype.startswith(TURBOQUANT) or model.kinds.has(Linear):
        return ()
    last = len(model.layers) - 1
    return 0, 1, last - 1, last


def scratch(model: Model, asked: Resolved, stage: Stage, rules: VllmRules) -> Line:
    """The line of what TurboQuant adds up as it decodes: 32 parts and their sum, in F32, for each sequence
    and head, for all layers at once or each of them (turboquant_attn.py).

    Llama-3.1-70B loads 39.5 GiB more in 0.20 (vllm#40798):

    >>> from ...model.load import load
    >>> from ...run.serving import Layout
    >>> asked = Resolved(kv_cache_dtype="turboquant_3bit_nc", max_num_seqs=1024, layout=Layout(tp=2))
    >>> line = scratch(load("llama-3.1-70b"), asked, Stage(0, 1, 0, 80), RELEASES.at("0.20.0"))
    >>> round(line.bytes / 2**30, 1)
    39.5
    """
    plain = uncoded(model, asked)
    numbered = enumerate(model.layers[stage.start : stage.stop], stage.start)
    coded = [layer.attention for index, layer in numbered if index not in plain]
    seqs = asked.max_num_seqs or 0
    sizes = [
        seqs * each.num_heads // asked.layout.tp * (33 * each.head_dim + 33) * 4
        for each in coded
        if isinstance(each, GQA)
    ]
    size = max(sizes, default=0) if rules.shares_codes_scratch else sum(sizes)
    formula = f"{seqs:,} sequences, 32 parts of each head's row"
    return exact("runtime.workspaces", "engine", "scratch of TurboQuant", size, formula, "turboquant_attn.py")


def element_bits(asked: Resolved) -> float:
    """Bits of a cache element, with the scale that 16 of nvfp4 share."""
    match asked.kv_cache_dtype:
        case "auto":
            return DTYPES[asked.dtype].bits
        case "fp8" | "fp8_e4m3" | "fp8_e5m2" | "fp8_inc" | "fp8_ds_mla":
            return 8
        case "nvfp4" | "nvfp4_ds_mla":
            return 4.5
        case name if name in SLOTS:
            return SLOTS[name][0]
        case name:
            return DTYPES[name].bits


def row_bytes(attention: Attention, asked: Resolved, rules: VllmRules) -> int:
    """Bytes of one token in one layer on one rank, without an indexer's key.

    >>> from ...run.serving import Layout
    >>> row_bytes(
    ...     MLA(128, 1536, 512, 128, 64, 128),
    ...     Resolved(dtype="bfloat16", layout=Layout()),
    ...     RELEASES.at("0.19.0"),
    ... )
    1152
    >>> row_bytes(GQA(28, 4, 128), Resolved(dtype="bfloat16", layout=Layout(tp=8)), RELEASES.at("0.19.0"))
    512
    """
    tp = asked.layout.tp
    width = element_bits(asked) / 8
    match attention:
        case GQA():
            if asked.kv_cache_dtype.endswith("_ds_mla"):
                raise UnsupportedError(
                    f"--kv-cache-dtype {asked.kv_cache_dtype} is for MLA", "use fp8 or auto", "kv_cache_dtype"
                )
            heads = max(attention.num_kv_heads // tp, 1)
            if asked.kv_cache_dtype in SLOTS and attention.cache_dim:
                return heads * slot_bytes(attention, asked.kv_cache_dtype)
            return int(heads * attention.cache_dim * width)
        case Sliding():
            return row_bytes(attention.inner, asked, rules)
        case DSA():
            return row_bytes(attention.mla, asked, rules)
        case MLA():
            if rules.heads_cached:
                heads = max(attention.num_heads // tp, 1)
                dim = attention.qk_nope_head_dim + attention.qk_rope_head_dim
                return int(2 * heads * max(dim, rules.least_mla_head) * width)
            if asked.kv_cache_dtype in PACKED_MLA_ROWS and rules.packs_sparse_rows:
                return PACKED_MLA_ROWS[asked.kv_cache_dtype]
            row = int(attention.latent_dim * width)
            return -(-row // rules.latent_alignment) * rules.latent_alignment
        case V4() | V41() | Linear():
            raise UnsupportedError(
                f"a cache row of {attention.kind} attention has no one size", "see cache_v4.py"
            )


def cache_layout(model: Model, asked: Resolved, stage: Stage) -> CacheLayout:
    """How one rank of a stage pages its cache, and what it is let in by.

    0.14 to 0.16 hold the cache of the whole model, a sequence as long as it may be, against the least pool of
    all stages (get_kv_cache_configs):

    >>> from ...model.load import load
    >>> from ...run.serving import Layout
    >>> asked = Resolved(dtype="bfloat16", layout=Layout(pp=4), engine_version="0.14.0")
    >>> [
    ...     cache_layout(
    ...         load("llama-3.1-70b"), asked._replace(engine_version=text), Stage(0, 4, 0, 20)
    ...     ).need_block_bytes
    ...     for text in ("0.13.0", "0.14.0")
    ... ]
    [1310720, 5242880]
    """
    layout = stage_layout(model, asked, stage)
    if stage.num_stages == 1 or not RELEASES.at(asked.engine_version).checks_stages_as_one:
        return layout
    whole = stage_layout(model, asked, Stage(0, 1, 0, len(model.layers)))
    if len(whole.groups) > 1:  # its first group alone is counted, which a stage's own load needs more than
        return layout
    return layout._replace(need_block_bytes=whole.need_block_bytes)


def stage_layout(model: Model, asked: Resolved, stage: Stage) -> CacheLayout:
    """How one rank of a stage pages its cache."""
    rules = RELEASES.at(asked.engine_version)
    attentions = [layer.attention for layer in model.layers[stage.start : stage.stop]]
    if asked.speculative and stage.last:
        attentions += [layer.attention for layer in model.draft[: draft_layers(model, asked)]]
    if stage.kinds(model).has(V4, V41):
        from .cache_v4 import v4_layout  # rules of one family, and half as long as all the others

        return v4_layout(attentions, INDEX_ROWS[asked.indexer_kv_dtype], asked, rules)
    check_context_parallel(model, asked)
    block = asked.block_size or 16
    if rules.v0 and keeps_slots(model):
        attentions = [attention for attention in attentions if not isinstance(attention, Linear)]
    if any(isinstance(attention, Linear) for attention in attentions):
        return linear_layout(
            [typed(each, model.family, asked, rules) for each in attentions], block, asked, rules
        )
    rows: dict[tuple[int, int], int] = {}  # (row bytes, window) -> layers
    index_layers, index_row = 0, INDEX_ROWS[asked.indexer_kv_dtype]
    counts: dict[tuple[Attention, bool], int] = {}
    plain = uncoded(model, asked)
    for index, attention in enumerate(attentions, stage.start):
        counts[attention, index in plain] = counts.get((attention, index in plain), 0) + 1
    groups_windows = rules.caches_windows and not rules.v0 and WINDOWS_WHOLE not in rules.text
    for (attention, as_is), num in counts.items():
        window = attention.window if isinstance(attention, Sliding) and groups_windows else 0
        if isinstance(attention, Sliding) and attention.chunked:
            # groups of several kinds are off for local chunks unless an environment variable asks for them
            window = 0
        stored = asked._replace(kv_cache_dtype="auto") if as_is else asked
        key = (row_bytes(attention, stored, rules), window)
        if not key[0]:  # reads another layer's cache
            continue
        rows[key] = rows.get(key, 0) + num
        index_layers += num if isinstance(attention, DSA) and attention.owns_indexer else 0
        key_bytes = block_index_row(attention, asked)
        if key_bytes:
            index_layers, index_row = index_layers + num, key_bytes
    full = {row: num for (row, window), num in rows.items() if not window}
    windows = {key: num for key, num in rows.items() if key[1]}
    token_bytes = sum(row * num for row, num in full.items()) + index_row * index_layers
    dcp = asked.layout.dcp
    own_bytes = token_bytes / dcp if dcp > 1 else token_bytes  # each of the ranks keeps every dcp-th token
    fixed = sum(row * num * window for (row, window), num in windows.items())
    formula = " + ".join(
        [f"{num} layers x {row} B" for row, num in full.items()]
        + ([f"{index_layers} indexers x {index_row} B"] if index_layers else [])
        + [f"{num} layers x {row} B up to {window} tokens" for (row, window), num in windows.items()]
    )
    if dcp > 1:
        formula = f"({formula}) / {dcp} ranks"
    if not windows:
        page = block * token_bytes
        one = (CacheGroup("all layers", sum(full.values()), block, page),)
        return CacheLayout(one, page, own_bytes, fixed, page, formula, asked.kv_cache_dtype)
    groups = hybrid_groups(full, windows, block, rules)
    page = groups[0].page_bytes
    return CacheLayout(groups, page, own_bytes, fixed, page, formula, asked.kv_cache_dtype)


def block_index_row(attention: Attention, asked: Resolved) -> int:
    """Bytes a token of the key by which an indexer of MiniMax-M3 or Qwen4-Exp picks blocks: one head, on
    every rank, in BF16 or FP8, one key for the tokens that are pooled (models/minimax_m3, qwen4_exp).

    >>> block_index_row(GQA(64, 4, 128, index_heads=4, index_dim=128), Resolved())
    256
    """
    if not isinstance(attention, GQA) or not attention.index_heads:
        return 0
    if asked.indexer_kv_dtype == "mxfp4":
        raise UnsupportedError(
            "this indexer keeps its keys in BF16 or FP8", "leave out --attention-config or ask for fp8"
        )
    width = 1 if asked.indexer_kv_dtype == "fp8" else 2
    return attention.index_dim * width // attention.index_pool


def hybrid_groups(
    full: dict[int, int], windows: dict[tuple[int, int], int], block: int, rules: VllmRules
) -> tuple[CacheGroup, ...]:
    """Layers of several kinds in groups of one size, which share a pool: rarer kinds are padded to the
    group's size.

    Kinds with smaller rows get larger blocks, so that all pages are equal. A page that does not divide the
    largest is padded to it (0.24 on): Gemma-4-31B's layers with scales for every head hold 8 x (2 x 256 + 8)
    and 2 x (2 x 512 + 8) B a token at TP2; before, the engine stops there.

    >>> uneven = hybrid_groups({2064: 10}, {(4160, 1024): 50}, 16, RELEASES.at("0.26.0"))
    >>> [(each.block_size, each.page_bytes) for each in uneven[:2]]
    [(16, 665600), (16, 665600)]
    """
    largest = max([*full, *(row for row, _ in windows)])
    uneven = any(largest % row for row in [*full, *(row for row, _ in windows)])
    if uneven and not rules.pads_uneven_pages:
        raise UnsupportedError(
            "layers with windows whose rows do not divide each other", "ask for 0.24 or later"
        )
    buckets = [("full attention", 0, num, row) for row, num in full.items()]
    buckets += [("sliding window", window, num, row) for (row, window), num in windows.items()]
    size = group_size([num for _, _, num, _ in buckets], rules)
    groups = []
    for what, window, num, row in buckets:
        slots = block if largest % row else block * (largest // row)
        groups += [CacheGroup(what, size, slots, size * block * largest, window)] * -(-num // size)
    return tuple(groups)


def group_size(counts: list[int], rules: VllmRules) -> int:
    """Layers a group: the rarest kind's number, or the commonest one's where that is near (group_tolerance).

    >>> group_size([48, 16], RELEASES.at("0.21.0")), group_size([12, 13], RELEASES.at("0.19.0"))
    (16, 13)
    """
    least, most = min(counts), max(counts)
    return most if most < rules.group_tolerance * least else least


def linear_layout(attentions: list[Attention], block: int, asked: Resolved, rules: VllmRules) -> CacheLayout:
    """Layers with a state beside layers with a cache (v1/core/kv_cache_utils.py; platforms/interface.py
    _align_hybrid_block_size).

    Kinds are padded to groups of the rarest's size: a draft with heads of its own makes all groups smaller.
    A block of the cache is made so long that its page holds a state; a state's page is padded to it; a
    sequence holds one page a layer with a state, one more for each token of a draft, and another one where
    prefix caching keeps the state of its last whole block (kv_cache_interface.py, MambaSpec).
    """
    if not rules.serves_states:
        raise UnsupportedError(
            "how vLLM before 0.10.2 holds recurrent states is not known here", "ask for 0.10.2 or later"
        )
    cached = [each for each in attentions if not isinstance(each, Linear)]
    if not cached:
        return states_layout(attentions, asked)
    rows = {(row_bytes(each, asked, rules), block_index_row(each, asked)) for each in cached}
    linear = [each for each in attentions if isinstance(each, Linear)]
    states = [state_bytes(each, asked) for each in linear]
    tables = sum(each.looks_up for each in linear)
    if len(rows) != 1 or any(isinstance(each, Sliding) and each.chunked for each in cached):
        raise UnsupportedError("states beside caches of several sizes", "not known for this engine version")
    row, index_row = rows.pop()
    aligned = max(block, 16)
    block = max(block, aligned * -(-max(states) // (aligned * row)))
    row += index_row  # keys of indexers lie beside a block that is long enough without them
    kinds = Counter(kind_of(each, asked, rules) for each in cached)
    size = group_size([*kinds.values(), len(states)], rules)
    page = size * block * row
    prefixes = asked.enable_prefix_caching or rules.keeps_states_of_prefixes
    pages = 1 + int(prefixes) + asked.draft_tokens
    groups = []
    for (_, _, window), num in kinds.items():
        what = "sliding window" if window else "full attention"
        groups += [CacheGroup(what, size, block, page, window)] * -(-num // size)
    groups += [CacheGroup("linear attention state", size, block, page, fixed_blocks=pages)] * -(
        -len(states) // size
    )
    if tables:
        groups.append(CacheGroup("last n-grams", size, block, page, fixed_blocks=pages))
    if any(isinstance(each, GQA) and each.index_pool > 1 for each in cached):
        groups.append(CacheGroup("keys before they are pooled", size, block, page, fixed_blocks=1))
    windows = {window: num for (_, _, window), num in kinds.items() if window}
    num_full = len(cached) - sum(windows.values())
    fixed = (len(states) + tables) * block * row * pages + sum(row * num * w for w, num in windows.items())
    formula = " + ".join(
        [f"{num_full} layers x {row} B"]
        + [f"{num} layers x {row} B up to {window} tokens" for window, num in windows.items()]
        + [f"{len(states)} states x {max(states)} B in pages of {block * row} B x {pages}"]
    )
    return CacheLayout(tuple(groups), page, row * num_full, fixed, page, formula, asked.kv_cache_dtype)


def kind_of(attention: Attention, asked: Resolved, rules: VllmRules) -> tuple[int, int, int]:
    """Heads of a rank, their size, and the window: layers that differ in one are of two kinds, however long
    their rows are (KVCacheSpec of v1/kv_cache_interface.py)."""
    window = attention.window if isinstance(attention, Sliding) and rules.caches_windows else 0
    core = attention.core
    if isinstance(core, GQA):
        return max(core.num_kv_heads // asked.layout.tp, 1), core.head_dim, window
    return 1, row_bytes(core, asked, rules), window


def states_layout(attentions: list[Attention], asked: Resolved) -> CacheLayout:
    """Nothing but states (Mamba): a sequence of any length holds one page, whose block is as long as the
    model's length."""
    states = [state_bytes(each, asked) for each in attentions if isinstance(each, Linear)]
    page, length = sum(states), asked.max_model_len
    group = CacheGroup("states", len(states), length, page, fixed_blocks=1)
    formula = f"{len(states)} states x {max(states)} B a sequence"
    return CacheLayout((group,), page, 0, page, page, formula, asked.kv_cache_dtype)


def check_context_parallel(model: Model, asked: Resolved) -> None:
    """Decode context parallelism needs a cache that tensor parallelism would only repeat."""
    layout = asked.layout
    for attention in model.kinds.attentions if layout.dcp > 1 else ():
        heads = attention.core
        if isinstance(heads, GQA) and layout.dcp > max(layout.tp // heads.num_kv_heads, 1):
            raise UsageError(
                f"--decode-context-parallel-size {layout.dcp} with {heads.num_kv_heads} "
                f"key-value heads and --tp {layout.tp}",
                f"at most {max(layout.tp // heads.num_kv_heads, 1)}: only repeated heads can be divided",
            )
