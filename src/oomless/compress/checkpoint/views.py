"""Views: matrices as the target wants them, made of what the source stores: a weight as it is, one expert out
of a fused tensor, rows in another order, several below each other."""

from typing import NamedTuple, Protocol

from ...model.storage import Shape
from ..arithmetic.scratch import Array, numpy
from ..codecs.codec import Codec
from ..codecs.plain import ARRAYS, Plain
from .reader import MatrixBlock, Reader
from .stored_weight import StoredWeight


class View(Protocol):
    """A matrix that can be read in blocks."""

    @property
    def shape(self) -> Shape: ...
    @property
    def step(self) -> tuple[int, int]:
        """Rows and columns of which a block must be a multiple, but at the end."""

    def read(self, reader: Reader, block: MatrixBlock) -> Array:
        """Return a block as bfloat16 bits or float32; it may lie in the reader's memory."""


class Whole(NamedTuple):
    """A weight as it is stored."""

    weight: StoredWeight

    @property
    def shape(self) -> Shape:
        return self.weight.shape

    @property
    def step(self) -> tuple[int, int]:
        codec: Codec | None = self.weight.codec
        return codec.step if codec else (1, 1)

    def read(self, reader: Reader, block: MatrixBlock) -> Array:
        return reader.weight(self.weight, block)


class Expert(NamedTuple):
    """Rows of one expert out of a tensor experts x rows x columns, or experts x columns x rows."""

    weight: StoredWeight
    number: int
    first: int
    rows: int
    transposed: bool

    @property
    def shape(self) -> Shape:
        return self.rows, self.weight.shape[1 if self.transposed else 2]

    @property
    def step(self) -> tuple[int, int]:
        return 1, 1

    def read(self, reader: Reader, block: MatrixBlock) -> Array:
        codec = self.weight.codec
        assert isinstance(codec, Plain)
        _, height, width = self.weight.shape
        array = ARRAYS[codec.dtype]
        start = self.number * height * width * numpy().dtype(array).itemsize
        row, end = self.first + block.row, self.first + block.end_row
        if not self.transposed:
            into = reader.scratch.take("expert", array, block.rows, block.columns)
            place = MatrixBlock(row, end, block.column, block.end_column)
            reader.rows(self.weight.parts[0], start, width, place, into)
        else:
            across = reader.scratch.take("expert across", array, block.columns, block.rows)
            place = MatrixBlock(block.column, block.end_column, row, end)
            reader.rows(self.weight.parts[0], start, width, place, across)
            into = reader.scratch.take("expert", array, block.rows, block.columns)
            numpy().copyto(into, across.T)
        return reader.decoded(codec, (into,), block)


class Reordered(NamedTuple):
    """The rows of each head in another order: first halves and second halves of a rotary head taken in turn,
    as llama.cpp's Llama wants them."""

    view: View
    heads: int

    @property
    def shape(self) -> Shape:
        return self.view.shape

    @property
    def step(self) -> tuple[int, int]:
        return self.view.shape[0] // self.heads, self.view.step[1]

    def read(self, reader: Reader, block: MatrixBlock) -> Array:
        found = self.view.read(reader, block)
        size = self.view.shape[0] // self.heads
        turned = found.reshape(block.rows // size, 2, size // 2, block.columns).swapaxes(1, 2)
        return turned.reshape(block.rows, block.columns)


class HeadPart(NamedTuple):
    """Rows of each head of an MLA's kv_b_proj: the keys' part (transposed for llama.cpp) or the values'
    part."""

    view: View
    heads: int
    first: int
    rows: int
    transposed: bool

    @property
    def shape(self) -> Shape:
        columns = self.view.shape[1]
        return (self.heads * columns, self.rows) if self.transposed else (self.heads * self.rows, columns)

    @property
    def step(self) -> tuple[int, int]:
        """A head at a time, all of its columns."""
        return self.shape[0] // self.heads, self.shape[1]

    def read(self, reader: Reader, block: MatrixBlock) -> Array:
        np = numpy()
        height, columns = self.view.shape[0] // self.heads, self.view.shape[1]
        per_head = self.shape[0] // self.heads
        found = []
        for head in range(block.row // per_head, -(-block.end_row // per_head)):
            begin = head * height + self.first
            step = self.view.step[0]
            aligned = begin // step * step
            end = min(-(-(begin + self.rows) // step) * step, self.view.shape[0])
            whole = self.view.read(reader, MatrixBlock(aligned, end, 0, columns))
            mine = whole[begin - aligned : begin - aligned + self.rows]
            found.append(mine.T.copy() if self.transposed else mine.copy())
        return np.concatenate(found)


class Stacked(NamedTuple):
    """Matrices of the same shape below each other: the experts of a layer in one tensor."""

    views: tuple[View, ...]

    @property
    def shape(self) -> Shape:
        rows, columns = self.views[0].shape
        return rows * len(self.views), columns

    @property
    def step(self) -> tuple[int, int]:
        """A block never crosses from one matrix to the next."""
        return self.views[0].step

    def read(self, reader: Reader, block: MatrixBlock) -> Array:
        rows = self.views[0].shape[0]
        number, first = divmod(block.row, rows)
        assert first + block.rows <= rows
        return self.views[number].read(
            reader, MatrixBlock(first, first + block.rows, block.column, block.end_column)
        )


class Computed(NamedTuple):
    """A row of numbers that no checkpoint stores: they follow from the config."""

    values: tuple[float, ...]

    @property
    def shape(self) -> Shape:
        return 1, len(self.values)

    @property
    def step(self) -> tuple[int, int]:
        return 1, 1

    def read(self, reader: Reader, block: MatrixBlock) -> Array:
        np = numpy()
        return np.array([self.values[block.column : block.end_column]], np.float32)
