"""SGLang's pools: bytes of a token by kind of attention, tokens from the pool, what a load needs.

model_executor/model_runner.py (profile_max_num_token) to 0.5.3, model_executor/pool_configurator.py of
0.5.23.
"""

from collections.abc import Sequence
from math import ceil, inf
from typing import NamedTuple

from ...errors import UnsupportedError
from ...model.attention import DSA, GQA, MLA, V4, V41, Attention, Linear, Sliding
from ...model.model import Model
from ...model.storage import DTYPES
from ...run.serving import Resolved
from ..rank import INDEX_ROW_BYTES, PACKED_ROW_BYTES, CacheGroup, CacheLayout, Stage, rows_in_layers
from .release import RELEASES, SglangRules, attention_ranks
from .states import state_pool

PLAIN_ROW_BYTES = 576
SWA_RATIO = 0.8
"""Slots of window layers for each slot of full ones, where nothing else is asked
(arg_groups/fields/schedule.py)."""


BLOCK_SCALED = {"nvfp4": 9 / 16, "fp4_mx_block16": 9 / 16, "fp4_e2m1": 9 / 16, "mxfp8": 33 / 32}
"""Bytes of an element with its part of a scale, one byte for 16 values in FP4 (model_runner.py of 0.5.5,
pool_configurator.py), or for 32 in FP8."""


def element_bytes(asked: Resolved) -> float:
    """Bytes of a cache element.

    >>> element_bytes(Resolved(kv_cache_dtype="fp4_e2m1"))
    0.5625
    """
    word = asked.dtype if asked.kv_cache_dtype == "auto" else asked.kv_cache_dtype
    return BLOCK_SCALED.get(word) or (1 if word.startswith("fp8") else DTYPES[word].bits / 8)


