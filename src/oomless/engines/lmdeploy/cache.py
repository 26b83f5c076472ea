"""The cache of LMDeploy: bytes of a token by kind of attention, in blocks of tokens."""

from ...errors import UnsupportedError
from ...model.attention import DSA, GQA, MLA, V4, V41, Attention, Linear, Sliding
from ...model.model import Model
from ...model.storage import DTYPES
from ...run.serving import Resolved
from ..rank import INDEX_ROW_BYTES, CacheGroup, CacheLayout, Stage, rows_in_layers
from .release import on_turbomind

BITS = {"int8": 8, "int4": 4}
SCALED_BYTES = 4
"""Scale and zero point of a head's key or value, in 16 bit each (pytorch/engine/cache_engine.py,
get_cache_block_size; TurboMind's block_config)."""


def head_bytes(dims: int, asked: Resolved) -> float:
    """Bytes of one head's key or value.

    >>> [head_bytes(128, Resolved(dtype="bfloat16", kv_cache_dtype=each)) for each in ("auto", "int4")]
    [256.0, 68.0]
    """
    bits = BITS.get(asked.kv_cache_dtype)
    return dims * bits / 8 + SCALED_BYTES if bits else dims * DTYPES[asked.dtype].bits / 8


def row_bytes(attention: Attention, asked: Resolved, expands: bool) -> float:
    """Growth of one layer's cache a token on one rank. `expands`: latents are kept as every head's keys and
    values (TurboMind, deploy/source_model/deepseek2.py).

    >>> from ...run.serving import Layout
    >>> row_bytes(MLA(128, 1536, 512, 128, 64, 128), Resolved(dtype="bfloat16", layout=Layout()), False)
    1152.0
    """
    ranks = asked.layout.tp
    match attention:
        case GQA():
            key = head_bytes(attention.head_dim, asked)
            return max(attention.num_kv_heads // ranks, 1) * 2 * key
        case Sliding():
            return row_bytes(attention.inner, asked, expands)
        case MLA():
            if expands:
                wide = head_bytes(attention.qk_nope_head_dim + attention.qk_rope_head_dim, asked)
                return attention.num_heads // ranks * 2 * wide
            return head_bytes(attention.latent_dim, asked)
        case DSA():
            return head_bytes(attention.mla.latent_dim, asked) + INDEX_ROW_BYTES
        case Linear() | V4() | V41():
            raise UnsupportedError(
                f"{attention.kind} attention in LMDeploy is not known yet", "use --engine vllm"
            )


def cache_layout(model: Model, asked: Resolved, stage: Stage) -> CacheLayout:
    """How one rank pages its cache."""
    expands, block = on_turbomind(model, asked), asked.block_size or 64
    attentions = [layer.attention for layer in model.layers[stage.start : stage.stop]]
    token = sum(row_bytes(attention, asked, expands) for attention in attentions)
    page = int(token * block)
    formula = rows_in_layers(token, len(attentions))
    group = CacheGroup("all layers", len(attentions), block, page)
    return CacheLayout((group,), page, token, 0, page, formula, asked.kv_cache_dtype)


def max_tokens(layouts: list[CacheLayout], pools: list[int], asked: Resolved) -> int:
    """Tokens of the whole blocks."""
    block = layouts[0].groups[0].block_size
    return min(layout.blocks_in(pool) for layout, pool in zip(layouts, pools, strict=True)) * block
