"""The cache of KTransformers: pages of tokens, made once; of a chat as long as its text, of a server as long
as it is told (models/custom_cache.py; server/backend/interfaces/ktransformers.py, server/args.py)."""

from ...errors import UnsupportedError
from ...model.attention import GQA, MLA, Attention
from ...model.model import Model
from ...run.serving import Resolved
from ...units import GIB
from ..rank import CacheGroup, CacheLayout, Stage, rows_in_layers
from .release import rules_of

WIDTH = 2
"""Bytes of a value: 16 bit in all of them."""
PAGE, SERVED_PAGE = 64, 256


def row_bytes(attention: Attention) -> int:
    """Return what a token takes in one layer.

    >>> row_bytes(MLA(128, 1536, 512, 128, 64, 128)), row_bytes(GQA(64, 4, 128))
    (1152, 2048)
    """
    match attention:
        case MLA():
            return attention.latent_dim * WIDTH
        case GQA():
            return attention.num_kv_heads * attention.cache_dim * WIDTH
        case _:
            raise UnsupportedError(
                f"{attention.kind} attention in KTransformers is not known yet", "use --engine llamacpp"
            )


def batches(asked: Resolved) -> bool:
    """Whether balance_serve runs it."""
    return asked.backend_type == "balance_serve"


def cache_layout(model: Model, asked: Resolved, stage: Stage) -> CacheLayout:
    """How one card pages its cache."""
    attentions = [layer.attention for layer in model.layers[stage.start : stage.stop]]
    token, size = sum(map(row_bytes, attentions)), SERVED_PAGE if batches(asked) else PAGE
    group = CacheGroup("all layers", len(attentions), size, token * size)
    formula = rows_in_layers(token, len(attentions))
    return CacheLayout((group,), token * size, token, 0, token * size, formula, "16 bit")


def made_pool(layout: CacheLayout, asked: Resolved, left: int) -> int:
    """Return the pool that is made: a server's, whatever the room; a chat makes what it needs.

    >>> layout = CacheLayout((CacheGroup("all layers", 61, 64, 1 << 20),), 1 << 20, 1, 0, 1 << 20, "", "")
    >>> [made_pool(layout, Resolved(max_total_tokens=each), 7) >> 20 for each in (8192, None)]
    [128, 0]
    """
    if asked.max_total_tokens is None:
        return left
    fixed = rules_of(asked.engine_version).pool_gib * GIB if batches(asked) else 0
    if fixed:
        return fixed // layout.block_bytes * layout.block_bytes
    return layout.groups[0].blocks(asked.max_total_tokens, 0) * layout.block_bytes
