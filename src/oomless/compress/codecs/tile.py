"""Tile: a block of one matrix that lies in the processor's cache while it is encoded."""

from ...errors import OomlessError
from ..arithmetic.bfloat16 import INFINITY, MAGNITUDE, widen, widen_pairs
from ..arithmetic.maxima import block_maxima, reduced
from ..arithmetic.packing import move_up
from ..arithmetic.scratch import Array, Scratch, numpy

NOT_FINITE = "an infinite weight, or one that is no number"


class NotFinite(OomlessError):  # noqa: N818 - a fault of a file, told with the tensor's name
    """A weight is infinite or no number: no scale could hold it."""


class Tile:
    """Rows of one matrix as bfloat16 (16-bit integers) or float32, with what codecs ask of them.

    `known` holds maxima that an earlier pass has found: of each row, or one for the whole tensor.
    """

    def __init__(self, raw: Array, scratch: Scratch, known: Array | None = None) -> None:
        self.raw, self.scratch, self.known = raw, scratch, known
        self.rows, self.columns = raw.shape
        self._plain = raw.dtype.itemsize == 4
        self._values: Array | None = None
        self._magnitudes: Array | None = None

    def values(self) -> Array:
        """Return the block as contiguous float32."""
        if self._values is None and self._plain:
            self._values = numpy().ascontiguousarray(self.raw)
        elif self._values is None:
            self._values = self.scratch.take("tile values", "float32", self.rows, self.columns)
            widen(self.raw, self._values)
        return self._values

    def pairs(self) -> Array:
        """Return the block as float32, even columns first, then odd ones: 2 x rows x half; an odd last column
        has a zero beside it."""
        return self._halves("tile pairs", self.raw)

    def magnitude_pairs(self) -> Array:
        """Return |values| in the same order."""
        bits = self.bits()
        found = self._halves("tile magnitude pairs", self.raw if bits is None else bits)
        return numpy().abs(found, out=found) if bits is None else found

    def _halves(self, name: str, bits: Array) -> Array:
        np = numpy()
        half = -(-self.columns // 2)
        out = self.scratch.take(name, "float32", 2, self.rows, half)
        if not self._plain and self.columns % 2 == 0:
            widen_pairs(bits, out)
            return out
        values = bits
        if not self._plain:
            values = self.scratch.take("tile odd values", "float32", self.rows, self.columns)
            widen(bits, values)
        np.copyto(out[0], values[:, 0::2])
        np.copyto(out[1, :, : self.columns // 2], values[:, 1::2])
        out[1, :, self.columns // 2 :] = 0
        return out

    def set_signs(self, codes: Array, bit: int) -> None:
        """Set a bit of the code (a byte each) of every value that is negative."""
        np = numpy()
        numbers = self.raw.view(np.int32 if self._plain else np.int16)
        negative = self.scratch.take("tile negative", "bool", self.rows, self.columns)
        np.less(numbers, 0, out=negative)
        signs = negative.view(np.uint8)
        move_up(signs, bit, signs)
        np.bitwise_or(codes, signs, out=codes)

    def largest(self) -> Array:
        """Return the largest magnitude of all values, in float32 (1 x 1).

        Of bfloat16 no magnitude is written: the largest positive one is the largest as a signed integer, the
        largest negative one the largest as an unsigned.
        """
        np = numpy()
        if self._plain:
            found = self.comparable().max(initial=0)
        else:
            negative, positive = self.raw.max(initial=0), self.raw.view(np.int16).max(initial=0)
            found = max(int(negative) & MAGNITUDE, int(positive))
        return self._finite(np.array([[found]], self.raw.dtype))

    def maxima(self, group: int) -> Array:
        """Return the largest magnitude of each `group` columns (0: of the row, or what an earlier pass
        knows), rows x groups in float32."""
        if group == 0 and self.known is not None:
            return self.known
        return self._finite(reduced(self.comparable(), group, "maximum", self.scratch))

    def block_maxima(self, block: tuple[int, int]) -> Array:
        """Return the largest magnitude of each block of rows x columns in float32."""
        return self._finite(block_maxima(self.comparable(), block))

    def bounds(self, group: int) -> tuple[Array, Array]:
        """Return the smallest and the largest value of each `group` columns in float32."""
        np = numpy()
        if self._plain:
            found = [
                reduced(self.values(), group, operation, self.scratch) for operation in ("minimum", "maximum")
            ]
        else:
            found = [self._from_order(each) for each in self._ordered_bounds(group)]
        if not all(np.isfinite(each).all() for each in found):
            raise NotFinite(NOT_FINITE)
        return found[0], found[1]

    def _ordered_bounds(self, group: int) -> list[Array]:
        """Bounds of bfloat16 as signed integers that are ordered as the numbers are: those of negative ones
        are flipped."""
        np = numpy()
        signed = self.raw.view(np.int16)
        ordered = self.scratch.take("tile order", "int16", self.rows, self.columns)
        np.right_shift(signed, 15, out=ordered)
        np.bitwise_and(ordered, MAGNITUDE, out=ordered)
        np.bitwise_xor(ordered, signed, out=ordered)
        return [reduced(ordered, group, operation, self.scratch) for operation in ("minimum", "maximum")]

    def _from_order(self, ordered: Array) -> Array:
        np = numpy()
        found = np.empty(ordered.shape, np.float32)
        widen((ordered ^ (ordered >> 15 & MAGNITUDE)).view(np.uint16), found)
        return found

    def bits(self) -> Array | None:
        """Return the magnitudes of bfloat16 as integers, which are ordered as the numbers are; None of
        float32."""
        if self._magnitudes is None and not self._plain:
            self._magnitudes = self.scratch.take("tile bits", "uint16", self.rows, self.columns)
            numpy().bitwise_and(self.raw, MAGNITUDE, out=self._magnitudes)
        return self._magnitudes

    def comparable(self) -> Array:
        """Return what is ordered as the magnitudes are: these themselves, or `bits`."""
        bits = self.bits()
        if bits is not None:
            return bits
        values = self.scratch.take("tile magnitudes", "float32", self.rows, self.columns)
        return numpy().abs(self.raw, out=values)

    def _finite(self, maxima: Array) -> Array:
        """Maxima as float32; an error if one is infinite or no number."""
        np = numpy()
        if self._plain:
            wrong = not np.isfinite(maxima).all()
            found = maxima
        else:
            wrong = bool(maxima.max(initial=0) >= INFINITY)
            found = np.empty(maxima.shape, np.float32)
            widen(maxima, found)
        if wrong:
            raise NotFinite(NOT_FINITE)
        return found
