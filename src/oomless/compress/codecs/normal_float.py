"""bitsandbytes' NF4: sixteen values at the quantiles of a normal distribution, a float32 scale for each
64."""

import json
from functools import cache
from typing import Any, NamedTuple

from ...model.storage import NF4_PLAIN, Format, Shape
from ..arithmetic.maxima import spread
from ..arithmetic.packing import unpack
from ..arithmetic.scratch import Array, Scratch, numpy
from .codec import Container, Parts, Scope, StoredPart, once, split_group
from .microscaled import half
from .tile import Tile

GROUP = 64
TORCH_NAMES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}
VALUES = (
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
)
"""The 16 values of NF4 (QLoRA, appendix E)."""


@cache
def values() -> Array:
    """Return the 16 values as an array."""
    return numpy().array(VALUES, numpy().float32)


def groups(columns: int) -> int:
    """Return the scales of a row."""
    return columns // GROUP


class NormalFloat(NamedTuple):
    """NF4 without double quantisation, as bitsandbytes keeps it in a checkpoint: flat, the first code in the
    upper half of a byte."""

    dtype: str
    """Of the weight that it stands for."""
    kind: str = "normal-float"

    @property
    def name(self) -> str:
        return "nf4"

    @property
    def form(self) -> Format:
        return NF4_PLAIN

    @property
    def parts(self) -> tuple[StoredPart, ...]:
        return (
            StoredPart(".weight", "U8", "uint8", 1, half, flat=2),
            StoredPart(".weight.absmax", "F32", "float32", 1, groups, flat=1),
            once(".weight.quant_map", "F32", "float32", lambda shape: (len(VALUES),)),
            once(
                ".weight.quant_state.bitsandbytes__nf4",
                "U8",
                "uint8",
                lambda shape: (len(self.state(shape)),),
            ),
        )

    @property
    def container(self) -> Container:
        return "bitsandbytes"

    @property
    def scope(self) -> Scope:
        return "tile"

    @property
    def step(self) -> tuple[int, int]:
        return 1, GROUP

    def state(self, shape: Shape) -> bytes:
        """Return what bitsandbytes needs to read the codes, as the JSON that it stores as a tensor."""
        state = {
            "quant_type": "nf4",
            "blocksize": GROUP,
            "dtype": TORCH_NAMES[self.dtype],
            "shape": list(shape),
        }
        return json.dumps(state).encode()

    def refusal(self, shape: Shape) -> str:
        return split_group(shape, GROUP)

    def whole(self, shape: Shape, known: Array | None) -> dict[str, Array]:
        np = numpy()
        state = np.frombuffer(self.state(shape), np.uint8)
        return {".weight.quant_map": values(), ".weight.quant_state.bitsandbytes__nf4": state}

    def encode(self, tile: Tile, out: Parts) -> None:
        np = numpy()
        maxima = tile.maxima(GROUP)
        np.copyto(out[1], maxima)
        scales = np.where(maxima > 0, maxima, np.float32(1))
        quotients = tile.scratch.take("nf4 quotients", "float32", tile.rows, tile.columns)
        np.divide(tile.values(), spread(scales, GROUP, tile.columns), out=quotients)
        codes = np.zeros((tile.rows, tile.columns), np.uint8)
        for middle in (values()[1:] + values()[:-1]) / 2:
            codes += quotients > middle
        np.copyto(out[0], codes[:, 0::2] << 4 | codes[:, 1::2])

    def decode(self, parts: Parts, out: Array, scratch: Scratch) -> None:
        np = numpy()
        rows, columns = out.shape
        packed = parts[0].reshape(rows, -1)
        codes = scratch.take("nf4 codes", "uint8", rows, columns)
        unpack((packed << 4 | packed >> 4).astype(np.uint8), 4, codes)
        np.take(values(), codes, out=out, mode="clip")
        np.multiply(out, spread(parts[1].reshape(rows, -1), GROUP, columns), out=out)

    def scheme(self) -> dict[str, Any]:
        return {
            "quant_method": "bitsandbytes",
            "load_in_4bit": True,
            "load_in_8bit": False,
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_use_double_quant": False,
            "bnb_4bit_compute_dtype": TORCH_NAMES[self.dtype],
            "bnb_4bit_quant_storage": "uint8",
        }
