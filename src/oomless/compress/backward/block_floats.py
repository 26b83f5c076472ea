"""Block floating point: a block of values shares an exponent; each keeps a mantissa of 8 or 4 bits."""

from typing import Any, NamedTuple

from ...errors import UsageError, need

BLOCK = 32
EXPONENT_OF_ONE = 127
CARRY = {8: 0x10000, 4: 0x100000}
"""Added to the bits of the largest magnitude, it moves those that would round past the largest mantissa into
the next exponent: from 127.5/64 on for 8 bits, from 7.5/4 on for 4."""
OFFSET, LOWER_NIBBLES = 8, 0x0F0F
"""Mantissas of 4 bits are stored with 8 added, the first of two in the lower nibble."""
FRACTION = {8: 6, 4: 2}
"""Bits of a mantissa behind the point: 127 is 1.98 and 7 is 1.75 of the shared power of two."""


class Packed(NamedTuple):
    """Mantissas and exponents of a flat tensor."""

    mantissas: Any
    exponents: Any
    numel: int
    dtype: Any
    bits: int
    block: int

    @property
    def num_bytes(self) -> int:
        """Bytes of both."""
        return int(self.mantissas.nbytes + self.exponents.nbytes)


def packed_bytes(numel: int, bits: int, block: int = BLOCK) -> int:
    """Return the bytes of so many values: 33 for 32 of 8 bits, 17 for 32 of 4.

    >>> packed_bytes(4096 * 2048, 8) / (4096 * 2048 * 2)
    0.515625
    """
    blocks = -(-numel // block)
    return blocks * (block * bits // 8 + 1)


def check(bits: int, block: int) -> None:
    """Refuse what cannot be packed."""
    if bits not in FRACTION or block < 2 or block % 2:
        raise UsageError(
            f"activations of {bits} bits in blocks of {block}", "there are 8 and 4 bits, blocks of even size"
        )


def pack(flat: Any, bits: int = 8, block: int = BLOCK) -> Packed:
    """Return a flat floating tensor packed; infinities become the largest value of their block."""
    torch = need("torch", "compress")
    numel = flat.numel()
    values = flat.float()
    if numel % block:
        values = torch.nn.functional.pad(values, (0, -numel % block))
    blocks = values.view(-1, block)
    words = blocks.abs().amax(1).view(torch.int32)
    exponents = ((words + CARRY[bits]) >> 23).clamp_(FRACTION[bits] + 1, 253)
    powers = ((2 * EXPONENT_OF_ONE + FRACTION[bits] - exponents) << 23).view(torch.float32)
    mantissas = (blocks * powers[:, None]).round_().to(torch.int8)
    if bits == 4:
        pairs = mantissas.add_(OFFSET).view(torch.int16)
        mantissas = (pairs | pairs >> 4).to(torch.uint8)
    return Packed(mantissas, exponents.to(torch.uint8), numel, flat.dtype, bits, block)


def unpack(packed: Packed) -> Any:
    """Return the flat tensor again, in its own type."""
    torch = need("torch", "compress")
    mantissas = packed.mantissas
    if packed.bits == 4:
        pairs = mantissas.to(torch.int16)
        mantissas = ((pairs | pairs << 4) & LOWER_NIBBLES).view(torch.int8).sub_(OFFSET)
    powers = ((packed.exponents.int() - FRACTION[packed.bits]) << 23).view(torch.float32)
    values = mantissas.to(torch.float32).mul_(powers[:, None]).view(-1)
    return values[: packed.numel].to(packed.dtype)
