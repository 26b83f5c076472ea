"""Runs as they are now: the journals below some folders, read on from where they were read last."""

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ..errors import OomlessError
from ..ledger import Category
from .entries import (
    Entry,
    FirstLook,
    Healed,
    Leak,
    MemoryDeath,
    MonitorFault,
    RunEnd,
    RunQuestion,
    RunStart,
    SampledStep,
    WatchedStep,
)
from .expected import category_sums
from .journal import Tail, journals

MOST_RUNS, MOST_RANKS = 16, 1_024
"""Runs, the newest first, and their ranks together: more are not shown."""
LOOKS_EVERY_S = 5.0
"""Between two looks for runs that are new."""


class RankNow(NamedTuple):
    """One rank of a run, as its last lines say."""

    job: str
    start: RunStart
    step: WatchedStep | None = None
    sample: SampledStep | None = None
    """The last one."""
    peak_bytes: int = 0
    """The highest of all samples."""
    leaks: tuple[Leak, ...] = ()
    predicted: tuple[tuple[Category, int], ...] = ()
    num_faults: int = 0
    died: bool = False
    ended: bool = False

    @property
    def growth(self) -> int:
        """Return the bytes that leaks take a step."""
        return sum(each.bytes_per_step for each in self.leaks)

    @property
    def predicted_bytes(self) -> int:
        """Return the sum of what was predicted; 0 without a prediction."""
        return sum(num_bytes for _, num_bytes in self.predicted)

    @property
    def used_bytes(self) -> int:
        """Return what the run has of its device: what its allocator holds, or the process where the device is
        the CPU."""
        if self.step is None:
            return 0
        return self.step.reserved_bytes or self.step.resident_bytes or self.step.live_bytes

    @property
    def headroom_bytes(self) -> int | None:
        """Return what is left; None where nothing says how much there is."""
        if self.start.capacity_bytes is None or self.step is None:
            return None
        return max(self.start.capacity_bytes - max(self.used_bytes, self.step.highest_bytes), 0)

    @property
    def steps_left(self) -> int | None:
        """Return after how many steps the growth will not fit any more; None if nothing grows."""
        room = self.headroom_bytes
        return room // self.growth if room is not None and self.growth > 0 else None

    def after(self, entry: Entry) -> "RankNow":
        """Return the rank after one more line."""
        match entry:
            case WatchedStep():
                return self._replace(step=entry)
            case SampledStep():
                return self._replace(sample=entry, peak_bytes=max(self.peak_bytes, entry.peak_bytes))
            case Leak():
                return self._replace(leaks=(*self.leaks, entry))
            case Healed():
                kept = [each for each in self.leaks if (each.file, each.line) != (entry.file, entry.line)]
                return self._replace(leaks=tuple(kept))
            case RunQuestion():
                return self._replace(predicted=category_sums(entry.predicted) or self.predicted)
            case MemoryDeath():
                return self._replace(died=True)
            case MonitorFault():
                return self._replace(num_faults=self.num_faults + 1)
            case RunEnd():
                return self._replace(ended=True)
            case FirstLook() | RunStart():
                return self


class Followed:
    """One journal that is read as it grows."""

    def __init__(self, path: Path, job: str) -> None:
        self.tail, self.job = Tail(path), job
        self.now: RankNow | None = None

    def more(self) -> None:
        """Read on."""
        for entry in self.tail.more():
            if isinstance(entry, RunStart):
                self.now = RankNow(self.job, entry, predicted=category_sums(entry.predicted))
            elif self.now is not None:
                self.now = self.now.after(entry)


class LiveRuns:
    """The runs below some folders: each is a run itself, or holds runs."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self.folders = tuple(folders)
        self.followed: dict[Path, Followed] = {}
        self.looked_at = float("-inf")

    def now(self) -> list[RankNow]:
        """Return the ranks as their journals say; what cannot be read is left out until it can."""
        moment = time.monotonic()
        if moment - self.looked_at >= LOOKS_EVERY_S:
            self.looked_at = moment
            self._look()
        for path, each in list(self.followed.items()):
            try:
                each.more()
            except (OSError, OomlessError):
                del self.followed[path]
        return [each.now for each in self.followed.values() if each.now is not None]

    def _look(self) -> None:
        paths: dict[Path, str] = {}
        for folder in run_folders(self.folders)[:MOST_RUNS]:
            latest = {path.stem.partition(".")[0]: path for path in journals(folder)}
            paths |= {path: folder.name for path in latest.values()}
        paths = dict(list(paths.items())[:MOST_RANKS])
        self.followed = {path: self.followed.get(path) or Followed(path, job) for path, job in paths.items()}


def run_folders(folders: Iterable[Path]) -> list[Path]:
    """Return the runs that these folders are or hold, the one that was written last first."""
    found: dict[Path, float] = {}
    for folder in folders:
        for each in (folder, *children(folder)):
            written = [modified(path) for path in journals(each)]
            if written:
                found[each] = max(written)
    return sorted(found, key=lambda each: -found[each])


def children(folder: Path) -> list[Path]:
    """Return the folders in a folder."""
    try:
        return [Path(each.path) for each in os.scandir(folder) if each.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def modified(path: Path) -> float:
    """Return when a file was written last; 0 if it is gone."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
