"""The pools of DeepSeek-V4 and V4.1 in SGLang (DSV4PoolConfigurator, deepseek_v4_memory_pool.py).

A full pool of compressed rows that grows with tokens; beside it a pool of window rows and states. Since
0.5.21 the windows are sized by the running requests; before, they were a tenth of the tokens, and up to
0.5.14 the states of C128 followed the windows too. Bytes of a token: models.md 4.2; the window pool of V4.1
at 256 requests: 15.8 GB in dynamo#15169; what releases log as bytes_per_full_token:
tests/engines/test_sglang.py.
"""

from typing import NamedTuple

from ...model.attention import CSA_RATIO, V4, V41, Attention
from ...run.serving import Resolved
from ..rank import INDEX_ROW_BYTES, INDEX_ROW_BYTES_FP4, CacheGroup, CacheLayout
from .release import SglangRules

ROWS = {"v4": (584, 576), "v4_16_bit": (1024, 1024), "v41": (528, 512), "v41_fp4": (288, 256)}
"""(bytes, alignment of a page) of a row: 448 fp8 + 64 BF16 + 8; 512 BF16; 512 fp8 + 16; 512 fp4 + 32. V4.1's
only on compute capability 10."""
INDEX_BYTES_16 = 256
ALL_16_BIT = "bf16_ds_mla"
"""Rows and keys of the indexer in 16 bit, on cards without FP8."""
HCA_RATIO = 128
EVICTION_INTERVAL = 128
"""SGLANG_SWA_EVICTION_INTERVAL"""
PREFIX_TAILS = 4
"""Cached prefixes a running request for which the window pool keeps room (swa_prefix_tails)."""
CHUNKS_IN_FLIGHT = 2
STATE_BYTES = 4
RINGS = {False: {2: 2, 4: 8, 128: 128}, True: {2: 8, 4: 16, 128: 256}}
"""Slots of a compressor's state a request, by speculation: one that is speculative must hold its draft (up to
5 tokens for ratio 2)."""


class Prices(NamedTuple):
    """Bytes of a token in the full pool and of a slot in the window pool, and what request slots take."""

    token: float
    slot: float
    states: int


def row_names(dtype: str) -> tuple[str, str]:
    """(layout of window rows, layout of compressed rows) by cache dtype; `resolve` says mxfp8 where V4.1 has
    its own layouts."""
    if dtype in ("bfloat16", ALL_16_BIT):
        return "v4_16_bit", "v4_16_bit"
    if dtype != "mxfp8_ds_mla":
        return "v4", "v4"
    return "v41", "v41_fp4"


def index_bytes(dtype: str) -> int:
    """Bytes of a key of the indexer: 128 values in FP8 and a scale, or in 16 bit."""
    return INDEX_BYTES_16 if dtype == ALL_16_BIT else INDEX_ROW_BYTES


