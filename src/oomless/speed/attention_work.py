"""What attention costs a rank in a pass: bytes of cache that it reads, operations that it does."""

from typing import NamedTuple

from .attention_cache import Cache, tokens_read
from .load import Load, Split
from .machine import Machine
from .network import Network
from .steady import added


class AttentionWork(NamedTuple):
    """Attention over all layers of one rank."""

    cache_bytes: float
    decode_flops: float
    """Of sequences that get a token."""
    prompt_flops: float
    index_flops: float = 0.0
    """Of indexers over prompts, in FP8."""
    choices: float = 0.0
    """Tokens of prompts for which an indexer chooses, over all layers."""


SPARSE_HEADS = 64
"""Heads that FlashMLA's kernel for chosen tokens works on at least: 8 ranks take half the time of one for 128
heads (dsa_context_module_perf of aiconfigurator-core 0.12.0, B200 and H200; SGLang fills queries up)."""


def attention_work(net: Network, split: Split, load: Load) -> AttentionWork:
    """Return the bytes and operations of attention, those of decoding and of prompts apart."""
    num_bytes = decoding = prompting = indexing = choices = 0.0
    sequences, prompts = load.sequences / split.dp, load.prompt_tokens / (load.groups or split.dp)
    for cache in net.caches:
        ranks = min(split.tp, cache.kv_heads) if cache.kv_heads else 1
        read = tokens_read(cache, load.context)
        element = load.cache_bits / 8
        once = read * cache.read * element / ranks + load.context * cache.index_bytes + cache.state * 4
        num_bytes += cache.num_layers * once * sequences
        decoding += cache.num_layers * cache.decode_flops * read * sequences * load.checked / split.tp
        prompting += cache.num_layers * prompt_flops(cache, load.prompt_length, split.tp) * prompts
        if cache.index_flops and (load.prompt_length > cache.limit or not cache.dense_flops):
            indexing += cache.num_layers * cache.index_flops * load.prompt_length / 2 * prompts
            choices += cache.num_layers * prompts
        if load.prompt_length:
            num_bytes += cache.num_layers * cache.read * element / ranks * prompts  # written, and read once
    return AttentionWork(num_bytes, decoding, prompting, indexing, choices)


def prompt_flops(cache: Cache, length: float, ranks: int) -> float:
    """Return the operations of a layer's attention on one rank for a token of a prompt, on average: over half
    of the prompt, or less behind a window or an indexer. A prompt of which an indexer would choose everything
    is read as without one.

    >>> from ..model.attention import DSA, MLA
    >>> from .attention_cache import cache_of
    >>> sparse = cache_of(DSA(MLA(128, 1536, 512, 128, 64, 128), 64, 128, 2048))
    >>> [round(prompt_flops(sparse, 2048, ranks) / prompt_flops(sparse, 4096, ranks), 2) for ranks in (1, 8)]
    [0.2, 0.05]
    """
    if cache.dense_flops and length <= cache.limit:
        return cache.dense_flops * length / 2 / ranks
    share = max(1 / ranks, min(SPARSE_HEADS / cache.heads, 1.0)) if cache.heads else 1 / ranks
    return cache.prefill_flops * _mean_read(cache, length) * share


def _mean_read(cache: Cache, length: float) -> float:
    """Return the tokens that a token of a prompt reads on average: half of the prompt, or where no more than
    a limit is read, that of all but those at the beginning."""
    entries = length / cache.ratio
    most = float(cache.limit or entries)
    chosen = entries / 2 if entries <= most else most - most * most / (2 * entries)
    window = min(float(cache.window), length)
    return chosen + (window - window * window / (2 * length) if length else 0.0)


def attention_seconds(
    work: AttentionWork, machine: Machine, engine: str, conditions: frozenset[str]
) -> tuple[float, float]:
    """Return (seconds of reading the cache, seconds of operations beside it): decoding reads while it
    computes. An indexer's scores are FP8, and its choice is a row a token and multiprocessor."""
    cache_s = work.cache_bytes / (machine.bytes_per_s * machine.reached("cache", engine, conditions))
    reached = machine.reached("attention", engine, conditions)
    rate = machine.peak("bf16") * reached
    prompt_s = work.prompt_flops / rate + work.index_flops / (machine.peak("fp8") * reached)
    if work.choices and machine.num_sms:
        prompt_s += work.choices * machine.reached("choice", engine, conditions) / machine.num_sms
    return cache_s, prompt_s + max(work.decode_flops / rate - cache_s, 0.0)


def cache_bytes_per_token(net: Network, split: Split, bits: int) -> float:
    """Return the bytes of cache that a token takes on a rank, windows counted as if they were whole."""
    return (
        added(
            each.num_layers
            * (
                each.read / (min(split.tp, each.kv_heads) if each.kv_heads else 1) * bits / 8 / each.ratio
                + each.index_bytes
            )
            for each in net.caches
        )
        / split.pp
    )
