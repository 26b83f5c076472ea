"""What attention costs a rank in a pass: bytes of cache that it reads, operations that it does."""

from typing import NamedTuple

from .load import Load, Split
from .machine import Machine
from .network import Cache, Network, tokens_read


class AttentionWork(NamedTuple):
    """Attention over all layers of one rank."""

    cache_bytes: float
    decode_flops: float
    """Of sequences that get a token."""
    prompt_flops: float


def attention_work(net: Network, split: Split, load: Load) -> AttentionWork:
    """Return the bytes and operations of attention, those of decoding and of prompts apart."""
    num_bytes = decoding = prompting = 0.0
    sequences, prompts = load.sequences / split.dp, load.prompt_tokens / (load.groups or split.dp)
    for cache in net.caches:
        ranks = min(split.tp, cache.kv_heads) if cache.kv_heads else 1
        read = tokens_read(cache, load.context)
        element = load.cache_bits / 8
        once = read * cache.read * element / ranks + load.context * cache.index_bytes + cache.state * 4
        num_bytes += cache.num_layers * once * sequences
        mean = _mean_read(cache, load.prompt_length)
        decoding += cache.num_layers * cache.decode_flops * read * sequences / split.tp
        prompting += cache.num_layers * cache.prefill_flops * mean * prompts / split.tp
        if load.prompt_length:
            num_bytes += cache.num_layers * cache.read * element / ranks * prompts  # written, and read once
    return AttentionWork(num_bytes, decoding, prompting)


def _mean_read(cache: Cache, length: float) -> float:
    """Return the tokens that a token of a prompt reads on average: half of the prompt, or less behind a
    window."""
    return tokens_read(cache, length / 2)


def attention_seconds(
    work: AttentionWork, machine: Machine, engine: str, conditions: frozenset[str]
) -> tuple[float, float]:
    """Return (seconds of reading the cache, seconds of operations beside it): decoding reads while it
    computes."""
    cache_s = work.cache_bytes / (machine.bytes_per_s * machine.reached("cache", engine, conditions))
    rate = machine.peak("bf16") * machine.reached("attention", engine, conditions)
    return cache_s, work.prompt_flops / rate + max(work.decode_flops / rate - cache_s, 0.0)


def cache_bytes_per_token(net: Network, split: Split, bits: int) -> float:
    """Return the bytes of cache that a token takes on a rank, windows counted as if they were whole."""
    return (
        sum(
            each.num_layers
            * (
                each.read / (min(split.tp, each.kv_heads) if each.kv_heads else 1) * bits / 8 / each.ratio
                + each.index_bytes
            )
            for each in net.caches
        )
        / split.pp
    )
