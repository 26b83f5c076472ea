"""The most memory that a command takes, all its processes together: of the fullest card if it is on one, else
of the host."""

import threading
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import OomlessError
from .cards import Cards
from .entries import MemoryDeath, RunEnd, WatchedStep
from .host_processes import resident_of, tree_of
from .journal import journals, read_rank
from .launcher import start_deaf

EVERY_S = 0.1


class HighestUse(NamedTuple):
    """The highest moments of a command."""

    host_bytes: int
    card_bytes: int
    """Of the card on which it had most; 0 if it was on none."""

    @property
    def where(self) -> str:
        """Return what a budget is held against."""
        return "card" if self.card_bytes else "host"

    @property
    def num_bytes(self) -> int:
        """Return the most that it had there."""
        return self.card_bytes or self.host_bytes


class BudgetKept(NamedTuple):
    """What a command took, beside what it may take."""

    taken: HighestUse
    budget_bytes: int

    @property
    def is_over(self) -> bool:
        """Return whether it took more."""
        return self.taken.num_bytes > self.budget_bytes

    def to_json(self) -> dict[str, Any]:
        """Return the object that `monitor --budget --json` prints."""
        return {
            "schema": "oomless/budget/1",
            "budget_bytes": self.budget_bytes,
            "taken_bytes": self.taken.num_bytes,
            "where": self.taken.where,
            "host_bytes": self.taken.host_bytes,
            "card_bytes": self.taken.card_bytes,
            "over": self.is_over,
        }


class Meter:
    """Looks at a tree of processes ten times a second, from `start` to `stop`."""

    def __init__(
        self, root: int, cards: Cards | None = None, every_s: float = EVERY_S, with_root: bool = False
    ) -> None:
        """`with_root`: what the tree's first process has counts too."""
        self.root, self.every_s, self.with_root = root, every_s, with_root
        self.cards = cards if cards is not None else Cards()
        self.taken = HighestUse(0, 0)
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._go, daemon=True)

    def start(self) -> None:
        """Begin to look."""
        start_deaf(self.thread)

    def stop(self) -> HighestUse:
        """Return the most that was seen."""
        self.done.set()
        self.thread.join()
        self.cards.close()
        return self.taken

    def _go(self) -> None:
        while True:
            self.look()
            if self.done.wait(self.every_s):
                return

    def look(self) -> None:
        """Note what the tree has now."""
        below = tree_of(self.root)[0 if self.with_root else 1 :]
        most = 0
        for card in self.cards.now():
            most = max(most, sum(num_bytes for pid, num_bytes in card.processes.items() if pid in below))
        self.taken = HighestUse(
            max(self.taken.host_bytes, resident_of(below)), max(self.taken.card_bytes, most)
        )


def with_journals(taken: HighestUse, folder: Path) -> HighestUse:
    """Return what was seen, raised by what trainings below the command wrote down of their own peaks: a
    moment between two looks is in them."""
    host, card = taken
    for path in journals(folder) if folder.is_dir() else []:
        try:
            run = read_rank(path)
        except OomlessError:
            continue
        ends = [each.resident_peak_bytes for each in run.of(RunEnd)]
        host = max([host, *ends])
        if run.start.device.partition(":")[0] != "cpu":
            reserved = [each.reserved_bytes for each in run.of(WatchedStep)]
            reserved += [each.reserved_bytes for each in run.of(MemoryDeath)]
            card = max([card, *reserved])
    return HighestUse(host, card)
