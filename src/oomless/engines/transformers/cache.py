"""The cache of transformers: bytes of a token by kind of attention, and what a load needs."""

from typing import assert_never

from ...errors import UnsupportedError
from ...model.attention import CSA_RATIO, DSA, GQA, MLA, V4, V41, Attention, Linear, Sliding
from ...model.model import Model
from ...model.storage import DTYPES, F32
from ...run.serving import Resolved
from ..rank import CacheGroup, CacheLayout, Stage, rows_in_layers
from .release import RELEASES


def row_bytes(attention: Attention, asked: Resolved) -> float:
    """Growth of one layer's cache a token.

    >>> v3 = MLA(128, 1536, 512, 128, 64, 128)
    >>> (
    ...     row_bytes(v3, Resolved(engine_version="4.57", dtype="bfloat16")),
    ...     row_bytes(v3, Resolved(engine_version="5.24", dtype="bfloat16")),
    ... )
    (81920.0, 1152.0)
    """
    width = DTYPES[asked.dtype].bits / 8
    match attention:
        case GQA():
            return attention.num_kv_heads * attention.cache_dim * width
        case Sliding():
            return row_bytes(attention.inner, asked)
        case MLA():
            if RELEASES.at(asked.engine_version).caches_latents:
                return attention.latent_dim * width
            keys = attention.qk_nope_head_dim + attention.qk_rope_head_dim
            return attention.num_heads * (keys + attention.v_head_dim) * width
        case DSA():
            return (
                attention.mla.latent_dim + (attention.index_head_dim if attention.owns_indexer else 0)
            ) * width
        case V4():
            index = attention.index_head_dim if attention.ratio == CSA_RATIO else 0
            return (attention.head_dim + index) * width / attention.ratio if attention.ratio else 0.0
        case V41() | Linear():
            raise UnsupportedError(
                f"{attention.kind} attention in transformers is not known yet", "use --engine vllm"
            )


def window_bytes(attention: Attention, asked: Resolved) -> int:
    """What a sequence holds in a V4 layer's window and compressor.

    One row a token for keys and values, two where there is no compressed cache (measured on 5.24); tokens not
    yet compressed are counted as the F32 states of models.md 4.1 (8 or 128 slots), which is a bound: 12.2 MB
    of Flash.
    """
    width = DTYPES[asked.dtype].bits // 8
    match attention:
        case V4():
            window = (attention.window - 1) * attention.head_dim * width * (1 if attention.ratio else 2)
            if not attention.ratio:
                return window
            csa = attention.ratio == CSA_RATIO
            state = 4 * (attention.head_dim + attention.index_head_dim) if csa else 2 * attention.head_dim
            return window + STATE_SLOTS[csa] * state * F32.bits // 8
        case GQA() | Sliding() | MLA() | DSA() | V41() | Linear():
            return 0
        case _:
            assert_never(attention)


STATE_SLOTS = {True: 8, False: 128}


def cache_layout(model: Model, asked: Resolved, stage: Stage) -> CacheLayout:
    """The cache of one card: a row a token in each layer; layers with a window stop at it; V4 has a window
    beside its rows."""
    attentions = [layer.attention for layer in model.layers[stage.start : stage.stop]]
    full = sum(row_bytes(a, asked) for a in attentions if not isinstance(a, Sliding))
    groups = [CacheGroup("all tokens", len(attentions), 1, int(full))]
    sliding: dict[int, int] = {}
    for a in attentions:
        if isinstance(a, Sliding):
            sliding[a.window] = sliding.get(a.window, 0) + int(row_bytes(a, asked))
    groups += [
        CacheGroup("windows", len(attentions), 1, num_bytes, window) for window, num_bytes in sliding.items()
    ]
    windows = sum(window_bytes(a, asked) for a in attentions)
    fixed = windows + sum(window * num_bytes for window, num_bytes in sliding.items())
    formula = rows_in_layers(full, sum(not isinstance(a, Sliding) for a in attentions))
    return CacheLayout(
        tuple(groups), max(int(full), 1), full, fixed, max(int(full), 1), formula, asked.kv_cache_dtype
    )


def one(layout: CacheLayout, length: int) -> int:
    """Bytes of one sequence of a length."""
    sliding = layout.groups[1:]
    windows = layout.fixed_bytes - sum(group.window * group.page_bytes for group in sliding)
    return (
        int(layout.token_bytes * length)
        + windows
        + sum(min(group.window, length) * group.page_bytes for group in sliding)
    )


def needed_bytes(layout: CacheLayout, asked: Resolved) -> int:
    """Cache of the asked load; a static cache is made for max_model_len at once."""
    length = asked.context if asked.cache_implementation == "dynamic" else asked.max_model_len
    return one(layout, length or 1) * asked.concurrency


def max_tokens(layouts: list[CacheLayout], pools: list[int], asked: Resolved) -> int:
    """Tokens that the free memory would hold beside the asked prefill: of the card with room for the
    fewest."""
    return min(
        int(max(pool, 0) / max(layout.token_bytes, 1)) for layout, pool in zip(layouts, pools, strict=True)
    )


def sequences(layout: CacheLayout, pool: int, length: int, asked: Resolved) -> float:
    """Sequences of a length that the free memory would hold at once."""
    return max(pool, 0) / max(one(layout, length), 1)


def longest_sequence(layout: CacheLayout, pool: int, asked: Resolved) -> int:
    """The longest single sequence that the free memory would hold."""
    left = pool - one(layout, 0)
    return min(int(max(left, 0) / max(layout.token_bytes, 1)), asked.max_model_len or 1)
