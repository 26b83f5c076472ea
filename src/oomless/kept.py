"""What is made of an object, kept by what it is made from; and what a search tried, kept where it is put
aside."""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar, cast

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


class PutAside(Exception):  # noqa: N818 - no error: the search is taken up again
    """The time of a slice is over; what was tried until then is kept."""


class Sliced:
    """A search in slices of time, for who must hear meanwhile whether it is still wanted. In each slice it is
    begun anew and goes fast through what was tried before; each tries at least one thing more."""

    current: "Sliced | None" = None
    """The search whose slice runs; None where searches go to their end."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self.seconds, self.clock = seconds, clock
        self.until, self.is_first = 0.0, True
        self._tried: dict[Hashable, object] = {}

    def slice(self, search: Callable[[], Made]) -> Made:
        """Return what a search finds; PutAside where it is not at its end when the slice is over."""
        self.until, self.is_first = self.clock() + self.seconds, True
        Sliced.current = self
        try:
            return search()
        finally:
            Sliced.current = None

    def pause(self) -> None:
        """Put the search aside where its slice is over and something was tried in it."""
        if not self.is_first and self.clock() >= self.until:
            raise PutAside
        self.is_first = False


def tried(key: Hashable, make: Callable[[], Made]) -> Made:
    """Return what a search tries, known by a key of its own; made anew unless it is searched in slices.

    >>> times, sliced = iter(range(9)), Sliced(1.0, lambda: next(times))
    >>> def search():
    ...     return [tried(n, lambda n=n: n * n) for n in range(3)]
    >>> def put_aside():
    ...     try:
    ...         return sliced.slice(search)
    ...     except PutAside:
    ...         return "put aside"
    >>> [put_aside() for _ in range(3)]
    ['put aside', 'put aside', [0, 1, 4]]
    """
    sliced = Sliced.current
    if sliced is None:
        return make()
    if key not in sliced._tried:
        sliced.pause()
        sliced._tried[key] = make()
    return cast(Made, sliced._tried[key])
