"""What every codec has: the bytes, the reader, the writer and the config entry of a stored weight, in one
record, so that what is predicted and what is written cannot differ."""

from collections.abc import Callable
from math import prod
from typing import Any, Literal, NamedTuple, Protocol

from ...model.safetensors import BITS
from ...model.storage import Format, Shape
from ..arithmetic.scratch import Array, Scratch
from .tile import Tile

Container = Literal["plain", "compressed-tensors", "deepseek", "bitsandbytes", "gguf"]
"""How a config tells engines of the format: not at all, in one of three sections, or in a file of its own
kind."""
Scope = Literal["tile", "row", "tensor", "fused"]
"""The largest piece of a weight that one scale is made from: what a tile holds, a whole row, the whole
tensor, or the tensors that engines fuse with it (q, k and v; gate and up)."""


class StoredPart(NamedTuple):
    """One tensor of those that a stored weight consists of."""

    suffix: str
    """What follows the name of the module."""
    dtype: str
    """safetensors' word."""
    array: str
    """The numpy type in which a codec writes it."""
    rows: int
    """Rows of the weight that one row covers; 0: the tensor has it once."""
    columns: Callable[[int], int]
    """Elements of `array` in a row, for so many columns of the weight."""
    once: Callable[[Shape], Shape] | None = None
    """The shape of a part that the tensor has once."""
    flat: int = 0
    """How many dimensions the header says instead of two: 1 = all in one, 2 with a last one of 1
    (bitsandbytes)."""

    def array_shape(self, rows: int, columns: int) -> tuple[int, int]:
        """Return the shape of the array that holds this part of a block."""
        return -(-rows // self.rows), self.columns(columns)

    def across(self, begin: int, end: int) -> tuple[int, int]:
        """Return from and up to which element of a row columns of the weight reach; a single one reaches over
        all."""
        first, last = (self.columns(begin) if begin else 0), self.columns(end)
        return (first, last) if first < last else (0, last)

    def shape(self, weight: Shape) -> Shape:
        """Return the shape that the header of a file says."""
        if self.once:
            return self.once(weight)
        rows, columns = self.array_shape(*weight)
        columns = columns * ITEM_BYTES[self.array] * 8 // BITS[self.dtype]
        return {0: (rows, columns), 1: (rows * columns,), 2: (rows * columns, 1)}[self.flat]

    def num_bytes(self, weight: Shape) -> int:
        """Return the bytes of the part."""
        return prod(self.shape(weight)) * BITS[self.dtype] // 8


ITEM_BYTES = {"uint8": 1, "int8": 1, "uint16": 2, "float16": 2, "float32": 4, "int32": 4, "int64": 8}


class Steps(NamedTuple):
    """What the codes of groups count in: rows x groups."""

    stored: Array
    """The scales as the file holds them."""
    scales: Array
    """The same in float32."""
    zeros: Array | None = None
    """The codes that stand for 0."""


Parts = tuple[Array, ...]
"""One array for each stored part, of the rows that a tile covers."""


class Codec(Protocol):
    """How one kind of stored weight is made, read and described."""

    @property
    def name(self) -> str: ...
    @property
    def form(self) -> Format: ...
    @property
    def parts(self) -> tuple[StoredPart, ...]: ...
    @property
    def container(self) -> Container: ...
    @property
    def scope(self) -> Scope: ...
    @property
    def step(self) -> tuple[int, int]:
        """Rows and columns of which a tile is a multiple, but at the end of a tensor."""

    def refusal(self, shape: Shape) -> str:
        """Why a weight of this shape cannot be stored so; "" if it can."""

    def whole(self, shape: Shape, known: Array | None) -> dict[str, Array]:
        """Return, by suffix, the parts that a tensor has once; `known` is what an earlier pass found of the
        tensor."""

    def encode(self, tile: Tile, out: Parts) -> None:
        """Write the other parts of a tile; `out` has a place for each part, in the order of `parts`."""

    def decode(self, parts: Parts, out: Array, scratch: Scratch) -> None:
        """Write the values of a block as float32, from all its parts."""

    def scheme(self) -> dict[str, Any]:
        """The entry of a config for modules that are stored so."""


def split_group(shape: Shape, columns: int) -> str:
    """Return why a weight cannot be stored in groups of so many columns: the last would be cut."""
    return f"{shape[1]:,} columns are no multiple of {columns}" if shape[1] % columns else ""


def num_bytes(codec: Codec, shape: Shape) -> int:
    """Return the bytes of a stored weight: the sum of its parts."""
    return sum(part.num_bytes(shape) for part in codec.parts)


def same(columns: int) -> int:
    """Return an element for each column."""
    return columns


def once(suffix: str, dtype: str, array: str, shape: Callable[[Shape], Shape]) -> StoredPart:
    """Return a part that the tensor has once."""
    return StoredPart(suffix, dtype, array, 0, lambda columns: 0, shape)
