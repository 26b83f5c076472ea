"""bfloat16, float16 and float32: no scale, nothing lost but what the narrower type cannot hold."""

from typing import Any, NamedTuple

from ...model.storage import BF16, F16, F32, Format, Shape
from ..arithmetic.bfloat16 import narrow, widen
from ..arithmetic.scratch import Array, Scratch, numpy
from .codec import Container, Parts, Scope, StoredPart, same
from .tile import Tile

FORMS = {"BF16": BF16, "F16": F16, "F32": F32}
ARRAYS = {"BF16": "uint16", "F16": "float16", "F32": "float32"}
NAMES = {"BF16": "bf16", "F16": "f16", "F32": "f32"}


class Plain(NamedTuple):
    """An unscaled floating type."""

    dtype: str
    kind: str = "plain"
    """Tells it from codecs of another kind with the same fields: named tuples compare as tuples."""

    @property
    def name(self) -> str:
        return NAMES[self.dtype]

    @property
    def form(self) -> Format:
        return FORMS[self.dtype]

    @property
    def parts(self) -> tuple[StoredPart, ...]:
        return (StoredPart(".weight", self.dtype, ARRAYS[self.dtype], 1, same),)

    @property
    def container(self) -> Container:
        return "plain"

    @property
    def scope(self) -> Scope:
        return "tile"

    @property
    def step(self) -> tuple[int, int]:
        return 1, 1

    def refusal(self, shape: Shape) -> str:
        return ""

    def whole(self, shape: Shape, known: Array | None) -> dict[str, Array]:
        return {}

    def encode(self, tile: Tile, out: Parts) -> None:
        if self.dtype == "BF16" and tile.raw.dtype.itemsize == 2:
            numpy().copyto(out[0], tile.raw)
        else:
            self.store(tile.values(), out, tile.scratch)

    def store(self, values: Array, out: Parts, scratch: Scratch) -> None:
        """Write float32 in the stored type."""
        if self.dtype == "BF16":
            narrow(values, out[0], scratch)
        else:
            numpy().copyto(out[0], values, casting="unsafe")

    def decode(self, parts: Parts, out: Array, scratch: Scratch) -> None:
        if self.dtype == "BF16":
            widen(parts[0], out)
        else:
            numpy().copyto(out, parts[0])

    def scheme(self) -> dict[str, Any]:
        return {}
