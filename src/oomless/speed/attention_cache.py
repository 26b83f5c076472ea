"""What attention reads of a cache and computes, a layer: the numbers that its time follows from."""

from typing import NamedTuple

from ..model.attention import DSA, GQA, MLA, V4, V41, Attention, Linear, Sliding


class Cache(NamedTuple):
    """Equal layers of attention, as far as they cost time. `read` counts cache elements a token of context,
    all heads together."""

    num_layers: int
    kv_heads: int
    """Pieces that tensor parallelism may divide; 0: every rank reads all of it (MLA)."""
    read: float
    index_bytes: float
    """Bytes a token of context that an indexer reads, whatever is chosen after it."""
    limit: int
    """Tokens that are read at most: a window, or the indexer's choice; 0: all."""
    ratio: int
    """Tokens that share one compressed entry."""
    window: int
    """Tokens that are read beside the compressed entries."""
    decode_flops: float
    """Operations a token and token of context, all heads."""
    prefill_flops: float
    state: float
    """Elements read and written a sequence whatever its length (linear attention)."""
    index_flops: float = 0.0
    """Operations of an indexer a token and token of context, which every rank does whole."""
    dense_flops: float = 0.0
    """Operations as in prefill_flops while a prompt is so short that the indexer chooses everything; 0: the
    same ones."""
    heads: int = 0
    """Heads that the kernel for chosen tokens fills up (attention_work.py); 0: it does not."""


def cache_of(attention: Attention) -> Cache:
    """What one layer's attention reads of the cache and computes for a token and token of context.

    GQA reads keys and values (2 x kv heads x head size), MLA one latent for all heads (absorbed form: scores
    against kv_lora_rank + rope, values of kv_lora_rank); in a prompt MLA is expanded. DSA reads the index of
    every token and the latents of the chosen ones; V4 a window and entries that `ratio` tokens share.
    Operations: two a multiply-add.

    >>> (
    ...     cache_of(MLA(128, 1536, 512, 128, 64, 128)).read,
    ...     cache_of(MLA(128, 1536, 512, 128, 64, 128)).prefill_flops,
    ... )
    (576, 81920)
    """
    none = Cache(1, 0, 0, 0, 0, 1, 0, 0, 0, 0)
    match attention:
        case GQA():
            value = attention.value_dim or attention.head_dim
            flops = 2 * attention.num_heads * (attention.head_dim + value)
            read = attention.num_kv_heads * (
                attention.head_dim + value
            )  # a layer that borrows a cache reads it all the same
            return none._replace(
                kv_heads=attention.num_kv_heads, read=read, decode_flops=flops, prefill_flops=flops
            )
        case Sliding():
            return cache_of(attention.inner)._replace(limit=attention.window)
        case MLA():
            wide = attention.qk_nope_head_dim + attention.qk_rope_head_dim + attention.v_head_dim
            return none._replace(
                read=attention.latent_dim,
                decode_flops=2 * attention.num_heads * (attention.latent_dim + attention.kv_lora_rank),
                prefill_flops=2 * attention.num_heads * wide,
            )
        case DSA():
            inner = cache_of(attention.mla)
            index = (
                float(attention.index_head_dim) if attention.owns_indexer else 0.0
            )  # FP8 keys: a byte an element
            work = 2 * attention.index_heads * attention.index_head_dim if attention.owns_indexer else 0
            return inner._replace(
                index_bytes=index,
                limit=attention.index_topk,
                prefill_flops=inner.decode_flops,
                index_flops=work,
                dense_flops=inner.prefill_flops,
                heads=attention.mla.num_heads,
            )
        case V4() | V41():
            return _compressed(attention, none)
        case Linear():
            return none._replace(state=2 * attention.state_size + 2 * attention.conv_width, prefill_flops=0)


def _compressed(attention: V4 | V41, none: Cache) -> Cache:
    """What a layer of V4 reads: a window, and entries that `ratio` tokens share, chosen where it has an
    indexer."""
    flops = 4 * attention.num_heads * attention.head_dim
    indexed = attention.has_indexer if isinstance(attention, V4) else attention.index_heads > 0
    chosen = attention.index_topk if attention.ratio and indexed else 0
    index = attention.index_head_dim / attention.ratio if chosen else 0
    return none._replace(
        index_flops=2 * attention.index_heads * index,
        read=attention.head_dim,
        index_bytes=index,
        limit=chosen if attention.ratio else attention.window,
        ratio=attention.ratio or 1,
        window=attention.window if attention.ratio else 0,
        decode_flops=flops,
        prefill_flops=flops,
    )


def tokens_read(cache: Cache, context: float) -> float:
    """Tokens (or compressed entries) of a context that one new token reads.

    >>> from ..model.attention import V4
    >>> tokens_read(cache_of(V4(64, 512, 64, 1024, 8, 1024, 128, 128, 64, 128, 512)), 131072)
    1152.0
    """
    entries: float = context / cache.ratio
    if cache.limit:
        entries = min(entries, float(cache.limit))
    return entries + min(cache.window, context)
