"""FP8 E4M3 with a scale a block, a row or a tensor: DeepSeek's own checkpoints, and compressed-tensors'
`float-quantized`."""

from typing import Any, NamedTuple

from ...model.storage import Format, Shape
from ..arithmetic import float8
from ..arithmetic.bfloat16 import narrow, rounded, widen
from ..arithmetic.maxima import spread, spread_pairs
from ..arithmetic.scratch import Array, Scratch, numpy
from .codec import Container, Parts, Scope, StoredPart, once, same
from .plain import ARRAYS
from .tile import Tile

SMALLEST = 2.0**-100
"""The least scale: a block of zeros needs one that can divide, and 2**120 times it is finite."""
DECODED_COLUMNS = 2048
"""A multiple of the block: 128 rows of so many are a megabyte of float32, which stays in the second cache
(measured: 1.4 ns a value instead of 1.8)."""
STRATEGIES = {(128, 128): "block", (1, 0): "channel", (0, 0): "tensor"}


class Float8(NamedTuple):
    """E4M3 codes; arithmetic in float32, the scale (largest magnitude / 448) rounded to its stored type
    first."""

    block: tuple[int, int]
    """Rows and columns that share a scale; 0 = all of them."""
    scale_dtype: str
    own: bool
    """DeepSeek's own names: `weight_scale_inv`, in float32, is what a code is multiplied with."""
    kind: str = "float8"

    @property
    def name(self) -> str:
        strategy = STRATEGIES[self.block]
        return "fp8" if self.own else f"fp8-{strategy}"

    @property
    def form(self) -> Format:
        return Format(self.name, 8, self.block, 32 if self.scale_dtype == "F32" else 16)

    @property
    def parts(self) -> tuple[StoredPart, ...]:
        rows, columns = self.block
        name = ".weight_scale_inv" if self.own else ".weight_scale"
        array = ARRAYS[self.scale_dtype]
        if rows:
            scale = StoredPart(
                name, self.scale_dtype, array, rows, lambda count: -(-count // columns) if columns else 1
            )
        else:
            scale = once(name, self.scale_dtype, array, lambda shape: (1,))
        return StoredPart(".weight", "F8_E4M3", "uint8", 1, same), scale

    @property
    def container(self) -> Container:
        return "deepseek" if self.own else "compressed-tensors"

    @property
    def scope(self) -> Scope:
        return "tile" if self.block[1] else "row" if self.block[0] else "tensor"

    @property
    def step(self) -> tuple[int, int]:
        return max(self.block[0], 1), max(self.block[1], 1)

    def refusal(self, shape: Shape) -> str:
        return ""

    def stored_scales(self, maxima: Array) -> tuple[Array, Array]:
        """Return scales as they are stored, and as float32 again."""
        np = numpy()
        return rounded(
            np.maximum(maxima / np.float32(float8.LARGEST), np.float32(SMALLEST)), self.scale_dtype
        )

    def whole(self, shape: Shape, known: Array | None) -> dict[str, Array]:
        if self.block[0]:
            return {}
        assert known is not None
        return {".weight_scale": self.stored_scales(known)[0]}

    def encode(self, tile: Tile, out: Parts) -> None:
        np = numpy()
        maxima = tile.block_maxima(self.block) if self.block[1] else tile.maxima(0)
        bits, scales = self.stored_scales(maxima)
        if self.block[0]:
            np.copyto(out[1], bits)
        magnitudes = tile.magnitude_pairs()
        if self.block[1]:
            scales = spread_pairs(scales, self.block[1], magnitudes.shape[2] * 2)
            if scales.shape[0] > 1:
                scales = np.repeat(scales, self.block[0], axis=0)[: tile.rows]
        float8.store(float8.encode(magnitudes, scales, tile.scratch), out[0], tile.scratch)
        tile.set_signs(out[0], 7)

    def decode(self, parts: Parts, out: Array, scratch: Scratch) -> None:
        scales = self.read_scales(parts[1])
        if not self.block[1]:
            float8.decode(parts[0], scales.reshape(-1, 1), out)
            return
        for number, row in enumerate(range(0, out.shape[0], self.block[0])):
            within = slice(row, row + self.block[0])
            mine = spread(scales[number : number + 1], self.block[1], out.shape[1])
            float8.decode(parts[0][within], mine, out[within])

    def decode_narrow(self, parts: Parts, out: Array, scratch: Scratch) -> None:
        """Write bfloat16 of a block of rows that begins a block of scales: DeepSeek's own cast, bit by
        bit."""
        if out.shape[1] % 2 == 0:
            scales = self.read_scales(parts[1])
            for number, row in enumerate(range(0, out.shape[0], self.block[0])):
                within = slice(row, row + self.block[0])
                for column in range(0, out.shape[1], DECODED_COLUMNS):
                    across = slice(column, column + DECODED_COLUMNS)
                    mine = scales[number : number + 1, column // self.block[1] :]
                    float8.decode_blocks(
                        parts[0][within, across], mine, self.block, out[within, across], scratch
                    )
            return
        values = scratch.take("float8 values", "float32", *out.shape)
        self.decode(parts, values, scratch)
        narrow(values, out, scratch)

    def read_scales(self, stored: Array) -> Array:
        """Return stored scales as float32."""
        if self.scale_dtype != "BF16":
            return stored.astype(numpy().float32)
        scales = numpy().empty(stored.shape, numpy().float32)
        widen(stored, scales)
        return scales

    def scheme(self) -> dict[str, Any]:
        if self.own:
            return {
                "quant_method": "fp8",
                "fmt": "e4m3",
                "activation_scheme": "dynamic",
                "weight_block_size": list(self.block),
            }
        strategy = STRATEGIES[self.block]
        weights: dict[str, Any] = {
            "num_bits": 8,
            "type": "float",
            "symmetric": True,
            "strategy": strategy,
            "dynamic": False,
        }
        inputs: dict[str, Any] = {"num_bits": 8, "type": "float", "symmetric": True, "dynamic": True}
        if strategy == "block":
            weights["block_structure"] = list(self.block)
            inputs |= {"strategy": "group", "group_size": self.block[1]}
        else:
            inputs["strategy"] = "token"
        return {
            "weights": weights,
            "input_activations": inputs,
            "output_activations": None,
            "format": "float-quantized",
        }