def row_bytes(attention: Attention, asked: Resolved, rules: SglangRules) -> int:
    """Bytes of one token in one layer on one rank, without an indexer's key.

    >>> row_bytes(MLA(128, 1536, 512, 128, 64, 128), Resolved(dtype="bfloat16"), RELEASES.at("0.5.3"))
    1152
    >>> sparse = DSA(MLA(128, 1536, 512, 128, 64, 128), 64, 128, 2048)
    >>> row_bytes(sparse, Resolved(kv_cache_dtype="fp8_ds_mla"), RELEASES.at("0.5.3"))
    656
    >>> from ...run.serving import Layout
    >>> row_bytes(
    ...     GQA(8, 2, 256, borrows_cache=True),
    ...     Resolved(dtype="bfloat16", layout=Layout()),
    ...     RELEASES.at("0.5.19"),
    ... )  # gemma-4-E4B: a pool that stays empty
    2048
    """
    width = element_bytes(asked)
    match attention:
        case GQA():
            if (
                attention.borrows_cache and attention.num_heads
            ):  # pools are made for every layer, also for those that read another's
                attention = attention._replace(borrows_cache=False)
            ranks = max(attention_ranks(asked) // asked.layout.dcp, 1)
            heads = max(attention.num_kv_heads // ranks, 1)
            return int(heads * attention.cache_dim * width)
        case Sliding():
            return row_bytes(attention.inner, asked, rules)
        case MLA():
            return int(attention.latent_dim * width)
        case DSA():
            packed = asked.kv_cache_dtype == "fp8_ds_mla"
            return PACKED_ROW_BYTES if packed else int(attention.mla.latent_dim * width)
        case V4() | V41():
            raise UnsupportedError("a cache row of V4 has no one size", "see cache_v4.py")
        case Linear():
            return 0  # a state: states.py


def counted_drafts(model: Model, rules: SglangRules) -> list[Attention]:
    """Return the attention of a model's own layers that draft, as far as the division of the pool knows of
    them."""
    return [layer.attention for layer in model.draft] if counts_own_draft(model, rules) else []


def counts_own_draft(model: Model, rules: SglangRules) -> bool:
    """Return whether the division of the pool knows of a model's own layers that draft."""
    return model.drafter is None and model.family not in rules.leaves_own_draft_uncounted


def splits_pools(model: Model, rules: SglangRules) -> bool:
    """Return whether layers with windows have a pool of their own."""
    return model.family in rules.splits_window_pools


def index_bytes(attention: Attention, asked: Resolved, rules: SglangRules) -> int:
    """Return the bytes of a token's index key in a layer; 0 where it has none. That which picks blocks for
    heads of their own (MiniMax-M3) is one head in the model's type, on every rank
    (mem_cache/memory_pool.py, MiniMaxSparseKVPool).

    >>> blocks = GQA(64, 4, 128, index_heads=4, index_dim=128)
    >>> index_bytes(blocks, Resolved(dtype="bfloat16", kv_cache_dtype="fp8_e4m3"), RELEASES.at("0.5.20"))
    256
    """
    match attention:
        case DSA():
            return INDEX_ROW_BYTES if attention.owns_indexer or rules.indexes_every_layer else 0
        case GQA() if attention.index_heads:
            return attention.index_dim * DTYPES[asked.dtype].bits // 8 // attention.index_pool
        case _:
            return 0


class TokenRows(NamedTuple):
    """Bytes of a token on a rank of a stage."""

    full: int
    """In layers whose rows lie in the pool of all tokens."""
    swa: int
    """In layers with windows, where they have a pool of their own."""
    index_keys: int
    num_indexers: int
    """Layers with an index key."""
    window: int
    """Tokens."""
    num_windows: int
    """Layers with windows."""
    num_full: int = 0
    """Layers with a row in the pool of all tokens."""


def token_rows(
    model: Model, asked: Resolved, attentions: Sequence[Attention], own: int, rules: SglangRules
) -> TokenRows:
    """Return what a token takes in these layers: the first `own` are the model's, the rest a draft's."""
    full = window = index = indexers = swa = num_windows = num_full = 0
    splits = splits_pools(model, rules)
    for number, attention in enumerate(attentions):
        row = row_bytes(attention, asked, rules)
        if splits and isinstance(attention, Sliding):
            swa, window, num_windows = swa + row, attention.window, num_windows + 1
        else:
            full += row if number >= own and isinstance(attention, DSA) else ceil(row / asked.layout.dcp)
            num_full += row > 0
        index += (key := index_bytes(attention, asked, rules))
        indexers += key > 0
    return TokenRows(full, swa, index, indexers, window, num_windows, num_full)


def cache_layout(model: Model, asked: Resolved, stage: Stage) -> CacheLayout:
    """How one rank of a stage sizes its pools.

    One token id takes a row in every layer, or `swa_full_tokens_ratio` rows in window layers with a pool of
    their own. With a draft the row of its layers may be added; before, its pool lies beside (budget.py).
    With --dcp-size each rank keeps every such token of a layer, and index keys of all, as the layers of a
    sparse draft (pool_configurator.py of 0.5.23): 1.86 times the tokens at two ranks (sglang#31821).
    """
    rules = RELEASES.at(asked.engine_version)
    attentions = [layer.attention for layer in model.layers[stage.start : stage.stop]]
    own, dcp = len(attentions), asked.layout.dcp
    if stage.kinds(model).has(V4, V41):
        from .cache_v4 import v4_layout  # rules of one family, and longer than all the others

        return v4_layout(attentions, asked, rules)
    drafts = divides_by_draft(asked, stage, rules)
    attentions += counted_drafts(model, rules) if drafts else []
    page = (asked.block_size or 1) * dcp
    full, swa, index, indexers, window, num_windows, num_full = token_rows(
        model, asked, attentions, own, rules
    )
    if drafts and model.drafter is not None:
        full += draft_rows(model, asked, stage, rules)[0]
    ratio = asked.swa_full_tokens_ratio or SWA_RATIO
    sized = full + index + int(ratio * swa)
    if swa and model.family in rules.counts_windows_twice:
        sized = counted_twice(full, swa, ratio, num_windows, len(attentions))
    states = state_pool(attentions, asked, rules)
    groups = [CacheGroup("all tokens", len(attentions), page, page * (full + index))]
    if swa:
        groups.append(CacheGroup("windows", len(attentions), page, page * swa, window))
    formula = rows_in_layers(full, num_full)
    formula += f" + {indexers} indexers x {index // indexers} B" if indexers else ""
    formula += f", one token of {dcp}" if dcp > 1 else ""
    formula += f" + {ratio:g} x {swa:,} B in windows of {window}" if swa else ""
    fixed = window * swa
    if states.group:
        groups.append(states.group)
        fixed += states.group.page_bytes * states.group.fixed_blocks
        formula += f"; {states.share:.1%} of the pool for {states.group.page_bytes:,} B a slot of states, "
        formula += f"{states.group.fixed_blocks} a request"
    return CacheLayout(
        tuple(groups),
        page * sized,
        full + index,
        fixed,
        page * (sized - uncounted_bytes(attentions, asked, rules)),
        formula,
        asked.kv_cache_dtype,
        states.set_aside_bytes,
        states.share,
        states.drafts_share,
        states.drafts_most_bytes,
    )


def uncounted_bytes(attentions: Sequence[Attention], asked: Resolved, rules: SglangRules) -> int:
    """Return the bytes of a token that the pool is not divided by: 0.5.3 divides by 576 B a layer of sparse
    MLA in FP8, and then makes 656 + 132, a third more, out of what should stay free; 0.5.3.post1 to 0.5.16 by
    576 + 132 (get_cell_size_per_token): GLM-5-FP8 on MI355X holds 186.77 GiB where 167.84 were left
    (0.5.8.post1).

    >>> from ...model.load import load
    >>> from .release import RELEASES
    >>> asked, layers = Resolved(kv_cache_dtype="fp8_ds_mla"), [load("glm-5").layers[0].attention]
    >>> [uncounted_bytes(layers, asked, RELEASES.at(text)) for text in ("0.5.3", "0.5.8", "0.5.17")]
    [212, 80, 0]
    """
    if asked.kv_cache_dtype != "fp8_ds_mla" or not rules.divides_pool_by_plain_rows:
        return 0
    each = PACKED_ROW_BYTES - PLAIN_ROW_BYTES + INDEX_ROW_BYTES * (not rules.divides_pool_by_index_rows)
    return each * sum(isinstance(attention, DSA) for attention in attentions)


def counted_twice(full: int, swa: int, ratio: float, num_windows: int, num_layers: int) -> int:
    """Return the bytes of a full layers' token by which 0.5.8 divided: rows of full layers for all of them,
    and those of windows again (sglang#18039).

    >>> counted_twice(9 * 640, 39 * 1280, 0.8, 39, 48)  # MiMo-V2-Flash at TP4; 45,696 later
    67536
    """
    num_full = num_layers - num_windows
    every = full // num_full * num_layers + swa
    return int(every * (ratio * num_windows + num_full) / num_layers)


def drafts_blocks(asked: Resolved) -> bool:
    """Return whether a head drafts a block at once, which has neither embedding nor output head of its own
    (models/dflash.py)."""
    return asked.speculation is not None and asked.speculation.method in ("DFLASH", "DSPARK")


def divides_by_draft(asked: Resolved, stage: Stage, rules: SglangRules) -> bool:
    """Return whether the pool is divided by the rows of a draft too: from 0.5.14 on, and by those of a head
    that drafts blocks always (pool_configurator.py of 0.5.11)."""
    counts = rules.loads_draft_before_pool or drafts_blocks(asked)
    return asked.speculative and stage.last and counts


def draft_rows(model: Model, asked: Resolved, stage: Stage, rules: SglangRules) -> tuple[int, int]:
    """(bytes that the pool is divided by, bytes that are kept) of a token's rows in a draft: each layer of
    another model or head counts as one of the target's that keep all tokens, on average, later one of a
    block's as it is, and a model's own not at all (model_executor/pool_configurator.py,
    eagle_draft_num_layers, dflash_draft_cell_size_per_token)."""
    held = sum(row_bytes(layer.attention, asked, rules) for layer in model.draft)
    if model.drafter is None:
        return 0, held
    if rules.counts_rows_of_blocks and drafts_blocks(asked):
        return held, held
    rows = []
    for layer in model.layers[stage.start : stage.stop]:
        attention = layer.attention
        apart = isinstance(attention, Sliding) and splits_pools(model, rules)
        if not isinstance(attention, Linear) and not apart:
            rows.append(row_bytes(attention, asked, rules) + index_bytes(attention, asked, rules))
    return len(model.draft) * sum(rows) // max(len(rows), 1), held


def pool_tokens(layout: CacheLayout, pool: int) -> int:
    """Token slots of a pool: what is left of it beside fixed pools and states, in whole pages."""
    return layout.blocks_in(pool) * layout.groups[0].block_size


def requests_of_states(layout: CacheLayout, pool: int) -> float:
    """Requests that the slots for states hold at once."""
    left = layout.states_bytes(pool)
    held = (left // each.page_bytes / each.fixed_blocks for each in layout.groups if each.fixed_blocks)
    return min(held, default=inf)


def slots(layout: CacheLayout, length: int, asked: Resolved, count: int = 1) -> int:
    """Slots that sequences of a length take at once: whole pages, and of a window's pool as many as the ratio
    of the pools makes worse. Each keeps its window and a page there; only one step's prompts keep more, which
    go back when they decode (schedule_batch.py, maybe_evict_swa).

    >>> windows = CacheGroup("windows", 1, 256, 1, window=128)
    >>> layout = CacheLayout((CacheGroup("all", 1, 256, 1), windows), 1, 1, 0, 1, "", "")
    >>> asked = Resolved(max_num_batched_tokens=4096, swa_full_tokens_ratio=0.1)
    >>> slots(layout, 9216, asked), slots(layout, 9216, asked, 128) // 128
    (44800, 9216)
    """
    page = layout.groups[0].block_size
    whole = -(-length // page) * page
    tokens = whole * count
    for group in layout.groups[1:]:
        if group.fixed_blocks:
            continue
        kept = min((group.window + page) * count + asked.max_num_batched_tokens, whole * count)
        tokens = max(tokens, -(-int(kept / (asked.swa_full_tokens_ratio or SWA_RATIO)) // page) * page)
    return tokens


def needed_bytes(layout: CacheLayout, asked: Resolved) -> int:
    """Pool that the asked load needs: `concurrency` sequences of `context` tokens, beside the fixed pools.

    Unlike vLLM, SGLang starts with any pool: one sequence of max_model_len need not fit.
    """
    page, at_once = layout.groups[0].block_size, asked.concurrency or 1
    tokens = slots(layout, asked.context or 1, asked, at_once) // page * layout.block_bytes
    states = sum(each.page_bytes * each.fixed_blocks for each in layout.groups) * at_once
    if not states:
        return layout.set_aside_bytes + tokens
    share = layout.states_share  # the pool is cut by it, whichever part runs out first
    plain = share * (1 - layout.drafts_share)
    pool = min(ceil(tokens / (1 - share)), ceil((tokens + layout.drafts_most_bytes) / (1 - plain)))
    return layout.set_aside_bytes + max(pool, ceil(states / share))


def sequences(layout: CacheLayout, pool: int, length: int, asked: Resolved) -> float:
    """Sequences of a length that fit the pool at once, at most as many as may run."""
    tokens, most = pool_tokens(layout, pool), asked.max_num_seqs
    first = slots(layout, length, asked)
    each = (slots(layout, length, asked, most) - first) / (most - 1) if most > 1 else first
    held = 1 + (tokens - first) / each if tokens > first else tokens / first
    return min(held, requests_of_states(layout, pool), float(most))


def max_tokens(layouts: list[CacheLayout], pools: list[int], asked: Resolved) -> int:
    """max_total_num_tokens as the log prints it: of the stage that has room for the fewest.

    A draft to 0.5.4 adds slots for tokens under way (num_steps x topk + draft tokens a request, + 100),
    which are not capacity.
    """
    made = min(pool_tokens(layout, pool) for layout, pool in zip(layouts, pools, strict=True))
    return min(made, asked.max_total_tokens or made)


def longest_sequence(layout: CacheLayout, pool: int, asked: Resolved) -> int:
    """The longest single sequence that the pool holds."""
    tokens = max_tokens([layout], [pool], asked)
    return min(tokens if slots(layout, tokens, asked) <= tokens else 0, asked.max_model_len or tokens)
