"""The cache of TensorRT-LLM: bytes of a token by kind of attention, and what a load needs."""

from collections.abc import Sequence

from ...errors import UnsupportedError
from ...model.attention import DSA, GQA, MLA, V4, V41, Attention, Linear, Sliding
from ...model.model import Model
from ...model.storage import DTYPES
from ...run.serving import Resolved
from ..rank import INDEX_ROW_BYTES, PACKED_ROW_BYTES, CacheGroup, CacheLayout, Stage, rows_in_layers
from ..recurrent_states import recurrent_state_bytes, state_width
from .release import RELEASES

V4_STATE_ROWS, STATE_BYTES = {4: 8, 128: 128}, 4


def row_bytes(attention: Attention, asked: Resolved) -> float:
    """Growth of one layer's cache a token on one rank, an indexer's key included.

    >>> row_bytes(MLA(128, 1536, 512, 128, 64, 128), Resolved(dtype="bfloat16", kv_cache_dtype="fp8"))
    576
    """
    fp8 = asked.kv_cache_dtype == "fp8"
    stored = asked.dtype if asked.kv_cache_dtype == "auto" else asked.kv_cache_dtype
    width = 1 if stored in ("fp8", "int8") else DTYPES[stored].bits / 8
    match attention:
        case GQA():
            heads = max(attention.num_kv_heads * asked.layout.dp // asked.layout.tp, 1)
            return heads * attention.cache_dim * width + key_bytes(attention)
        case Sliding():
            return row_bytes(attention.inner, asked)
        case MLA():
            return attention.latent_dim * width
        case DSA():
            row = PACKED_ROW_BYTES if fp8 else attention.mla.latent_dim * width
            return row + (INDEX_ROW_BYTES if attention.owns_indexer else 0)
        case V4():
            index = INDEX_ROW_BYTES if attention.has_indexer else 0
            return (attention.head_dim * width + index) / attention.ratio if attention.ratio else 0.0
        case Linear():
            return 0.0  # a state of each sequence that may run, see states.py
        case V41():
            raise UnsupportedError(
                f"{attention.kind} attention in TensorRT-LLM is not known yet", "use --engine vllm"
            )


def key_bytes(attention: GQA) -> int:
    """Return the bytes of a token's key by which blocks of the cache are picked: one head in 16 bit on every
    rank, whatever the cache is in (sparse/minimax_m3/cache_manager.py, _extra_buffers_per_layer). Qwen4-Exp
    pools keys as it reads them: each token has its own, one element and three I32 of positions
    (sparse/qsa/cache_manager.py).

    >>> key_bytes(GQA(64, 4, 128, index_heads=4, index_dim=128))
    256
    """
    if not attention.index_heads:
        return 0
    return attention.index_dim * 2 if attention.index_pool == 1 else (attention.index_dim + 1) * 2 + 12


def cache_layout(model: Model, asked: Resolved, stage: Stage) -> CacheLayout:
    """How one rank pages its cache. V4's windows and F32 states are a fixed part of each sequence; states of
    linear attention are made for all that may run; the MTP layer has rows for each token that it drafts
    (speculative/utils.py, get_num_spec_layers), from 1.3 on one for all, and a head its own."""
    attentions = [layer.attention for layer in model.layers[stage.start : stage.stop]]
    if asked.speculative and stage.last:
        shares = RELEASES.at(asked.engine_version).shares_draft_layer or model.drafter is not None
        attentions += [layer.attention for layer in model.draft] * (1 if shares else asked.draft_tokens)
    block = asked.block_size or 32
    rows = [row_bytes(attention, asked) for attention in attentions]
    token = sum(rows)
    fixed = 0
    for a in attentions:
        if isinstance(a, V4):
            fixed += int(a.window * a.head_dim * (1 if asked.kv_cache_dtype == "fp8" else 2))
            if a.ratio:
                states = 4 * (a.head_dim + a.index_head_dim) if a.has_indexer else 2 * a.head_dim
                fixed += V4_STATE_ROWS[a.ratio] * states * STATE_BYTES
    states = states_of(attentions, asked)
    page = int(token * block)
    formula = rows_in_layers(token, sum(each > 0 for each in rows))
    group = CacheGroup("all layers", len(attentions), block, page)
    return CacheLayout((group,), page, token, fixed, page, formula, asked.kv_cache_dtype, states)


def made_pool(layout: CacheLayout, asked: Resolved, left: int) -> int:
    """Return the pool that is made: of the tokens that kv_cache_config says, where the room has more."""
    blocks = (asked.max_total_tokens or 0) // (asked.block_size or 32)
    return min(left, layout.set_aside_bytes + blocks * layout.block_bytes) if blocks else left


def one(layout: CacheLayout, length: int) -> int:
    """Bytes of one sequence of a length."""
    return layout.fixed_bytes + layout.groups[0].blocks(length, 0) * layout.block_bytes


def needed_bytes(layout: CacheLayout, asked: Resolved) -> int:
    """Pool that the asked load needs, in whole blocks, beside states."""
    return layout.set_aside_bytes + one(layout, asked.context or 1) * asked.concurrency


def max_tokens(layouts: list[CacheLayout], pools: list[int], asked: Resolved) -> int:
    """The log's "max tokens in paged KV cache": of the stage that has room for the fewest; 0.5 prints them
    before it makes blocks."""
    found = []
    prints_blocks = RELEASES.at(asked.engine_version).prints_tokens_in_blocks
    for layout, pool in zip(layouts, pools, strict=True):
        block = layout.groups[0].block_size
        room = max(pool - layout.set_aside_bytes, 0)
        tokens = int(room / layout.token_bytes) if layout.token_bytes else layout.blocks_in(pool) * block
        found.append(tokens // block * block if prints_blocks else tokens)
    return min(found)


def sequences(layout: CacheLayout, pool: int, length: int, asked: Resolved) -> float:
    """Sequences of a length that fit the pool at once, at most max_batch_size."""
    room = max(pool - layout.set_aside_bytes, 0)
    return min(room / one(layout, length), float(asked.max_num_seqs or 1))


def longest_sequence(layout: CacheLayout, pool: int, asked: Resolved) -> int:
    """The longest single sequence that the pool holds."""
    blocks = layout.blocks_in(pool - layout.fixed_bytes)
    return min(blocks * layout.groups[0].block_size, asked.max_model_len or 1)


SERVED = ("gdn", "mamba2")
"""Qwen3-Next, Qwen3.5 and Nemotron-H (_torch/pyexecutor/config_utils.py, is_hybrid_linear)."""
LEAST_HISTORY = 16
"""Tokens that Mamba-2's replay of drafts keeps at least (MIN_REPLAY_HISTORY_SIZE)."""


def states_of(attentions: Sequence[Attention], asked: Resolved) -> int:
    """Return the bytes of the states of a stage: for max_batch_size sequences a stage, one for padded graphs,
    and one more with attention over data (_torch/pyexecutor/mamba_cache_manager.py,
    _estimate_mamba_hybrid_cache_cost). A gated delta net's recurrent state has the model's type, whatever
    the config says of how it is computed (resolve_ssm_cache_dtype).

    Qwen3.5-4B, 2,048 sequences; 256 of them:

    >>> from ...model.load import load
    >>> from ...run.serving import Layout
    >>> layers = [each.attention for each in load("qwen3.5-4b").layers]
    >>> asked = Resolved(layout=Layout(), dtype="bfloat16", max_num_seqs=2048)
    >>> [states_of(layers, asked._replace(max_num_seqs=each)) >> 20 for each in (2048, 256)]
    [51481, 6457]
    """
    states = [each for each in attentions if isinstance(each, Linear)]
    if not states:
        return 0
    for each in states:
        if each.variant not in SERVED:
            raise UnsupportedError(
                f"{each.variant} layers in TensorRT-LLM are not known yet", "use --engine vllm"
            )
    layout, width = asked.layout, DTYPES[asked.dtype].bits // 8
    ranks, sequences = layout.tp // layout.dp, asked.max_num_seqs * layout.pp
    slots = sequences + 1 + layout.enable_dp_attention
    return sum(
        recurrent_state_bytes(each, ranks, width, element(each, asked, width)) * slots
        + drafts_of(each, asked, ranks, width) * sequences
        for each in states
    )


def element(state: Linear, asked: Resolved, width: int) -> int:
    """Return the bytes of an element of a recurrent state."""
    said = state._replace(state_bits=0) if state.variant == "gdn" else state
    return state_width(said, asked, width)


def drafts_of(state: Linear, asked: Resolved, ranks: int, width: int) -> int:
    """Return what one sequence of a layer keeps to go back behind refused drafts: a convolution's inputs
    after each token, and of a gated delta net the recurrent state too (TRTLLM_USE_GDN_REPLAY is off); of
    Mamba-2 what its replay reads, twice.

    >>> drafts_of(Linear(16, 32, 128, 128, 4), Resolved(), 1, 2)
    0
    """
    if not asked.speculative:
        return 0
    tokens = asked.draft_tokens + 1
    window = recurrent_state_bytes(state, ranks, width, 0)
    if state.variant == "gdn":
        return tokens * recurrent_state_bytes(state, ranks, width, element(state, asked, width))
    history = max(LEAST_HISTORY, tokens)
    kept = (state.value_width + state.key_width) * width + 2 * state.num_value_heads * 4
    return tokens * window + 2 * history * kept // ranks
