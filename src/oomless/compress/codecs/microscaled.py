"""Values of 4 or 8 bits with a scale for each 32 or 16 of a row: OCP's MXFP4 and MXFP8 (scales are powers of
two), NVIDIA's NVFP4 (scales in E4M3, with one more in float32 for the tensor)."""

from functools import cache
from typing import Any, NamedTuple

from ...model.storage import Format, Shape
from ..arithmetic import float4, float8
from ..arithmetic.maxima import spread, spread_pairs
from ..arithmetic.packing import join_pairs, pack, unpack
from ..arithmetic.scratch import Array, Scratch, numpy
from .codec import Container, Parts, Scope, Steps, StoredPart, once, same, split_group
from .tile import Tile

MX_GROUP, NV_GROUP = 32, 16
NV_LARGEST = float4.LARGEST * float8.LARGEST
"""The largest value that a code and its E4M3 scale make together."""
LARGEST_EXPONENT = {4: 2, 8: 8}
"""Of the largest code: 6 = 1.5 * 2**2, 448 = 1.75 * 2**8."""

LEAST_EXPONENT = 8
"""Of a scale: a group below 2**-117 becomes zeros."""


def half(columns: int) -> int:
    """Return the bytes of codes of four bits."""
    return -(-columns // 2)


def mx_groups(columns: int) -> int:
    """Return the scales of a row of MXFP4 or MXFP8."""
    return columns // MX_GROUP


def nv_groups(columns: int) -> int:
    """Return the scales of a row of NVFP4."""
    return columns // NV_GROUP


def read_float4(packed: Array, scales: Array, out: Array, scratch: Scratch) -> None:
    """Write values of packed E2M1 codes times scales that are spread to columns."""
    np = numpy()
    codes = scratch.take("float4 codes", "uint8", *out.shape)
    unpack(packed, 4, codes)
    np.take(float4.values(), codes, out=out, mode="clip")
    np.multiply(out, scales, out=out)


class Microscaled(NamedTuple):
    """MXFP4 or MXFP8: codes of E2M1 or E4M3, a power of two for each 32."""

    bits: int
    kind: str = "microscaled"

    @property
    def name(self) -> str:
        return f"mxfp{self.bits}"

    @property
    def form(self) -> Format:
        return Format(self.name, self.bits, (1, MX_GROUP), 8)

    @property
    def parts(self) -> tuple[StoredPart, ...]:
        scale = StoredPart(".weight_scale", "U8", "uint8", 1, mx_groups)
        if self.bits == 4:
            return StoredPart(".weight_packed", "U8", "uint8", 1, half), scale
        return StoredPart(".weight", "F8_E4M3", "uint8", 1, same), scale

    @property
    def container(self) -> Container:
        return "compressed-tensors"

    @property
    def scope(self) -> Scope:
        return "tile"

    @property
    def step(self) -> tuple[int, int]:
        return 1, MX_GROUP

    def refusal(self, shape: Shape) -> str:
        return split_group(shape, MX_GROUP)

    def exponents(self, maxima: Array) -> Array:
        """Return the E8M0 byte of each group: the exponent of its largest magnitude, less that of the largest
        code; from 1.75 on the magnitude counts to the next power, which loses less than cutting it to the
        largest code does."""
        np = numpy()
        found = (maxima.view(np.uint32) + np.uint32(1 << 21) >> np.uint32(23)).astype(np.int32)
        return np.maximum(found - LARGEST_EXPONENT[self.bits], LEAST_EXPONENT).astype(np.uint8)

    def whole(self, shape: Shape, known: Array | None) -> dict[str, Array]:
        return {}

    @property
    def group(self) -> int:
        """Columns that share a scale."""
        return MX_GROUP

    def steps(self, exponents: Array) -> Steps:
        """Return the steps of E8M0 bytes."""
        return Steps(exponents, powers(exponents))

    def encode(self, tile: Tile, out: Parts) -> None:
        self.write(tile, self.steps(self.exponents(tile.maxima(MX_GROUP))), out)

    def write(self, tile: Tile, steps: Steps, out: Parts) -> None:
        """Write a tile in steps that are given."""
        np = numpy()
        exponents = steps.stored
        np.copyto(out[1], exponents)
        if self.bits == 8:
            scales = spread_pairs(steps.scales, MX_GROUP, tile.columns)
            words = float8.encode(tile.magnitude_pairs(), scales, tile.scratch)
            float8.store(words, out[0], tile.scratch)
            return tile.set_signs(out[0], 7)
        codes = tile.scratch.take("float4 codes", "uint8", tile.rows, tile.columns)
        bits = tile.bits()
        if bits is None:
            quotients = tile.comparable()
            np.divide(quotients, spread(steps.scales, MX_GROUP, tile.columns), out=quotients)
            float4.encode(quotients, codes, tile.scratch)
        else:
            below = (exponents.astype(np.uint16) - np.uint16(float4.FROM)) << np.uint16(7)
            float4.encode_bits(bits, spread(below, MX_GROUP, tile.columns), codes, tile.scratch)
        tile.set_signs(codes, 3)
        pack(codes, 4, out[0], tile.scratch)
        return None

    def decode(self, parts: Parts, out: Array, scratch: Scratch) -> None:
        scales = spread(powers(parts[1]), MX_GROUP, out.shape[1])
        if self.bits == 4:
            read_float4(parts[0], scales, out, scratch)
        else:
            float8.decode(parts[0], scales, out)

    def scheme(self) -> dict[str, Any]:
        weights = {
            "num_bits": self.bits,
            "type": "float",
            "symmetric": True,
            "strategy": "group",
            "group_size": MX_GROUP,
            "dynamic": False,
            "scale_dtype": "torch.uint8",
            "zp_dtype": "torch.uint8",
        }
        return {
            "weights": weights,
            "input_activations": None,
            "output_activations": None,
            "format": "mxfp4-pack-quantized" if self.bits == 4 else "mxfp8-quantized",
        }


def powers(exponents: Array) -> Array:
    """Return 2**(e - 127) of E8M0 bytes, in float32.

    >>> import numpy
    >>> powers(numpy.array([[127, 120]], numpy.uint8)).tolist()
    [[1.0, 0.0078125]]
    """
    np = numpy()
    return (exponents.astype(np.uint32) << np.uint32(23)).view(np.float32)


@cache
def divisors() -> Array:
    """Return the value of each code of E4M3 as what is divided by it becomes zero where the scale is zero."""
    np = numpy()
    return np.where(float8.values() > 0, float8.values(), np.float32(np.inf))


class Nvfp4(NamedTuple):
    """NVFP4: E2M1 codes, an E4M3 scale for each 16, and the float32 by which all scales were multiplied
    before they were rounded. q, k and v share that number, gate and up too: engines fuse them."""

    kind: str = "nvfp4"

    @property
    def name(self) -> str:
        return "nvfp4"

    @property
    def form(self) -> Format:
        return Format(self.name, 4, (1, NV_GROUP), 8, tensor_bytes=4)

    @property
    def parts(self) -> tuple[StoredPart, ...]:
        return (
            StoredPart(".weight_packed", "U8", "uint8", 1, half),
            StoredPart(".weight_scale", "F8_E4M3", "uint8", 1, nv_groups),
            once(".weight_global_scale", "F32", "float32", lambda shape: (1,)),
        )

    @property
    def container(self) -> Container:
        return "compressed-tensors"

    @property
    def scope(self) -> Scope:
        return "fused"

    @property
    def step(self) -> tuple[int, int]:
        return 1, NV_GROUP

    def refusal(self, shape: Shape) -> str:
        return split_group(shape, NV_GROUP)

    def multiplier(self, largest: Array | None) -> Array:
        """Return 6 * 448 / the largest magnitude of the tensors that share it, in float32."""
        np = numpy()
        assert largest is not None
        return np.float32(NV_LARGEST) / np.maximum(largest, np.float32(2.0**-100))

    def whole(self, shape: Shape, known: Array | None) -> dict[str, Array]:
        return {".weight_global_scale": self.multiplier(known)}

    @property
    def group(self) -> int:
        """Columns that share a scale."""
        return NV_GROUP

    def steps(self, largest: Array, known: Array | None, scratch: Scratch) -> Steps:
        """Return scales for groups of these largest magnitudes; one that is too small for a scale becomes
        zeros."""
        np = numpy()
        multiplier = self.multiplier(known)
        wanted = largest * (multiplier / np.float32(float4.LARGEST))
        words = float8.encode(wanted, np.ones((1, 1), np.float32), scratch)
        stored = np.minimum(words, float8.LARGEST_CODE).astype(np.uint8)
        return Steps(stored, divisors()[stored] / multiplier)

    def encode(self, tile: Tile, out: Parts) -> None:
        self.write(tile, self.steps(tile.maxima(NV_GROUP), tile.known, tile.scratch), out)

    def write(self, tile: Tile, steps: Steps, out: Parts) -> None:
        """Write a tile in steps that are given."""
        np = numpy()
        np.copyto(out[1], steps.stored)
        quarters = tile.pairs()
        scales = steps.scales / np.float32(4)
        np.divide(quarters, spread_pairs(scales, NV_GROUP, tile.columns), out=quarters)
        codes = tile.scratch.take("float4 codes", "uint8", *quarters.shape)
        float4.encode_away(quarters, codes, tile.scratch)
        join_pairs(codes, 4, out[0], tile.scratch)

    def decode(self, parts: Parts, out: Array, scratch: Scratch) -> None:
        scales = float8.values()[parts[1]] / parts[2].reshape(1, 1)
        read_float4(parts[0], spread(scales, NV_GROUP, out.shape[1]), out, scratch)

    def scheme(self) -> dict[str, Any]:
        weights = {
            "num_bits": 4,
            "type": "float",
            "symmetric": True,
            "strategy": "tensor_group",
            "group_size": NV_GROUP,
            "dynamic": False,
            "scale_dtype": "torch.float8_e4m3fn",
            "zp_dtype": "torch.float8_e4m3fn",
        }
        return {
            "weights": weights,
            "input_activations": None,
            "output_activations": None,
            "format": "nvfp4-pack-quantized",
        }
