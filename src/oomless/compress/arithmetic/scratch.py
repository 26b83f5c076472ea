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

    @property
    def num_bytes(self) -> int:
        """Bytes of all pieces."""
        return sum(piece.nbytes for piece in self._pieces.values())
