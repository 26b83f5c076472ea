"""FP8 E4M3 (no infinities, largest 448): float32 to codes, and codes to float32 or bfloat16."""

from functools import cache

from .bfloat16 import narrow_pairs, narrow_pairs_without_ties
from .maxima import spread_pairs
from .packing import join_pairs
from .scratch import Array, Scratch, numpy

LARGEST = 448.0
LARGEST_CODE = 0x7E
"""0x7F is no number."""
SHIFT = 2.0**120
"""float32's exponents begin 120 lower than E4M3's: a value divided by this has E4M3's bits in float32's
place."""
SMALLEST_SCALE = 2.0**-100
"""From here on every code but 0 times a scale is a normal number."""
SHIFTABLE = 64.0
"""Scales below this can carry SHIFT and stay finite."""


def encode(magnitudes: Array, scales: Array, scratch: Scratch) -> Array:
    """Return codes of `magnitudes / scales` as words, rounded to the nearest, ties to even; each scale is
    already spread to what it divides, and the magnitudes are written over.

    The quotient is divided by 2**120 with the same division, so that E4M3's subnormals become float32's and
    one rounding at bit 20 serves all. What is larger than 448 becomes 448.
    """
    np = numpy()
    words = scratch.take("float8 words", "uint32", *magnitudes.shape)
    if float(scales.max(initial=0.0)) < SHIFTABLE:
        np.divide(magnitudes, scales * np.float32(SHIFT), out=magnitudes)
    else:
        np.divide(magnitudes, scales, out=magnitudes)
        np.multiply(magnitudes, np.float32(1 / SHIFT), out=magnitudes)
    bits = magnitudes.view(np.uint32)
    np.right_shift(bits, 20, out=words)
    np.bitwise_and(words, 1, out=words)
    np.add(words, 0x7FFFF, out=words)
    np.add(words, bits, out=words)
    np.right_shift(words, 20, out=words)
    return words


def store(words: Array, out: Array, scratch: Scratch) -> None:
    """Write codes of magnitudes that come as words of even and odd columns."""
    np = numpy()
    codes = scratch.take("float8 codes", "uint16", *words.shape)
    np.copyto(codes, words, casting="unsafe")
    scratch.at_most(codes, LARGEST_CODE)
    if out.shape[1] % 2:
        np.copyto(out[:, 0::2], codes[0], casting="unsafe")
        np.copyto(out[:, 1::2], codes[1][:, :-1], casting="unsafe")
    else:
        join_pairs(codes, 8, out, scratch)


@cache
def values() -> Array:
    """Return the value of each of the 256 codes.

    >>> [float(values()[code]) for code in (0x00, 0x01, 0x38, 0x7E, 0xFE)]
    [0.0, 0.001953125, 1.0, 448.0, -448.0]
    """
    np = numpy()
    codes = np.arange(256)
    exponent, mantissa = codes >> 3 & 15, codes & 7
    found = np.where(exponent == 0, mantissa / 8 * 2.0**-6, (1 + mantissa / 8) * 2.0 ** (exponent - 7.0))
    found = np.where(codes & 0x7F == 0x7F, np.nan, found) * np.where(codes & 0x80, -1, 1)
    return found.astype(np.float32)


def decode(codes: Array, scales: Array, out: Array) -> None:
    """Write `value * scale` in float32; scales are spread to what they multiply."""
    np = numpy()
    np.take(values(), codes, out=out, mode="clip")
    np.multiply(out, scales, out=out)


def decode_blocks(codes: Array, scales: Array, block: tuple[int, int], out: Array, scratch: Scratch) -> None:
    """Write bfloat16 of an even number of columns of codes, whose scale (float32) counts for a block of
    rows x columns: what DeepSeek's own cast writes, bit by bit.

    A code's bits, moved into float32's places, are its value / 2**120; two neighbours are one 16-bit word.

    >>> import numpy
    >>> out = numpy.empty((1, 2), numpy.uint16)
    >>> one = numpy.ones((1, 1), numpy.float32)
    >>> decode_blocks(numpy.array([[0x38, 0xFE]], numpy.uint8), one, (128, 128), out, Scratch())
    >>> [hex(bits) for bits in out[0]]
    ['0x3f80', '0xc3e0']
    """
    np = numpy()
    rows, half = codes.shape[0], codes.shape[1] // 2
    words = scratch.take("float8 words", "uint32", 2, rows, half)
    np.copyto(words[1], codes.view(np.uint16))
    np.left_shift(words[1], 24, out=words[0])
    np.left_shift(words[1], 16, out=words[1])
    signed, found = words.view(np.int32), words.view(np.float32)
    np.right_shift(signed, 4, out=signed)  # the sign spreads over the places that the next step clears
    np.bitwise_and(words, 0x87F00000, out=words)
    if codes.max(initial=0) == 0xFF or codes.view(np.int8).max(initial=0) > LARGEST_CODE:
        found[np.bitwise_and(words, 0x07F00000) == 0x07F00000] = np.nan
    tied = may_tie(scales)
    if float(scales.max(initial=0.0)) < SHIFTABLE:
        scales = scales * np.float32(SHIFT)
    else:
        np.multiply(found, np.float32(SHIFT), out=found)
    for number, row in enumerate(range(0, rows, block[0])):
        mine = spread_pairs(scales[number : number + 1], block[1], codes.shape[1])
        np.multiply(found[:, row : row + block[0]], mine, out=found[:, row : row + block[0]])
    if tied:
        narrow_pairs(found, out, scratch)
    else:
        narrow_pairs_without_ties(found, out)


def may_tie(scales: Array) -> bool:
    """Return whether a code times one of these scales may lie in the middle between two numbers of bfloat16.

    All codes are powers of two times 8 to 15, and powers of two change no digit of a product, if it is large
    enough to be a normal number.

    >>> import numpy
    >>> may_tie(numpy.array([0.1], numpy.float32)), may_tie(numpy.array([1 + 2**-8], numpy.float32))
    (False, True)
    """
    np = numpy()
    bits = (scales.reshape(-1, 1) * np.arange(8, 16, dtype=np.float32)).view(np.uint32)
    small = np.abs(scales) < SMALLEST_SCALE
    return bool((bits & 0xFFFF == 0x8000).any() or (small & (scales != 0)).any())
