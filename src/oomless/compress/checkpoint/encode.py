"""From a block that was read to the parts that are written, in pieces that a thread works on without asking
for Python's lock too often."""

from ..arithmetic.scratch import Array, Scratch, numpy
from ..codecs.codec import Codec, Parts
from ..codecs.plain import Plain
from ..codecs.tile import Tile

TILE_VALUES = 1 << 19
"""Values in a tile: 1 MiB of bfloat16, 2 MiB of float32. An operation on an eighth of that takes some 30
microseconds, and threads spend more time handing Python's lock to one another than at work: two of them were
slower than one (measured, int4: 650 MB/s with two threads for 860 with one; with this tile 1,500)."""


def encode(codec: Codec, raw: Array, known: Array | None, scratch: Scratch) -> Parts:
    """Return the parts of a block, in the thread's own memory; `known` holds maxima of its rows or of its
    tensor."""
    rows, columns = raw.shape
    out = tuple(
        scratch.take(NAMES[number], part.array, *part.array_shape(rows, columns))
        if not part.once
        else scratch.take(NAMES[number], part.array, 0, 0)
        for number, part in enumerate(codec.parts)
    )
    if isinstance(codec, Plain) and codec.dtype == "BF16" and raw.dtype.itemsize == 2:
        return (numpy().ascontiguousarray(raw),)
    step_rows, step_columns = codec.step
    width = columns
    if codec.scope != "row" and step_rows * columns > TILE_VALUES:
        width = max(TILE_VALUES // step_rows // step_columns, 1) * step_columns
    height = max(TILE_VALUES // max(width, 1) // step_rows, 1) * step_rows
    for row in range(0, rows, height):
        end = min(row + height, rows)
        mine = known[row:end] if known is not None and known.shape[0] > 1 else known
        for column in range(0, columns, width):
            stop = min(column + width, columns)
            tile = Tile(raw[row:end, column:stop], scratch, mine)
            codec.encode(tile, pieces(codec, out, (row, end), (column, stop)))
    return out


NAMES = tuple(f"written part {number}" for number in range(8))


def pieces(codec: Codec, out: Parts, rows: tuple[int, int], columns: tuple[int, int]) -> Parts:
    """Return where the parts of a tile lie in those of its block."""
    found = []
    for part, array in zip(codec.parts, out, strict=True):
        if part.once:
            found.append(array)
            continue
        across = slice(*part.across(*columns))
        found.append(array[rows[0] // part.rows : -(-rows[1] // part.rows), across])
    return tuple(found)
