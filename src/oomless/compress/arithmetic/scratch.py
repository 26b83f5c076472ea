"""Memory that a thread takes once and uses again for each block: page faults of temporaries cost more than
the arithmetic."""

from functools import cache
from math import prod
from typing import Any, TypeAlias

from ...errors import need

Array: TypeAlias = Any
"""A numpy array. numpy is imported when it is used, so that its types are not known to this room."""


@cache
def numpy() -> Any:
    """Return numpy, or raise the error that says how to install it."""
    return need("numpy", "compress")


class Scratch:
    """Named pieces of memory of one thread: a piece grows to the largest block that asked for it and
    stays."""

    def __init__(self) -> None:
        self._pieces: dict[tuple[str, Any], Array] = {}
        self._filled: dict[tuple[float, Any], Array] = {}

    def take(self, name: str, dtype: Any, *shape: int) -> Array:
        """Return the piece of this name as a contiguous array; what lay in it is not kept.

        >>> scratch = Scratch()
        >>> scratch.take("codes", "uint8", 2, 3).shape, scratch.num_bytes
        ((2, 3), 6)
        """
        size = prod(shape)
        piece = self._pieces.get((name, dtype))
        if piece is None or piece.size < size:
            piece = self._pieces[name, dtype] = numpy().empty(max(size, 1), dtype)
        return piece[:size].reshape(shape)

    def filled(self, value: float, like: Array) -> Array:
        """Return an array of one value, in the type and shape of another."""
        key = value, like.dtype
        piece = self._filled.get(key)
        if piece is None or piece.size < like.size:
            piece = self._filled[key] = numpy().full(like.size, value, like.dtype)
        return piece[: like.size].reshape(like.shape)

    def at_most(self, values: Array, most: float) -> None:
        """Lower what lies above a bound, in place.

        The bound is an array: with a single number numpy's minimum goes value by value where the processor
        has no AVX-512, ten times slower (measured, numpy 2.4).

        >>> array = numpy().array([3, 9], numpy().uint8)
        >>> Scratch().at_most(array, 5)
        >>> array.tolist()
        [3, 5]
        """
        numpy().minimum(values, self.filled(most, values), out=values)

    def at_least(self, values: Array, least: float) -> None:
        """Raise what lies below a bound, in place."""
        numpy().maximum(values, self.filled(least, values), out=values)

    @property
    def num_bytes(self) -> int:
        """Bytes of all pieces."""
        return sum(piece.nbytes for kept in (self._pieces, self._filled) for piece in kept.values())
