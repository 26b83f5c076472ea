"""The cache of llama.cpp: as long as the context asked for, rows by type and kind of attention, windows and
states beside them.

src/llama-kv-cache.cpp, llama-kv-cache-iswa.cpp, llama-kv-cache-dsa.cpp and llama-memory-recurrent.cpp of
2026; ik_llama.cpp of 2025.
"""

from ...errors import UnsupportedError
from ...kept import Kept
from ...model.attention import DSA, GQA, MLA, V4, V41, Attention, Linear, Sliding
from ...model.gguf_model import num_blocks
from ...model.gguf_types import TYPES
from ...model.model import Layer, Model
from ...run.serving import Resolved
from ..rank import CacheGroup, CacheLayout, Stage
from .defaults import CELLS, flash, num_cells, padded, stages
from .gguf_file import expands, stored
from .placement import HOST
from .release import is_ik, rules_of
from .tensor_slices import Slices

F32 = 4


def row_bytes(attention: Attention, model: Model, asked: Resolved) -> int:
    """Bytes of a token in one layer: keys and values in their own types; MLA keeps its latent, or every
    head's if it expands.

    >>> from ...model.load import load
    >>> r1, mla = load("deepseek-r1"), MLA(128, 1536, 512, 128, 64, 128)
    >>> row_bytes(mla, r1, Resolved(engine_version="2026-08", cache_type_k="q8_0"))  # 576 values of 8.5 bits
    612
    >>> row_bytes(mla, r1, Resolved(engine_version="2026-08", mla_attn=0))  # 128 x (192 + 128) x 2 B
    81920
    """

    def size(kind: str, width: int, heads: int = 1) -> int:
        stored = TYPES[kind.upper()]
        if width % stored.block:  # llama_init_from_model makes no context then
            reason = f"{kind} stores blocks of {stored.block} values, which do not divide heads of {width}"
            raise UnsupportedError(reason, "use --cache-type-k f16 and --cache-type-v f16")
        return stored.num_bytes((heads * width,))

    match attention:
        case GQA():
            if attention.borrows_cache:
                return 0
            heads, value = attention.num_kv_heads, attention.value_dim or attention.head_dim
            return size(asked.cache_type_k, attention.head_dim, heads) + size(
                asked.cache_type_v, value, heads
            )
        case Sliding():
            return row_bytes(attention.inner, model, asked)
        case DSA():
            index = attention.owns_indexer and rules_of(asked).has_indexer
            keys = size(asked.cache_type_k, attention.index_head_dim) if index else 0
            return row_bytes(attention.mla, model, asked) + keys
        case MLA():
            if expands(model, asked):
                query = attention.qk_nope_head_dim + attention.qk_rope_head_dim
                values = size(asked.cache_type_v, attention.v_head_dim, attention.num_heads)
                return size(asked.cache_type_k, query, attention.num_heads) + values
            return size(asked.cache_type_k, attention.latent_dim) + (
                size(asked.cache_type_v, attention.kv_lora_rank) if _stores_values(model, asked) else 0
            )
        case Linear():
            return 0
        case V4():
            keys = size(asked.cache_type_k, attention.head_dim) + index_row(attention, asked)
            return keys if attention.ratio else 0  # of one compressed row; the window has cells of its own
        case V41():
            raise UnsupportedError(
                f"the cache of {attention.kind} attention in llama.cpp is not known yet", "use --engine vllm"
            )


def _stores_values(model: Model, asked: Resolved) -> bool:
    """Whether MLA's latent is cached a second time: for -mla 1 without flash attention transposed, in
    llama.cpp until #19067."""
    if is_ik(asked):
        return asked.mla_attn == 1 and not flash(model, asked)
    return not rules_of(asked).caches_latent_once


def index_row(attention: V4, asked: Resolved) -> int:
    """Bytes of the indexer's key of a compressed row, in the type of keys."""
    return (
        TYPES[asked.cache_type_k.upper()].num_bytes((attention.index_head_dim,))
        if attention.has_indexer
        else 0
    )


