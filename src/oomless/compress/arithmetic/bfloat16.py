"""bfloat16 as numpy can hold it: 16-bit integers, the upper halves of float32."""

from .scratch import Array, Scratch, numpy

MAGNITUDE = 0x7FFF
INFINITY = 0x7F80
"""Magnitudes from here on are infinite or no numbers."""


def widen(bits: Array, out: Array) -> None:
    """Write bfloat16 as float32, which holds each exactly."""
    np = numpy()
    words = out.view(np.uint32)
    words[...] = bits
    np.left_shift(words, 16, out=words)


def widen_pairs(bits: Array, out: Array) -> None:
    """Write bfloat16 of an even number of columns as float32, even columns first, then odd ones: 2 x rows x
    half.

    Two neighbours are one 32-bit word, of which the lower half is the even one: no type is converted, at half
    the cost.
    """
    np = numpy()
    words, into = bits.view(np.uint32), out.view(np.uint32)
    np.left_shift(words, 16, out=into[0])
    np.bitwise_and(words, 0xFFFF0000, out=into[1])


def narrow(values: Array, out: Array, scratch: Scratch) -> None:
    """Write float32 as bfloat16, rounded to the nearest, ties to even: as torch and DeepSeek's own cast
    do."""
    np = numpy()
    upper = _upper_halves(values, scratch)
    np.right_shift(upper, 16, out=upper)
    np.copyto(out, upper, casting="unsafe")


def narrow_pairs(values: Array, out: Array, scratch: Scratch) -> None:
    """Write float32 that comes as all even and all odd columns (2 x rows x half) as bfloat16, rounded
    alike."""
    np = numpy()
    upper, words = _upper_halves(values, scratch), out.view(np.uint32)
    np.right_shift(upper[0], 16, out=words)
    np.bitwise_and(upper[1], 0xFFFF0000, out=upper[1])
    np.bitwise_or(words, upper[1], out=words)


def narrow_pairs_without_ties(values: Array, out: Array) -> None:
    """Do the same where no value lies in the middle between two of bfloat16, in place and with half the
    steps."""
    np = numpy()
    bits, words = values.view(np.uint32), out.view(np.uint32)
    np.add(bits, 0x8000, out=bits)
    np.right_shift(bits[0], 16, out=words)
    np.bitwise_and(bits[1], 0xFFFF0000, out=bits[1])
    np.bitwise_or(words, bits[1], out=words)


def _upper_halves(values: Array, scratch: Scratch) -> Array:
    """Return the bits of float32 whose upper halves are the nearest bfloat16."""
    np = numpy()
    words = values.view(np.uint32)
    rounded = scratch.take("bfloat16 rounded", "uint32", *values.shape)
    np.right_shift(words, 16, out=rounded)
    np.bitwise_and(rounded, 1, out=rounded)
    np.add(rounded, MAGNITUDE, out=rounded)
    return np.add(rounded, words, out=rounded)


def rounded(values: Array, dtype: str) -> tuple[Array, Array]:
    """Return small arrays of float32 as a safetensors type stores them, and as float32 again: a scale is
    rounded before anything is divided by it.

    >>> import numpy
    >>> bits, stored = rounded(numpy.array([0.1], numpy.float32), "BF16")
    >>> hex(int(bits[0])), float(stored[0])
    ('0x3dcd', 0.10009765625)
    """
    np = numpy()
    match dtype:
        case "F32":
            return values, values
        case "F16":
            half = values.astype(np.float16)
            return half, half.astype(np.float32)
        case "BF16":
            words = values.view(np.uint32)
            nearest = words + (words >> np.uint32(16) & np.uint32(1)) + np.uint32(MAGNITUDE)
            stored = nearest & np.uint32(0xFFFF0000)
            return (nearest >> np.uint32(16)).astype(np.uint16), stored.view(np.float32)
    raise ValueError(f"no scale is stored as {dtype}")
