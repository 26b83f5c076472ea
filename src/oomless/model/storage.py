"""How values are stored: bits a value, and the scales that a block of values shares."""

from math import prod

from ..records import Record

Shape = tuple[int, ...]


class Format(Record):
    """A storage type. `block` is the (rows, columns) of the last two dimensions that share one scale; 0 = the
    whole dimension."""

    name: str
    bits: int
    block: tuple[int, int] | None = None
    scale_bits: int = 0
    zero_bits: int = 0
    """Bits of a zero point, one beside each scale."""
    column_bits: int = 0
    """Bits of an index for each input column (GPTQ's order of columns)."""
    reorders: bool = False
    """Whether the column index is a real reordering, so that an engine must keep it."""
    tensor_bytes: int = 0
    """Bytes that a tensor has once: a second scale, its shape."""

    def num_scales(self, shape: Shape) -> int:
        """Scales of one tensor: one for each block, the last block of a row or column may be partial.

        >>> FP8_BLOCK.num_scales((24576, 1536))  # q_b_proj of DeepSeek-V3
        2304
        """
        if self.block is None or 0 in shape:
            return 0
        rows, columns = (shape[-2], shape[-1]) if len(shape) > 1 else (1, shape[-1])
        block_rows, block_columns = self.block[0] or rows, self.block[1] or columns
        return prod(shape[:-2]) * -(-rows // block_rows) * -(-columns // block_columns)

    def data_bytes(self, shape: Shape) -> int:
        """Bytes of the values alone; sub-byte values are packed along the last dimension."""
        if self.bits % 8 == 0:
            return prod(shape) * self.bits // 8
        return prod(shape[:-1]) * -(-shape[-1] * self.bits // 8)

    def scale_bytes(self, shape: Shape) -> int:
        """Bytes of what stands beside the values: scales, zero points, column indices."""
        bits = self.num_scales(shape) * (self.scale_bits + self.zero_bits) + shape[-1] * self.column_bits
        return -(-bits // 8) + self.tensor_bytes

    def num_bytes(self, shape: Shape) -> int:
        """Bytes of one tensor with its scales.

        >>> FP4_E8M0.num_bytes((2048, 4096))  # one expert matrix of DeepSeek-V4-Flash: 0.53125 B a value
        4456448
        """
        return self.data_bytes(shape) + self.scale_bytes(shape)


F32 = Format("float32", 32)
BF16 = Format("bfloat16", 16)
F16 = Format("float16", 16)
I64 = Format("int64", 64)
FP8_BLOCK = Format("fp8 128x128, F32 scales", 8, (128, 128), 32)
FP8_BLOCK_E8M0 = Format("fp8 128x128, E8M0 scales", 8, (128, 128), 8)
FP8_32X32_E8M0 = Format("fp8 32x32, E8M0 scales", 8, (32, 32), 8)
FP8_ROW32_E8M0 = Format("fp8 1x32, E8M0 scales", 8, (1, 32), 8)
FP8_CHANNEL = Format("fp8, one F32 scale a row", 8, (1, 0), 32)
FP8_TENSOR = Format("fp8, one F32 scale a tensor", 8, (0, 0), 32)
INT8_CHANNEL = Format("int8, one F32 scale a row", 8, (1, 0), 32)
FP4_E8M0 = Format("fp4 1x32, E8M0 scales", 4, (1, 32), 8)
NVFP4 = Format("fp4 1x16, FP8 scales", 4, (1, 16), 8)
"""Beside it one F32 a tensor, which is not counted."""
NF4 = Format("nf4 by 64, scales quantised again", 4, (1, 64), 8)
"""bitsandbytes with double quantisation; of the second scales (F32 for 256 of the first, 0.05 % of the whole)
nothing is counted."""
NF4_PLAIN = Format("nf4 by 64, F32 scales", 4, (1, 64), 32)
INT8_BNB = Format("int8, one F32 scale a row (bitsandbytes)", 8, (1, 0), 32)
INT8_EETQ = Format("int8, one F16 scale a row", 8, (1, 0), 16)
INT8_TORCHAO = Format("int8, one F32 scale and a zero a row (torchao)", 8, (1, 0), 32, 8)
TERNARY = Format("ternary, four a byte (BitNet)", 2, (0, 0), 16)

DTYPES = {"float32": F32, "float": F32, "bfloat16": BF16, "float16": F16, "half": F16}
"""The unscaled floating types by the names that configs and flags use."""
