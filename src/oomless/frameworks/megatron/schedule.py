"""The order in which a pipeline rank runs forwards and backwards of its chunks
(core/pipeline_parallel/schedules.py)."""

from collections.abc import Iterator
from typing import NamedTuple

from .run import Megatron


class Pass(NamedTuple):
    """One micro-batch through one chunk."""

    forward: bool
    chunk: int


MOST_PASSES = 4096
"""Micro-batches beyond these repeat what came before."""


def passes(run: Megatron, rank: int, chunks: int) -> Iterator[Pass]:
    """Forward and backward passes of one pipeline rank, in order.

    One stage: forward, backward. 1F1B: p - rank - 1 forwards ahead. Interleaved: 2 (p - rank - 1) + (v - 1) p
    chunks ahead, chunks in turns of p micro-batches, backwards in reversed order of chunks.
    """
    micro = min(run.num_microbatches, max(1, MOST_PASSES // chunks), 4 * run.pp * chunks + 4)
    if chunks == 1:
        ahead = min(run.pp - rank - 1, micro)
        yield from (Pass(True, 0) for _ in range(ahead))
        for _ in range(micro - ahead):
            yield Pass(True, 0)
            yield Pass(False, 0)
        yield from (Pass(False, 0) for _ in range(ahead))
        return
    total = micro * chunks
    group = max(run.group_size, 1)
    order = [
        chunk
        for start in range(0, micro, group)
        for chunk in range(chunks)
        for _ in range(min(group, micro - start))
    ]
    ahead = min(2 * (run.pp - rank - 1) + (chunks - 1) * group, total)
    back = [chunks - 1 - chunk for chunk in order]
    yield from (Pass(True, order[index]) for index in range(ahead))
    for index in range(ahead, total):
        yield Pass(True, order[index])
        yield Pass(False, back[index - ahead])
    yield from (Pass(False, back[index]) for index in range(total - ahead, total))
