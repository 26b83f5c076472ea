"""Jobs: what is done at a time. Each reads a few megabytes, works in a few pieces, and writes to places that
nobody else writes to."""

from collections.abc import Iterator
from math import lcm
from typing import NamedTuple

from ..codecs.codec import Codec
from .encode import TILE_VALUES
from .reader import MatrixBlock
from .target import Target, TargetWeight
from .views import Stacked, View

BLOCK_VALUES = 2 * TILE_VALUES
"""Values that a job reads at once: 2 MB of bfloat16."""
COPY_BYTES = 1 << 21
WIDE_ROW = 1 << 22
"""A row of more values is read in pieces, twice: once for its maximum."""


class Copy(NamedTuple):
    """Bytes that stay: from a tensor of the source to its place."""

    weight: int
    piece: int
    start: int
    num_bytes: int

    @property
    def written(self) -> int:
        return self.num_bytes


class Encode(NamedTuple):
    """A block of a weight that is written anew."""

    weight: int
    block: MatrixBlock
    written: int
    """Bytes that it writes, about."""


class Measure(NamedTuple):
    """A block of which maxima are taken, for scales that more than a block has a share in."""

    weight: int
    block: MatrixBlock
    num_blocks: int
    """How many measurements what shares this maximum has in all."""


Job = Copy | Encode | Measure


def blocks(view: View, codec: Codec | None) -> Iterator[MatrixBlock]:
    """Yield the blocks of a weight: whole rows where they fit, in steps that neither its reader nor its
    writer divides."""
    view_step, own_step = view.step, codec.step if codec else (1, 1)
    rows_each = view.views[0].shape[0] if isinstance(view, Stacked) else view.shape[0]
    total, columns = view.shape
    rows_step, columns_step = lcm(view_step[0], own_step[0]), lcm(view_step[1], own_step[1])
    width = columns
    if rows_step * columns > 2 * BLOCK_VALUES:
        width = max(BLOCK_VALUES // rows_step // columns_step, 1) * columns_step
    rows = max(BLOCK_VALUES // max(min(width, columns), 1) // rows_step, 1) * rows_step
    for matrix in range(0, total, max(rows_each, 1)):
        end = matrix + rows_each
        for row in range(matrix, end, rows):
            for column in range(0, columns, max(width, 1)):
                yield MatrixBlock(row, min(row + rows, end), column, min(column + width, columns))


def needs_maxima(weight: TargetWeight) -> bool:
    """Return whether scales of a weight rest on more than a block: the tensor, its fused neighbours, a very
    long row."""
    if weight.codec is None:
        return False
    match weight.codec.scope:
        case "tile":
            return False
        case "row":
            return weight.view.shape[1] > WIDE_ROW
        case "tensor" | "fused":
            return True


def partners(weight: TargetWeight) -> str:
    """Return the name of what shares one maximum with a weight."""
    assert weight.codec is not None
    return weight.group if weight.codec.scope == "fused" else weight.name


def jobs_of(number: int, weight: TargetWeight) -> Iterator[Job]:
    """Yield the jobs that write one weight."""
    if weight.codec is None:
        for index, piece in enumerate(weight.pieces):
            for start in range(0, piece.num_bytes, COPY_BYTES):
                yield Copy(number, index, start, min(COPY_BYTES, piece.num_bytes - start))
        return
    total = weight.view.shape[0] * weight.view.shape[1] or 1
    for block in blocks(weight.view, weight.codec):
        yield Encode(number, block, weight.num_bytes * block.rows * block.columns // total)


def jobs(target: Target, begin: int, end: int) -> Iterator[tuple[int, Job]]:
    """Yield (place in the order of all writing jobs, job) from `begin` up to `end`, each after the
    measurements that it needs; those have the place of the job before which they come."""
    members: dict[str, list[int]] = {}
    for number, weight in enumerate(target.weights):
        if needs_maxima(weight):
            members.setdefault(partners(weight), []).append(number)
    measured: set[str] = set()
    place = 0
    for number, weight in enumerate(target.weights):
        for job in jobs_of(number, weight):
            if begin <= place < end:
                if needs_maxima(weight) and partners(weight) not in measured:
                    measured.add(partners(weight))
                    found = [
                        (other, block)
                        for other in members[partners(weight)]
                        for block in blocks(target.weights[other].view, None)
                    ]
                    yield from ((place, Measure(other, block, len(found))) for other, block in found)
                yield place, job
            place += 1


def num_jobs(target: Target) -> int:
    """Return how many jobs write the target."""
    return sum(1 for number, weight in enumerate(target.weights) for _ in jobs_of(number, weight))
