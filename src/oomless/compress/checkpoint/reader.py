"""Reader: pieces of weights from files, one for each worker, with no tensor ever whole in memory."""

import os
from pathlib import Path
from typing import NamedTuple

from ...errors import OomlessError
from ...model.storage import Shape
from ..arithmetic.scratch import Array, Scratch, numpy
from ..codecs.codec import ITEM_BYTES, Codec, StoredPart
from ..codecs.floats8 import Float8
from ..codecs.plain import Plain
from .source import Located
from .stored_weight import StoredWeight

MAX_OPEN = 64
"""Files that a worker holds open; DeepSeek-V3 has 163."""


class MatrixBlock(NamedTuple):
    """Rows and columns of a matrix: from, up to."""

    row: int
    end_row: int
    column: int
    end_column: int

    @property
    def rows(self) -> int:
        return self.end_row - self.row

    @property
    def columns(self) -> int:
        return self.end_column - self.column


class Reader:
    """Open files and memory of one worker."""

    def __init__(self, files: tuple[Path, ...]) -> None:
        self.files, self.scratch = files, Scratch()
        self._open: dict[int, int] = {}

    def file(self, number: int) -> int:
        """Return the descriptor of a file; the one that was opened first is closed where there are many."""
        if number not in self._open:
            if len(self._open) >= MAX_OPEN:
                os.close(self._open.pop(next(iter(self._open))))
            try:
                self._open[number] = os.open(self.files[number], os.O_RDONLY)
            except OSError as error:
                raise OomlessError(
                    f"{self.files[number]}: cannot be read ({error.strerror})", "check the folder"
                ) from None
        return self._open[number]

    def close(self) -> None:
        """Close all files."""
        while self._open:
            os.close(self._open.popitem()[1])

    def bytes(self, number: int, start: int, into: Array) -> None:
        """Fill contiguous memory from a place of a file."""
        view = memoryview(into.reshape(-1).view(numpy().uint8))
        file, done = self.file(number), 0
        while done < len(view):
            got = os.preadv(file, [view[done:]], start + done)
            if not got:
                raise OomlessError(
                    f"{self.files[number]}: ends {len(view) - done:,} bytes too early",
                    "the file changed while it was read: fetch it again",
                )
            done += got

    def rows(self, located: Located, start: int, width: int, block: MatrixBlock, into: Array) -> None:
        """Fill `into` (rows x items) from a matrix whose rows are `width` items and which begins `start`
        bytes into a tensor; the block counts in rows and items of the matrix."""
        item = into.dtype.itemsize
        place = located.stored.start + start + (block.row * width + block.column) * item
        if block.columns == width:
            self.bytes(located.file, place, into)
            return
        for row in range(block.rows):
            self.bytes(located.file, place + row * width * item, into[row])

    def part(
        self, number: int, part: StoredPart, located: Located, shape: Shape, block: MatrixBlock
    ) -> Array:
        """Return one part of a block of a stored weight."""
        name = f"part {number}"
        if part.once:
            into = self.scratch.take(name, part.array, located.stored.num_bytes // ITEM_BYTES[part.array])
            self.bytes(located.file, located.stored.start, into)
            return into
        width = part.columns(shape[1])
        mine = MatrixBlock(
            block.row // part.rows,
            -(-block.end_row // part.rows),
            *part.across(block.column, block.end_column),
        )
        into = self.scratch.take(name, part.array, mine.rows, mine.columns)
        self.rows(located, 0, width, mine, into)
        return into

    def weight(self, weight: StoredWeight, block: MatrixBlock) -> Array:
        """Return a block of a weight as bfloat16 bits or float32.

        FP8 in blocks becomes bfloat16 first, as DeepSeek's own cast makes it: what is quantised from it is
        what would be quantised from that cast.
        """
        assert weight.codec is not None
        parts = tuple(
            self.part(number, part, located, weight.shape, block)
            for number, (part, located) in enumerate(zip(weight.codec.parts, weight.parts, strict=True))
        )
        return self.decoded(weight.codec, parts, block)

    def decoded(self, codec: Codec, parts: tuple[Array, ...], block: MatrixBlock) -> Array:
        """Return parts of a block as bfloat16 bits or float32."""
        match codec:
            case Plain("BF16") | Plain("F32"):
                return parts[0]
            case Float8((128, 128)):
                bits = self.scratch.take("decoded bits", "uint16", block.rows, block.columns)
                codec.decode_narrow(parts, bits, self.scratch)
                return bits
        values = self.scratch.take("decoded values", "float32", block.rows, block.columns)
        codec.decode(parts, values, self.scratch)
        return values
