"""2:4: of each four neighbours in a row two are zero. Stored dense, as everything loads it: no engine of
today serves the packed form, whose bytes `packed_bytes` says."""

from typing import Any, NamedTuple

from ...model.safetensors import BITS
from ...model.storage import Format, Shape
from ..arithmetic.scratch import Array, Scratch, numpy
from .codec import Container, Parts, Scope, Steps, StoredPart, split_group
from .plain import Plain
from .tile import Tile

OF = 4
META_BITS = 4
"""Of four values: which two are kept, two bits each."""


class Pruned(NamedTuple):
    """The two largest of each four; a calibration may choose others."""

    dtype: str
    kind: str = "pruned"

    @property
    def name(self) -> str:
        return "2:4"

    @property
    def group(self) -> int:
        """Columns among which half are kept."""
        return OF

    @property
    def form(self) -> Format:
        return Plain(self.dtype).form

    @property
    def parts(self) -> tuple[StoredPart, ...]:
        return Plain(self.dtype).parts

    @property
    def container(self) -> Container:
        return "plain"

    @property
    def scope(self) -> Scope:
        return "tile"

    @property
    def step(self) -> tuple[int, int]:
        return 1, OF

    def refusal(self, shape: Shape) -> str:
        return split_group(shape, OF)

    def whole(self, shape: Shape, known: Array | None) -> dict[str, Array]:
        return {}

    def encode(self, tile: Tile, out: Parts) -> None:
        np = numpy()
        values = tile.values()
        pruned = np.where(kept_of_four(np.abs(values)), values, np.float32(0))
        Plain(self.dtype).store(pruned, out, tile.scratch)

    def write(self, tile: Tile, steps: Steps, out: Parts) -> None:
        """Write values that are pruned already."""
        Plain(self.dtype).store(tile.values(), out, tile.scratch)

    def decode(self, parts: Parts, out: Array, scratch: Scratch) -> None:
        Plain(self.dtype).decode(parts, out, scratch)

    def scheme(self) -> dict[str, Any]:
        return {}


def kept_of_four(scores: Array) -> Array:
    """Return which values have the two highest scores of each four; of equal ones the first.

    >>> import numpy
    >>> kept_of_four(numpy.array([[1.0, 3.0, 2.0, 0.5]])).tolist()
    [[False, True, True, False]]
    """
    np = numpy()
    fours = scores.reshape(*scores.shape[:-1], -1, OF)
    order = np.argsort(-fours, axis=-1, kind="stable")
    kept = np.zeros(fours.shape, bool)
    np.put_along_axis(kept, order[..., : OF // 2], True, axis=-1)
    return kept.reshape(scores.shape)


def packed_bytes(shape: Shape, dtype: str) -> int:
    """Return what a 2:4 matrix takes in the packed form of torch: half the values, four bits for each four.

    >>> packed_bytes((4096, 4096), "BF16") / (4096 * 4096 * 2)
    0.5625
    """
    values = shape[0] * shape[1]
    return values // 2 * BITS[dtype] // 8 + values // OF * META_BITS // 8
