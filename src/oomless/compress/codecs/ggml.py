"""llama.cpp's block types. Q8_0 and Q4_0 are written here, the same bytes as gguf-py's several times faster;
what else the package can write goes through it, and all that it can read."""

from typing import Any, NamedTuple

from ...errors import need
from ...model.gguf_types import TYPES, GGMLType
from ...model.storage import Format, Shape
from ..arithmetic.maxima import spread
from ..arithmetic.scratch import Array, Scratch, numpy
from .codec import Container, Parts, Scope, StoredPart
from .tile import Tile

WRITES = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "TQ1_0", "TQ2_0", "MXFP4")
"""Types that can be written; K-quants and I-quants need llama.cpp's own search."""
BLOCK = 32
SIGN, BELOW_HALF_BITS = 0x80000000, 0x3EFFFFFF
"""The largest float32 below 0.5: added to a magnitude and cut off it rounds halves away from zero, and
nothing else."""


class GgmlBlocks(NamedTuple):
    """One of GGML's types, rows of blocks."""

    type_name: str
    kind: str = "ggml"

    @property
    def sizes(self) -> GGMLType:
        """Values and bytes a block."""
        return TYPES[self.type_name]

    @property
    def name(self) -> str:
        return self.type_name.lower()

    @property
    def form(self) -> Format:
        return self.sizes.format(self.sizes.block)

    @property
    def parts(self) -> tuple[StoredPart, ...]:
        return (StoredPart(".weight", "U8", "uint8", 1, self.row_bytes),)

    def row_bytes(self, columns: int) -> int:
        """Return the bytes of a row."""
        return columns // self.sizes.block * self.sizes.block_bytes

    @property
    def container(self) -> Container:
        return "gguf"

    @property
    def scope(self) -> Scope:
        return "tile"

    @property
    def step(self) -> tuple[int, int]:
        return 1, self.sizes.block

    def refusal(self, shape: Shape) -> str:
        block = self.sizes.block
        return f"{shape[-1]:,} columns are no multiple of the block of {block}" if shape[-1] % block else ""

    def whole(self, shape: Shape, known: Array | None) -> dict[str, Array]:
        return {}

    def encode(self, tile: Tile, out: Parts) -> None:
        match self.type_name:
            case "Q8_0":
                write_q8_0(tile, out[0])
            case "Q4_0":
                write_q4_0(tile, out[0])
            case "BF16" if tile.raw.dtype.itemsize == 2:
                numpy().copyto(out[0], numpy().ascontiguousarray(tile.raw).view(numpy().uint8))
            case _:
                tile.maxima(0)  # the package writes infinities without a word
                quants = need("gguf.quants", "compress")
                number = need("gguf.constants", "compress").GGMLQuantizationType[self.type_name]
                stored = quants.quantize(tile.values(), number)
                numpy().copyto(out[0], stored.view(numpy().uint8).reshape(tile.rows, -1))

    def decode(self, parts: Parts, out: Array, scratch: Scratch) -> None:
        quants = need("gguf.quants", "compress")
        number = need("gguf.constants", "compress").GGMLQuantizationType[self.type_name]
        numpy().copyto(out, quants.dequantize(parts[0], number))

    def scheme(self) -> dict[str, Any]:
        return {}


def write_q8_0(tile: Tile, out: Array) -> None:
    """Write blocks of 32: a float16 scale (largest magnitude / 127), then bytes; the scale divides before it
    is rounded, and halves go away from zero, as ggml does."""
    np = numpy()
    rows, columns = tile.rows, tile.columns
    scales = tile.maxima(BLOCK) / np.float32(127)
    with np.errstate(divide="ignore"):
        factors = np.where(scales == 0, np.float32(0), np.float32(1) / scales)
    quotients = tile.scratch.take("ggml quotients", "float32", rows, columns)
    halves = tile.scratch.take("ggml halves", "float32", rows, columns)
    np.multiply(tile.values(), spread(factors, BLOCK, columns), out=quotients)
    words = halves.view(np.uint32)
    np.bitwise_and(quotients.view(np.uint32), SIGN, out=words)
    np.bitwise_or(words, BELOW_HALF_BITS, out=words)
    np.add(quotients, halves, out=quotients)
    codes = tile.scratch.take("ggml codes", "int8", rows, columns)
    np.copyto(codes, quotients, casting="unsafe")
    store_blocks(scales, codes, out)


def store_blocks(scales: Array, codes: Array, out: Array) -> None:
    """Write a float16 scale and the bytes of its codes, block by block: each goes as one item, since numpy
    spends its time between the rows of a block."""
    np = numpy()
    bytes_each = codes.nbytes // scales.size
    blocks = np.dtype([("scale", "<f2"), ("codes", f"V{bytes_each}")])
    into = np.ascontiguousarray(out).view(blocks)
    into["scale"] = scales
    into["codes"] = codes.view(f"V{bytes_each}").reshape(scales.shape)
    if not np.may_share_memory(into, out):
        np.copyto(out, into.view(np.uint8))


def write_q4_0(tile: Tile, out: Array) -> None:
    """Write blocks of 32: a float16 scale (the value of largest magnitude / -8), then nibbles, the first half
    of the block in the lower ones; value / scale + 8.5 is cut off."""
    np = numpy()
    rows, columns = tile.rows, tile.columns
    values = tile.values()
    scales = largest(tile) / np.float32(-8)
    with np.errstate(divide="ignore"):
        factors = np.where(scales == 0, np.float32(0), np.float32(1) / scales)
    quotients = tile.scratch.take("ggml quotients", "float32", rows, columns)
    np.multiply(values, spread(factors, BLOCK, columns), out=quotients)
    np.add(quotients, np.float32(8.5), out=quotients)
    codes = tile.scratch.take("ggml codes", "uint8", rows, columns)
    np.copyto(codes, quotients, casting="unsafe")
    tile.scratch.at_most(codes, 15)
    eights = codes.view(np.uint64).reshape(
        -1, 4
    )  # a block is four words: two of its first half, two of its second
    packed = tile.scratch.take("ggml packed", "uint64", eights.shape[0], 2)
    for word in (0, 1):
        np.left_shift(eights[:, 2 + word], 4, out=packed[:, word])
        np.bitwise_or(packed[:, word], eights[:, word], out=packed[:, word])
    store_blocks(scales, packed, out)


def largest(tile: Tile) -> Array:
    """Return the value of largest magnitude of each block of 32, with its sign; of equal ones the first."""
    np = numpy()
    lowest, highest = tile.bounds(BLOCK)
    found = np.where(highest >= -lowest, highest, lowest)
    both = (highest == -lowest) & (highest > 0)
    if both.any():
        groups = tile.values().reshape(*found.shape, BLOCK)[both]
        place = np.abs(groups).argmax(axis=1)
        found[both] = np.take_along_axis(groups, place[:, None], axis=1)[:, 0]
    return found
