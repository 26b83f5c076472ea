"""The order in which a pipeline rank runs forwards and backwards of its chunks
(core/pipeline_parallel/schedules.py)."""

from collections.abc import Iterator
from typing import NamedTuple

from .run import Megatron


class ChunkPass(NamedTuple):
    """One micro-batch through one chunk."""

    forward: bool
    chunk: int
    beside: int | None = None
    """The chunk whose pass the other way runs at the same time."""


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
    """Passes of DualPipe: half of the micro-batches enter at the first rank, half at the last. Of the stage
    nearer to its entry p - half - 1 wait for their backward, of the other half + 1, and a forward runs beside
    a backward of the other chunk: p + 1 on every rank (deepseek-ai/DualPipe, dualpipe.py step). The least
    that runs has as many micro-batches as two pipelines hold.
    """
    half = min(rank, run.pp - rank - 1)
    near, far = (0, 1) if rank == half else (1, 0)
    each = max(1, min(run.num_microbatches // 2, 2 * run.pp))
    waiting = {near: min(run.pp - half - 1, each), far: min(half + 1, each)}
    for chunk in (near, far):
        yield from (ChunkPass(True, chunk) for _ in range(waiting[chunk]))
    for at in range(each):
        for ahead, back in ((near, far), (far, near)):
            if at + waiting[ahead] < each:
                yield ChunkPass(True, ahead, back)
                yield ChunkPass(False, back, ahead)
            else:
                yield ChunkPass(False, back)
