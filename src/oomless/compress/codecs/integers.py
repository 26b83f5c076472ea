"""Integers of 2, 4 or 8 bits with a scale a row or a group, with or without a zero point: compressed-tensors'
`int-quantized` (8 bits a row) and `pack-quantized`."""

from typing import Any, NamedTuple

from ...model.storage import Format, Shape
from ..arithmetic.bfloat16 import rounded, widen
from ..arithmetic.maxima import spread, spread_pairs
from ..arithmetic.packing import join_pairs, unpack
from ..arithmetic.scratch import Array, Scratch, numpy
from .codec import Container, Parts, Scope, Steps, StoredPart, once, same
from .plain import ARRAYS
from .tile import Tile

MAGIC = 1.5 * 2**23
"""Added to a float32 it leaves no place for anything below 1: the sum is rounded to the nearest, ties to
even, and its lowest bits (16 of them) are the integer."""
SMALLEST = {"BF16": 2.0**-120, "F16": 2.0**-24, "F32": 2.0**-120}
"""The least scale by its type: a group of zeros needs one that can divide."""
SHAPE_BYTES = 16


class Integers(NamedTuple):
    """Whole numbers of a few bits; arithmetic in float32, the scale rounded to its stored type before
    dividing."""

    bits: int
    group: int
    """Columns that share a scale; 0: the row."""
    zeros: bool
    scale_dtype: str
    packed: bool
    """Several in a 32-bit word, for engines that widen weights; else a byte each, for products of integers.
    """
    kind: str = "integers"

    @property
    def name(self) -> str:
        kind = f"int{self.bits}" + ("-asym" if self.zeros else "")
        return f"{kind}-g{self.group}" if self.group else f"{kind}-packed" if self.packed else kind

    @property
    def form(self) -> Format:
        scale_bits = 32 if self.scale_dtype == "F32" else 16
        return Format(
            self.name,
            self.bits,
            (1, self.group),
            scale_bits,
            self.bits if self.zeros else 0,
            tensor_bytes=SHAPE_BYTES if self.packed else 0,
        )

    @property
    def parts(self) -> tuple[StoredPart, ...]:
        scale = StoredPart(".weight_scale", self.scale_dtype, ARRAYS[self.scale_dtype], 1, self.num_groups)
        if not self.packed:
            return StoredPart(".weight", "I8", "int8", 1, same), scale
        found = [
            StoredPart(".weight_packed", "I32", "uint8", 1, self.packed_bytes),
            scale,
            once(".weight_shape", "I64", "int64", lambda shape: (2,)),
        ]
        if self.zeros:
            found.append(StoredPart(".weight_zero_point", "I32", "int32", 32 // self.bits, self.num_groups))
        return tuple(found)

    @property
    def container(self) -> Container:
        return "compressed-tensors"

    @property
    def scope(self) -> Scope:
        return "tile" if self.group else "row"

    @property
    def step(self) -> tuple[int, int]:
        return (32 // self.bits if self.zeros else 1), max(self.group, 32 // self.bits)

    @property
    def lowest(self) -> int:
        return -(1 << (self.bits - 1))

    def num_groups(self, columns: int) -> int:
        """Scales of a row."""
        return columns // self.group if self.group else 1

    def packed_bytes(self, columns: int) -> int:
        """Bytes of a row, in whole words."""
        return -(-columns * self.bits // 32) * 4

    def refusal(self, shape: Shape) -> str:
        if self.group and shape[1] % self.group:
            return f"{shape[1]:,} columns are no multiple of the group of {self.group}"
        return ""

    def steps(self, tile: Tile) -> Steps:
        """Return scales and zero points for nearest rounding."""
        if self.zeros:
            return self.between(*tile.bounds(self.group))
        return self.up_to(tile.maxima(self.group))

    def up_to(self, largest: Array) -> Steps:
        """Return scales for groups of these largest magnitudes: / ((2**bits - 1) / 2), so that -8 is used as
        7 is."""
        levels = (1 << self.bits) - 1
        return Steps(*self.stored_scales(largest / numpy().float32(levels / 2)))

    def between(self, lowest: Array, highest: Array) -> Steps:
        """Return scales, (highest - lowest) / (2**bits - 1), and zeros, the integers that stand for 0."""
        np = numpy()
        levels = (1 << self.bits) - 1
        lowest, highest = np.minimum(lowest, 0), np.maximum(highest, 0)
        bits, scales = self.stored_scales((highest - lowest) / np.float32(levels))
        zeros = np.clip(np.rint(self.lowest - lowest / scales), self.lowest, self.lowest + levels)
        return Steps(bits, scales, zeros)

    def stored_scales(self, scales: Array) -> tuple[Array, Array]:
        """Return scales as they are stored, and as float32 again."""
        np = numpy()
        return rounded(np.maximum(scales, np.float32(SMALLEST[self.scale_dtype])), self.scale_dtype)

    def whole(self, shape: Shape, known: Array | None) -> dict[str, Array]:
        return {".weight_shape": numpy().array(shape, numpy().int64)} if self.packed else {}

    def encode(self, tile: Tile, out: Parts) -> None:
        self.write(tile, self.steps(tile), out)

    def write(self, tile: Tile, steps: Steps, out: Parts) -> None:
        """Write a tile in steps that are given."""
        np = numpy()
        np.copyto(out[1], steps.stored)
        if steps.zeros is not None:
            np.copyto(out[3], self.packed_zeros(steps.zeros, out[3].shape[0]))
        self.store(self.codes(tile, steps.scales, steps.zeros), out[0], tile.scratch)

    def codes(self, tile: Tile, scales: Array, zeros: Array | None) -> Array:
        """Return the integers nearest to value / scale + zero, even columns first, then odd ones (2 x rows x
        half): those of 8 bits in words of 16, smaller ones in bytes; packed ones count from 0."""
        np = numpy()
        quotients = tile.pairs()
        half = quotients.shape[2] * 2
        group = self.group or half
        np.divide(quotients, spread_pairs(scales, group, half), out=quotients)
        if zeros is not None:
            np.rint(quotients, out=quotients)
            np.add(quotients, spread_pairs(zeros, group, half), out=quotients)
        if (
            self.zeros or self.scale_dtype == "F16"
        ):  # float16 rounds small scales so far that a quotient may pass
            tile.scratch.at_least(quotients, self.lowest)
        np.add(quotients, np.float32(MAGIC - (self.lowest if self.packed else 0)), out=quotients)
        codes = tile.scratch.take("integer codes", "int16" if self.bits == 8 else "uint8", *quotients.shape)
        np.copyto(codes, quotients.view(np.int32), casting="unsafe")
        highest = -2 * self.lowest if self.packed else -self.lowest
        tile.scratch.at_most(codes, highest - 1)
        if not self.packed:  # the signs of even ones would fall into their neighbours
            np.bitwise_and(codes[0], 0xFF, out=codes[0])
        return codes.view(np.uint16 if self.bits == 8 else np.uint8)

    def store(self, codes: Array, out: Array, scratch: Scratch) -> None:
        """Write codes in the order that `codes` has as the first part of a tile."""
        np = numpy()
        bytes_each = codes.shape[2] * 2 * self.bits // 8
        if out.shape[1] == bytes_each:
            join_pairs(codes, self.bits, out.view(np.uint8), scratch)
            return
        wide = np.zeros((2, codes.shape[1], -(-codes.shape[2] // 16) * 16), codes.dtype)
        wide[:, :, : codes.shape[2]] = codes
        joined = np.empty((codes.shape[1], wide.shape[2] * 2 * self.bits // 8), np.uint8)
        join_pairs(wide, self.bits, joined, scratch)
        np.copyto(out.view(np.uint8), joined[:, : out.shape[1]])

    def packed_zeros(self, zeros: Array, rows: int) -> Array:
        """Return zero points packed along rows, the first in the lowest bits of a word."""
        np = numpy()
        per_word = 32 // self.bits
        words = np.zeros((rows * per_word, zeros.shape[1]), np.uint32)
        words[: zeros.shape[0]] = zeros - self.lowest
        total = np.zeros((rows, zeros.shape[1]), np.uint32)
        for place in range(per_word):
            total |= words[place::per_word] << np.uint32(self.bits * place)
        return total.view(np.int32)

    def decode(self, parts: Parts, out: Array, scratch: Scratch) -> None:
        np = numpy()
        rows, columns = out.shape
        scales = np.empty(parts[1].shape, np.float32)
        if self.scale_dtype == "BF16":
            widen(parts[1], scales)
        else:
            scales[...] = parts[1]
        if not self.packed:
            np.copyto(out, parts[0].view(np.int8))
        else:
            codes = scratch.take("integer codes", "uint8", rows, columns)
            unpack(parts[0], self.bits, codes)
            np.copyto(out, codes)
            np.add(out, np.float32(self.lowest), out=out)
        group = self.group or columns
        if self.zeros:
            np.subtract(out, spread(self.read_zeros(parts[3], rows), group, columns), out=out)
        np.multiply(out, spread(scales, group, columns), out=out)

    def read_zeros(self, words: Array, rows: int) -> Array:
        """Return the zero points of so many rows from their packed words."""
        np = numpy()
        per_word, mask = 32 // self.bits, (1 << self.bits) - 1
        found = np.empty((words.shape[0] * per_word, words.shape[1]), np.float32)
        for place in range(per_word):
            found[place::per_word] = words.view(np.uint32) >> np.uint32(self.bits * place) & np.uint32(mask)
        return found[:rows] + np.float32(self.lowest)

    def scheme(self) -> dict[str, Any]:
        weights: dict[str, Any] = {
            "num_bits": self.bits,
            "type": "int",
            "symmetric": not self.zeros,
            "strategy": "group" if self.group else "channel",
            "dynamic": False,
        }
        if self.group:
            weights["group_size"] = self.group
        inputs = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True}
        return {
            "weights": weights,
            "input_activations": None if self.packed else inputs,
            "output_activations": None,
            "format": "pack-quantized" if self.packed else "int-quantized",
        }
