"""Codes of 1, 2 or 4 bits in bytes, the first in the lowest bits: packed into little-endian words of any
width they give the same bytes."""

from .scratch import Array, Scratch, numpy


def move_up(codes: Array, bits: int, out: Array) -> None:
    """Shift contiguous bytes, none of which loses a bit, up: eight at once, since numpy shifts bytes one by
    one.

    >>> import numpy
    >>> codes = numpy.array([1, 7], numpy.uint8)
    >>> move_up(codes, 4, codes)
    >>> codes.tolist()
    [16, 112]
    """
    np = numpy()
    flat, into = codes.reshape(-1), out.reshape(-1)
    whole = flat.size // 8 * 8
    np.left_shift(flat[:whole].view(np.uint64), bits, out=into[:whole].view(np.uint64))
    np.left_shift(flat[whole:], bits, out=into[whole:])


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
    """Write codes that come as all even and all odd columns (2 x rows x half), the even one of each pair in
    the lower bits: of 8 bits in words of 16, which fill two bytes; of 4 or 2 bits in bytes, which fill one or
    half of one.

    >>> import numpy
    >>> out = numpy.empty((1, 2), numpy.uint8)
    >>> join_pairs(numpy.array([[[1, 3]], [[2, 4]]], numpy.uint8), 4, out, Scratch())
    >>> [hex(byte) for byte in out[0]]
    ['0x21', '0x43']
    """
    np = numpy()
    upper = scratch.take("pairs upper", pairs.dtype, *pairs.shape[1:])
    match bits:
        case 8:
            np.left_shift(pairs[1], 8, out=upper)
            np.bitwise_or(upper, pairs[0], out=out.view(np.uint16))
        case 4:
            move_up(pairs[1], 4, upper)
            np.bitwise_or(upper, pairs[0], out=out)
        case _:
            move_up(pairs[1], bits, upper)
            np.bitwise_or(upper, pairs[0], out=upper)
            pack(upper, 4, out, scratch)


def unpack(packed: Array, bits: int, out: Array) -> None:
    """Write the codes of packed bytes, one a byte; `out` may end before the last byte does."""
    np = numpy()
    per_byte, columns = 8 // bits, out.shape[1]
    for place in range(per_byte):
        into = out[:, place::per_byte]
        np.right_shift(packed[:, : into.shape[1]], bits * place, out=into)
    np.bitwise_and(out, (1 << bits) - 1, out=out)
    assert columns <= packed.shape[1] * per_byte