def v4_fixed_bytes(attention: V4, asked: Resolved) -> int:
    """What a V4 layer holds of a slot whatever the length: its window, and states of its compressors in F32
    (values and scores).

    src/llama-kv-cache-dsv4.cpp: 8 rows of both halves for ratio 4, 128 rows for ratio 128.

    >>> from ...model.load import load
    >>> flash, asked = (
    ...     load("deepseek-v4-flash"),
    ...     Resolved(context=65536, concurrency=1, ubatch_size=4096, max_num_seqs=1),
    ... )
    >>> sum(
    ...     v4_fixed_bytes(layer.attention._replace(ratio=0), asked) for layer in flash.layers
    ... ) / 2**20  # a log says 182.75 MiB
    182.75
    """
    window = TYPES[asked.cache_type_k.upper()].num_bytes((attention.head_dim,)) * window_cells(
        attention.window, one_slot(asked)
    )
    if not attention.ratio:
        return window
    if attention.has_indexer:
        return window + 2 * F32 * 2 * attention.ratio * 2 * (attention.head_dim + attention.index_head_dim)
    return window + 2 * F32 * attention.ratio * attention.head_dim


def one_slot(asked: Resolved) -> Resolved:
    """The question of one slot: V4 keeps slots apart, and each has cells for all of a shared context."""
    apart = 1 if asked.kv_unified else asked.max_num_seqs
    return asked._replace(max_num_seqs=1, concurrency=1, context=num_cells(asked) // apart)


def v4_layout(model: Model, asked: Resolved, stage: Stage) -> CacheLayout:
    """The cache of V4: compressed rows of each ratio, in multiples of 256 of them, and what a slot holds
    beside; for every slot."""
    slots = asked.max_num_seqs
    copies = slots if asked.kv_unified else 1  # cells of the asked context, which slots share in name alone
    rows: dict[tuple[int, int], int] = {}
    fixed = 0
    for layer in model.layers[stage.start : stage.stop]:
        attention = layer.attention
        assert isinstance(attention, V4)
        fixed += v4_fixed_bytes(attention, asked) * slots
        if attention.ratio:
            key = (attention.ratio, row_bytes(attention, model, asked))
            rows[key] = rows.get(key, 0) + 1
    groups = tuple(
        CacheGroup(f"ratio {ratio}", num, CELLS * ratio, size * num * CELLS * copies)
        for (ratio, size), num in sorted(rows.items())
    )
    token = sum(size * num * copies / ratio for (ratio, size), num in rows.items())
    formula = (
        " + ".join(f"{num} layers x {size} B / {ratio}" for (ratio, size), num in sorted(rows.items()))
        or "windows alone"
    )
    formula += f"; windows and states {fixed:,} B of {slots} slots" + (
        ", each with rows for all cells" if copies > 1 else ""
    )
    block = int(token * CELLS * LARGEST_RATIO) or 1
    return CacheLayout(groups, block, token, fixed // slots, block, formula, asked.cache_type_k, fixed)


LARGEST_RATIO = 128


def state_bytes(attention: Linear) -> int:
    """The state of one slot in F32: inputs of the convolution and the recurrence (llama-hparams.cpp n_embd_r,
    n_embd_s).

    >>> from ...model.load import load
    >>> linear = next(
    ...     each.attention for each in load("qwen3-next-80b-a3b").layers if isinstance(each.attention, Linear)
    ... )
    >>> state_bytes(linear)  # (3 x 8,192 + 32 x 128 x 128) x 4 B
    2195456
    """
    channels = (
        2 * attention.key_width + attention.value_width
        if attention.variant != "short_conv"
        else attention.value_width
    )
    recurrence = (
        0
        if attention.variant == "short_conv"
        else attention.num_value_heads * attention.key_head_dim * attention.value_head_dim
    )
    return ((attention.conv_kernel - 1) * channels + recurrence) * F32


def states_of_slot(asked: Resolved) -> int:
    """States that are kept of a slot: one, and one for each drafted token, which may be refused
    (llama-memory-recurrent.cpp n_rs_seq).

    >>> from ...run.speculation import Speculation
    >>> states_of_slot(Resolved()), states_of_slot(Resolved(speculation=Speculation("mtp", 2)))
    (1, 3)
    """
    return 1 + asked.draft_tokens


def has_windows(model: Model, asked: Resolved) -> bool:
    """Whether layers with a window have a cache of their own.

    >>> from ...model.load import load
    >>> ollama = [Resolved(engine="ollama", engine_version=each) for each in ("2025-03-11", "2025-05-22")]
    >>> (
    ...     [has_windows(load("gemma-3-27b"), each) for each in ollama],
    ...     has_windows(load("gemma-2-9b"), ollama[1]),
    ... )
    ([False, True], False)
    """
    rules = rules_of(asked)
    own = rules.caches_windows_itself and model.family in rules.own_engine
    return model.family in rules.knows_windows and (rules.caches_windows or own)


def drafting_layers(model: Model, asked: Resolved, stage: Stage) -> tuple[Layer, ...]:
    """Layers of a card that have cells in the context which drafts: the MTP layers, and of some families all
    others too, whose cells nobody reads.

    >>> from ...model.load import load
    >>> air, both = load("glm-4.5-air"), ("2026-08", "2026-10")
    >>> asked = [Resolved(engine="llamacpp", engine_version=version) for version in both]
    >>> [len(drafting_layers(air, each, Stage(0, 1, 0, 46))) for each in asked]
    [47, 1]
    """
    own = tuple(model.draft) if stage.last else ()
    if model.family in rules_of(asked).drafts_with_all_cells:
        return (*model.layers[stage.start : stage.stop], *own)
    return own


def window_cells(window: int, asked: Resolved) -> int:
    """Cells of a window layer: the window of each slot and a micro-batch, in multiples of 256 (`padded`), at
    most the whole context.

    Slots with caches of their own have a micro-batch each.

    >>> four = Resolved(context=32768, concurrency=1, max_num_seqs=4, kv_unified=True)
    >>> window_cells(1024, four), window_cells(1024, four._replace(kv_unified=False))
    (4608, 6144)
    """
    slots = asked.max_num_seqs
    shared, apart = (slots, 1) if asked.kv_unified else (1, slots)
    whole = num_cells(asked) // apart
    cells = whole if asked.swa_full else min(whole, window * shared + (asked.ubatch_size or 512))
    return padded(cells, asked) * apart


def cached_on(model: Model, asked: Resolved, stage: Stage) -> Stage:
    """Return the layers whose cache a card has: its own, or where rows were divided all of them on the first
    card (llama_kv_cache_init of 2024, ik_llama.cpp); none with --no-kv-offload (llama-kv-cache.cpp).

    >>> from ...model.load import load
    >>> from ...run.serving import Layout
    >>> lite = load("deepseek-v2-lite")
    >>> asked = Resolved(layout=Layout(pp=2), split_mode="row", tensor_split="1,1", n_gpu_layers=28)
    >>> for version in ("2024-10", "2025-07"):
    ...     told = asked._replace(engine="llamacpp", engine_version=version)
    ...     [each.stop - each.start for each in (cached_on(lite, told, it) for it in stages(lite, told))]
    [27, 0]
    [14, 13]
    """
    if asked.no_kv_offload:
        on_host = stage.position == HOST
        return stage._replace(start=0, stop=len(model.layers) if on_host else 0)
    alone = asked.split_mode != "row" or stage.position == HOST or not rules_of(asked).caches_on_main_card
    if alone:
        return stage
    dealt = stages(model, asked)
    return stage._replace(start=dealt[0].start, stop=dealt[0].start if stage.position else dealt[-1].stop)


def slices_of(model: Model, asked: Resolved) -> Slices:
    """How --split-mode tensor cuts a model's file."""
    windows = has_windows(model, asked)
    file = stored(model, asked)
    key = (asked.layout.pp, asked.tensor_split, windows)
    return _SLICES.of(file, key, lambda: Slices(model, file, asked, windows))


_SLICES = Kept[Slices](most=16)


def sliced(size: int, model: Model, asked: Resolved, stage: Stage, layer: int) -> int:
    """Return what a card has of `size` bytes of a layer's cache."""
    if asked.split_mode != "tensor" or stage.position == HOST:
        return size
    mine, whole = slices_of(model, asked).cached(layer, stage.position)
    return size * mine // whole if whole else size


def cache_layout(model: Model, asked: Resolved, stage: Stage) -> CacheLayout:
    """The cache of a card's layers: what grows with the context, and what does not."""
    stage = cached_on(model, asked, stage)
    if model.kinds.has(V4):
        return v4_layout(model, asked, stage)
    rows: dict[int, int] = {}
    fixed: list[tuple[str, int]] = []
    apart = has_windows(model, asked)
    unused = model.draft[: num_blocks(model) - len(model.layers)] if stage.last else ()
    unused = unused if rules_of(asked).caches_unused_drafts else ()
    for number, layer in enumerate((*model.layers[stage.start : stage.stop], *unused), stage.start):
        attention = layer.attention
        row = sliced(row_bytes(attention, model, asked), model, asked, stage, number)
        if isinstance(attention, Linear):
            state = sliced(state_bytes(attention), model, asked, stage, number)
            fixed.append(("states", state * states_of_slot(asked) * asked.max_num_seqs))
        elif isinstance(attention, Sliding) and apart:
            fixed.append(("windows", row * window_cells(attention.window, asked)))
        elif row:
            rows[row] = rows.get(row, 0) + 1
    token = sum(row * num for row, num in rows.items())
    grows = " + ".join(f"{num} layers x {row} B" for row, num in rows.items()) or "no layers"
    for what in dict(fixed):
        grows += f"; {what} {sum(size for kind, size in fixed if kind == what):,} B"
    group = CacheGroup("all layers", stage.stop - stage.start, CELLS, token * CELLS)
    dtype = f"{asked.cache_type_k}/{asked.cache_type_v}"
    total = sum(size for _, size in fixed)
    each = total // asked.max_num_seqs
    return CacheLayout((group,), max(token * CELLS, 1), token, each, token * CELLS, grows, dtype, total)


def needed_bytes(layout: CacheLayout, asked: Resolved) -> int:
    """The cache is allocated for the whole context of all slots."""
    cells = num_cells(asked)
    grows = sum(
        cells * group.page_bytes // CELLS  # not padded to whole blocks in each build
        if group.block_size == CELLS
        else -(-cells // group.block_size) * group.page_bytes
        for group in layout.groups
    )
    return grows + layout.set_aside_bytes


def max_tokens(layouts_: list[CacheLayout], pools: list[int], asked: Resolved) -> int:
    """The largest context whose cache fits beside the buffers of the asked one; what llama.cpp prints is the
    context asked for."""
    fits = [_cells(layout, pool) for layout, pool in zip(layouts_, pools, strict=True) if layout.token_bytes]
    return min(fits, default=0)


def _cells(layout: CacheLayout, pool: int) -> int:
    """Cells of the longest context whose rows fit a pool beside what is set aside; 0 where a card holds no
    layer, and so no rows."""
    if not layout.token_bytes:
        return 0
    room = max(pool - layout.set_aside_bytes, 0)
    blocks = int(room // (layout.token_bytes * CELLS))
    while (
        blocks
        and sum(-(-blocks * CELLS // group.block_size) * group.page_bytes for group in layout.groups) > room
    ):
        blocks -= 1  # rows of a ratio come in whole blocks: 128 steps at most
    return blocks * CELLS


def sequences(layout: CacheLayout, pool: int, length: int, asked: Resolved) -> float:
    """Slots of a length that fit beside the windows and states of the asked number."""
    return _cells(layout, pool) / (-(-length // CELLS) * CELLS)


def longest_sequence(layout: CacheLayout, pool: int, asked: Resolved) -> int:
    """The longest single sequence beside the buffers of the asked context."""
    return min(_cells(layout, pool), asked.max_model_len)
