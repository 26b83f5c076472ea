"""The settings of a framework by falling speed, without asking the speed of those that cannot come first."""

from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from itertools import pairwise
from typing import NamedTuple

from ..run.training import TrainingAsked
from ..speed.training import TrainingSpeed


class BatchColumn(NamedTuple):
    """One way to divide states and layers with one recomputation, and its micro-batches."""

    place: tuple[int, int]
    """Way and recomputation, the least one first: which of several with one speed comes first."""
    settings: tuple[TrainingAsked, ...]
    """From the smallest micro-batch to the largest."""
    ordered: bool
    """Whether a larger micro-batch is never slower."""

    @property
    def smallest(self) -> TrainingAsked:
        """The question that needs least: the fewest sequences at once, and as few micro-batches as any of
        them has, of which a pipeline keeps several."""
        return self.settings[0]._replace(grad_accum=self.settings[-1].grad_accum)


class RatedSetting(NamedTuple):
    """A setting that a search may estimate, with its speed."""

    column: BatchColumn
    at: int
    speed: TrainingSpeed | None

    @property
    def asked(self) -> TrainingAsked:
        """The question."""
        return self.column.settings[self.at]

    @property
    def is_smallest(self) -> bool:
        """Whether its column has no smaller micro-batch."""
        return self.at == 0

    @property
    def rate(self) -> float:
        """Tokens a second to count on; 0 where no speed is known."""
        return self.speed.tokens_per_s.counted_on if self.speed else 0.0

    @property
    def order(self) -> tuple[float, tuple[int, int], int]:
        """The fastest first; of equal ones the way that is named first, the least recomputation, the smallest
        micro-batch."""
        return -self.rate, self.column.place, self.at


class FastestFirst:
    """A queue of settings. Recomputation is work that is done again, so a way waits at the speed of its least
    one, and the next is looked at once that comes first; likewise the micro-batches of an ordered column."""

    def __init__(
        self, ways: Iterable[tuple[BatchColumn, ...]], speed: Callable[[TrainingAsked], TrainingSpeed | None]
    ) -> None:
        self.speed = speed
        self.waiting: list[tuple[tuple[float, tuple[int, int], int], RatedSetting]] = []
        self.after: dict[tuple[int, int], BatchColumn] = {}
        self.closed: set[tuple[int, int]] = set()
        for columns in ways:
            self.open(columns[0])
            self.after |= {before.place: column for before, column in pairwise(columns)}

    def open(self, column: BatchColumn) -> None:
        """Let the fastest of a column wait, or all of one whose order is not known."""
        last = len(column.settings) - 1
        for at in (last,) if column.ordered else range(last + 1):
            self.wait(column, at)

    def wait(self, column: BatchColumn, at: int) -> None:
        """Let a setting wait."""
        setting = RatedSetting(column, at, self.speed(column.settings[at]))
        heappush(self.waiting, (setting.order, setting))

    def close(self, column: BatchColumn) -> None:
        """Forget what is left of a column."""
        self.closed.add(column.place)

    def next(self) -> RatedSetting | None:
        """Return the fastest setting that is left; None at the end."""
        while self.waiting:
            _, setting = heappop(self.waiting)
            column = setting.column
            if (follows := self.after.pop(column.place, None)) is not None:
                self.open(follows)
            if column.place in self.closed:
                continue
            if column.ordered and setting.at:
                self.wait(column, setting.at - 1)
            return setting
        return None
