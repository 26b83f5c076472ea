"""FP4 E2M1: the eight magnitudes 0, 0.5, 1, 1.5, 2, 3, 4, 6 and a sign."""

from functools import cache

from .scratch import Array, Scratch, numpy

LARGEST = 6.0
HALVES, WHOLES, TWOS = 1.5 * 2**22, 1.5 * 2**23, 1.5 * 2**24
"""Added to a float32 they leave no place for anything below 0.5, 1 and 2: the sum is rounded there, ties to
even."""

FROM = 5
"""The exponent that 1.0 gets in `encode_bits`: what is smaller than 2**-5 becomes zero before it is looked
at."""


def encode(quotients: Array, out: Array, scratch: Scratch) -> None:
    """Write the codes 0 to 7 of magnitudes (float32, below 60), rounded to the nearest, ties to even.

    Up to 2 the values stand 0.5 apart, up to 4 they stand 1 apart, up to 6 they stand 2 apart: three
    roundings, of which each counts in its own part.
    """
    np = numpy()
    sums = scratch.take("float4 sums", "float32", *quotients.shape)
    steps = scratch.take("float4 steps", "uint8", *quotients.shape)
    words = sums.view(np.int32)
    np.add(quotients, np.float32(HALVES), out=sums)
    np.copyto(out, words, casting="unsafe")
    scratch.at_most(out, 4)
    for magic, least, most in ((WHOLES, 2, 4), (TWOS, 2, 3)):
        np.add(quotients, np.float32(magic), out=sums)
        np.copyto(steps, words, casting="unsafe")
        scratch.at_least(steps, least)
        scratch.at_most(steps, most)
        np.add(out, steps, out=out)
    np.subtract(out, 4, out=out)


def encode_away(quarters: Array, out: Array, scratch: Scratch) -> None:
    """Write the codes 0 to 15 of four times the values (float32, magnitudes below 60), rounded to the
    nearest, ties away from zero: for quotients of any scale, where ties hardly occur, at half the cost.

    Every border between two magnitudes is a multiple of a quarter: 1, 3, 5, 7, 10, 14 and 20 of them.
    """
    np = numpy()
    whole = scratch.take("float4 quarters", "int8", *quarters.shape)
    beyond = scratch.take("float4 beyond", "bool", *quarters.shape)
    np.copyto(whole, quarters, casting="unsafe")
    signs = scratch.take("float4 signs", "uint8", *quarters.shape)
    np.bitwise_and(whole.view(np.uint8), 0x80, out=signs)
    magnitudes = np.abs(whole, out=whole).view(np.uint8)
    np.add(magnitudes, 1, out=out)
    np.right_shift(out, 1, out=out)
    scratch.at_most(out, 4)
    for border in (10, 14, 20):
        np.greater_equal(magnitudes, border, out=beyond)
        np.add(out, beyond.view(np.uint8), out=out)
    np.right_shift(signs, 4, out=signs)
    np.bitwise_or(out, signs, out=out)


def encode_bits(bits: Array, below: Array, out: Array, scratch: Scratch) -> None:
    """Write the codes 0 to 7 of bfloat16 magnitudes divided by a power of two, ties to even, in integers
    alone.

    A power of two moves the exponent: `below` is that of the scale less FROM, in the place of exponents,
    spread to what it divides. From 1 on a code is the exponent and one bit of the mantissa; 0.5 and 1 are two
    comparisons.
    """
    np = numpy()
    moved = scratch.take("float4 moved", "uint16", *bits.shape)
    codes = scratch.take("float4 words", "uint16", *bits.shape)
    np.maximum(bits, below, out=moved)
    np.subtract(moved, below, out=moved)
    np.right_shift(moved, 6, out=codes)
    np.bitwise_and(codes, 1, out=codes)
    np.add(codes, 31, out=codes)
    np.add(codes, moved, out=codes)
    np.right_shift(codes, 6, out=codes)
    np.copyto(out, codes, casting="unsafe")
    scratch.at_least(out, 2 * FROM)
    np.subtract(out, 2 * FROM, out=out)
    beyond = scratch.take("float4 beyond", "bool", *bits.shape)
    for compare, border in ((np.greater, FROM - 2 << 7), (np.greater_equal, (FROM - 1 << 7) + 64)):
        compare(moved, border, out=beyond)
        np.add(out, beyond.view(np.uint8), out=out)


@cache
def values() -> Array:
    """Return the value of each of the 16 codes; the upper eight are negative.

    >>> values().tolist()[:8]
    [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
    """
    np = numpy()
    magnitudes = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
    return np.concatenate([magnitudes, -magnitudes])