def paged_row(name: str, page: int) -> float:
    """Bytes of a row with its share of the page's padding.

    >>> paged_row("v4", 256), paged_row("v4", 64), paged_row("v4", 2)
    (585.0, 585.0, 864.0)
    """
    row, align = ROWS[name]
    return -(-page * row // align) * align / page


def exact_token_bytes(attentions: list[V4 | V41], dtype: str) -> float:
    """Growth of a sequence a token, before page rounding: C4 * (row + idx) / 4 + C128 * row / 128, V4.1 (row
    + idx) / ratio."""
    total = 0.0
    for a in attentions:
        row = ROWS[row_names(dtype)[1]][0]
        if isinstance(a, V41):
            total += (row + INDEX_ROW_BYTES_FP4) / a.ratio if a.owns_cache else 0
        elif a.ratio:
            total += (row + (index_bytes(dtype) if a.has_indexer else 0)) / a.ratio
    return total


def row_price(name: str, page: int, rules: SglangRules) -> float:
    """Bytes that a row is counted with: before 0.5.21 without its page's padding."""
    return paged_row(name, page) if rules.sizes_v4_windows_by_requests else ROWS[name][0]


def prices(attentions: list[V4 | V41], asked: Resolved, rules: SglangRules) -> Prices:
    """What a token, a window slot and the request slots cost on this stage."""
    page, dtype, draft = asked.block_size or 256, asked.kv_cache_dtype, asked.speculative
    states_page = page if rules.sizes_v4_windows_by_requests else attentions[0].window
    rings, head, index_head = RINGS[draft], attentions[0].head_dim, attentions[0].index_head_dim
    inflation = (len(attentions) + 1) / len(attentions) if draft else 1.0
    requests = request_slots(asked)
    token = slot = 0.0
    states = 0
    if rules.counts_v4_draft:
        slot += ROWS[row_names(dtype)[0]][0]
    for a in attentions:
        window_name, name = row_names(dtype)
        slot += row_price(window_name, page, rules)
        if isinstance(a, V41):
            if a.owns_cache:
                token += (paged_row(name, page // a.ratio) + INDEX_ROW_BYTES_FP4) / a.ratio
            if a.owns_cache and a.ratio == 2:
                rows = -(-(requests * rings[2] + rings[2] + 1) // 2) * 2
                states += rows * 2 * head * STATE_BYTES
        elif a.ratio == CSA_RATIO:
            token += (row_price(name, page // CSA_RATIO, rules) + index_bytes(dtype)) / CSA_RATIO
            slot += rings[CSA_RATIO] / states_page * 4 * (head + index_head) * STATE_BYTES
        elif a.ratio:
            token += row_price(name, page // a.ratio, rules) / a.ratio
            if not rules.counts_v4_states_by_requests:
                slot += rings[HCA_RATIO] / states_page * 2 * head * STATE_BYTES
                continue
            rows = -(-(requests * rings[HCA_RATIO] + rings[HCA_RATIO] + 1) // HCA_RATIO) * HCA_RATIO
            states += rows * 2 * head * STATE_BYTES
    return Prices(token * inflation, slot * inflation, states)


def request_slots(asked: Resolved) -> int:
    """Requests that one rank may run, and one more."""
    return max(asked.max_num_seqs, 1) + 1


def window_slots(window: int, asked: Resolved) -> int:
    """Slots of the window pool: for each request its window, an eviction interval and two pages; two chunks;
    cached prefixes.

    >>> from ...run.serving import Layout
    >>> sizes = {"max_num_seqs": 256, "max_num_batched_tokens": 8192, "block_size": 256}
    >>> window_slots(128, Resolved(layout=Layout(), **sizes))
    606464
    """
    page, requests = asked.block_size or 256, request_slots(asked) - 1
    draft_tokens = DRAFT_TOKENS if asked.speculative else 1
    each = window + EVICTION_INTERVAL * draft_tokens + page + page * (2 if asked.speculative else 1)
    cap = each * requests + CHUNKS_IN_FLIGHT * asked.max_num_batched_tokens + page
    return -(-(cap + PREFIX_TAILS * requests * (window + page)) // page) * page


DRAFT_TOKENS = 4


def v4_layout(layers: list[Attention], asked: Resolved, rules: SglangRules) -> CacheLayout:
    """Pools of a V4 or V4.1 stage. With a ratio, asked for or (before 0.5.21) of the release, the window pool
    follows the tokens instead of the requests."""
    attentions = [a for a in layers if isinstance(a, V4 | V41)]
    page, cost = asked.block_size or 256, prices(attentions, asked, rules)
    window, ratio = attentions[0].window, asked.swa_full_tokens_ratio
    exact = exact_token_bytes(attentions, asked.kv_cache_dtype)
    groups = []
    if ratio:
        token, fixed = cost.token + ratio * cost.slot, cost.states
        formula = f"{cost.token:,.2f} B a token + {ratio:g} x {cost.slot:,.1f} B of windows"
        formula += " and their states" if not cost.states else f" + {cost.states:,} B of states"
        groups.append(CacheGroup("windows", len(attentions), page, int(page * cost.slot), window))
    else:
        slots = window_slots(window, asked)
        token, fixed = cost.token, cost.states + int(slots * cost.slot)
        formula = f"{token:,.2f} B a token + {slots:,} window slots x {cost.slot:,.1f} B"
        formula += f" + {cost.states:,} B of states"
    groups.insert(0, CacheGroup("compressed rows", len(attentions), page, int(page * token)))
    one = int((window + page) * cost.slot) + cost.states // request_slots(asked)
    return CacheLayout(
        tuple(groups), int(page * token), exact, one, int(page * token), formula, asked.kv_cache_dtype, fixed
    )
