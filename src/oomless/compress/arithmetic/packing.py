"""Codes of 1, 2 or 4 bits in bytes, the first in the lowest bits: packed into little-endian words of any
width they give the same bytes."""

from .scratch import Array, Scratch, numpy


def pack(codes: Array, bits: int, out: Array, scratch: Scratch) -> None:
    """Write codes (bytes, each below 2**bits) of a block row by row; the columns fill whole bytes.

    >>> import numpy
    >>> out = numpy.empty((1, 2), numpy.uint8)
    >>> pack(numpy.array([[1, 2, 3, 4]], numpy.uint8), 4, out, Scratch())
    >>> [hex(byte) for byte in out[0]]
    ['0x21', '0x43']
    """
    np = numpy()
    rows, columns = codes.shape
    if (
        bits == 4
    ):  # two bytes are one 16-bit number: its upper half moves into the free bits of its lower half
        pairs = codes.view(np.uint16)
        upper = scratch.take("packed pairs", "uint16", rows, columns // 2)
        np.right_shift(pairs, 4, out=upper)
        np.bitwise_or(upper, pairs, out=upper)
        np.copyto(out, upper, casting="unsafe")
        return
    per_byte = 8 // bits
    np.copyto(out, codes[:, 0::per_byte])
    shifted = scratch.take("packed shifted", "uint8", *out.shape)
    for place in range(1, per_byte):
        np.left_shift(codes[:, place::per_byte], bits * place, out=shifted)
        np.bitwise_or(out, shifted, out=out)


def join_pairs(pairs: Array, bits: int, out: Array, scratch: Scratch) -> None:
    """Write codes that come as words of all even and all odd columns (2 x rows x half), the even one of each
    pair in the lower bits; 8 bits fill two bytes, 4 bits one, 2 bits half of one.

    Of each word the lowest bits count; those above may hold anything but where they would fall into the pair.
    """
    np = numpy()
    upper = scratch.take("pairs upper", pairs.dtype, *pairs.shape[1:])
    np.left_shift(pairs[1], bits, out=upper)
    match bits:
        case 8:
            lower = scratch.take("pairs lower", pairs.dtype, *pairs.shape[1:])
            np.bitwise_and(pairs[0], 0xFF, out=lower)
            np.bitwise_or(upper, lower, out=upper)
            np.copyto(out.view(np.uint16), upper, casting="unsafe")
        case 4:
            np.bitwise_or(upper, pairs[0], out=upper)
            np.copyto(out, upper, casting="unsafe")
        case _:
            halves = scratch.take("pairs halves", "uint8", *pairs.shape[1:])
            np.bitwise_or(upper, pairs[0], out=upper)
            np.copyto(halves, upper, casting="unsafe")
            np.bitwise_and(halves, 15, out=halves)
            pack(halves, 4, out, scratch)


def unpack(packed: Array, bits: int, out: Array) -> None:
    """Write the codes of packed bytes, one a byte; `out` may end before the last byte does."""
    np = numpy()
    per_byte, columns = 8 // bits, out.shape[1]
    for place in range(per_byte):
        into = out[:, place::per_byte]
        np.right_shift(packed[:, : into.shape[1]], bits * place, out=into)
    np.bitwise_and(out, (1 << bits) - 1, out=out)
    assert columns <= packed.shape[1] * per_byte
