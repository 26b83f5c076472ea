"""What is made of an object, kept by what it is made from."""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Made = TypeVar("Made")


class Kept(Generic[Made]):
    """Answers that are asked for again: by stages, cards, sizes and replicas of one question.

    An object as large as a model is known by its id, not by its value; it is kept with what was made of it,
    so its id stays its own. When there are too many, all are forgotten.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._made: dict[tuple[int, Hashable], tuple[object, Made]] = {}

    def of(self, source: object, key: Hashable, make: Callable[[], Made]) -> Made:
        """Return what `make` makes of a source under a key, made once.

        >>> layers = [3, 5]
        >>> kept = Kept[int](most=8)
        >>> kept.of(layers, "sum", lambda: sum(layers)), kept.of(layers, "sum", lambda: 0)
        (8, 8)
        """
        found = self._made.get((id(source), key))
        if found is None:
            made = make()
            if len(self._made) >= self.most:
                self._made.clear()
            found = self._made[id(source), key] = (source, made)
        return found[1]

    def clear(self) -> None:
        """Forget all."""
        self._made.clear()
