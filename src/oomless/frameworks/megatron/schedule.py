"""The order in which a pipeline rank runs forwards and backwards of its chunks
(core/pipeline_parallel/schedules.py)."""

from collections.abc import Iterator
from typing import NamedTuple

from .run import Megatron


class ChunkPass(NamedTuple):
    """One micro-batch through one chunk."""

    forward: bool
    chunk: int


MOST_PASSES = 4096
"""Micro-batches beyond these repeat what came before."""


def passes(run: Megatron, rank: int, chunks: int) -> Iterator[ChunkPass]:
    """Forward and backward passes of one pipeline rank, in order.

    One stage: forward, backward. 1F1B: p - rank - 1 forwards ahead. Interleaved: 2 (p - rank - 1) + (v - 1) p
    chunks ahead, chunks in turns of p micro-batches, backwards in reversed order of chunks.
    """
    if run.dualpipe:
        yield from from_both_ends(run, rank)
        return
    micro = min(run.num_microbatches, max(1, MOST_PASSES // chunks), 4 * run.pp * chunks + 4)
    if chunks == 1:
        ahead = min(run.pp - rank - 1, micro)
        yield from (ChunkPass(True, 0) for _ in range(ahead))
        for _ in range(micro - ahead):
            yield ChunkPass(True, 0)
            yield ChunkPass(False, 0)
        yield from (ChunkPass(False, 0) for _ in range(ahead))
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
    yield from (ChunkPass(True, order[index]) for index in range(ahead))
    for index in range(ahead, total):
        yield ChunkPass(True, order[index])
        yield ChunkPass(False, back[index - ahead])
    yield from (ChunkPass(False, back[index]) for index in range(total - ahead, total))


def from_both_ends(run: Megatron, rank: int) -> Iterator[ChunkPass]:
    """Passes of DualPipe: half of the micro-batches enter at the first rank, half at the last. Of the near
    stage p - rank wait for their backward, of the far one rank + 1: p + 1 on every rank
    (deepseek-ai/DualPipe). The least that runs has as many micro-batches as two pipelines hold.
    """
    ahead = (run.pp - rank - 1, rank)
    each = max(1, min(run.num_microbatches // 2, 2 * run.pp))
    waiting = [min(number, each) for number in ahead]
    for chunk, number in enumerate(waiting):
        yield from (ChunkPass(True, chunk) for _ in range(number))
    for at in range(each):
        yield from (ChunkPass(True, chunk) for chunk in (0, 1) if at + waiting[chunk] < each)
        yield from (ChunkPass(False, chunk) for chunk in (0, 1))
