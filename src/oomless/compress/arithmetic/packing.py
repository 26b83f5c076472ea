"""Codes of 1, 2 or 4 bits in bytes, the first in the lowest bits: packed into little-endian words of any width they
give the same bytes."""

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
    if bits == 4:  # two bytes are one 16-bit number: its upper half moves into the free bits of its lower half
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


def unpack(packed: Array, bits: int, out: Array) -> None:
    """Write the codes of packed bytes, one a byte; `out` may end before the last byte does."""
    np = numpy()
    per_byte, columns = 8 // bits, out.shape[1]
    for place in range(per_byte):
        into = out[:, place::per_byte]
        np.right_shift(packed[:, : into.shape[1]], bits * place, out=into)
    np.bitwise_and(out, (1 << bits) - 1, out=out)
    assert columns <= packed.shape[1] * per_byte
