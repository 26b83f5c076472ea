"""The journal of a watched run: one JSON line an entry, whole or not at all, in a file that never outgrows
its share.

A line goes to the kernel with one write, so that whoever kills the process takes the last line at most. Steps
stand one a line until half of the share is used; then two stand in a line until half of what is left is used,
then four, and so on: a run of any length fits, and its beginning keeps all detail.
"""

import os
from pathlib import Path
from typing import NamedTuple, TypeVar

from ..errors import OomlessError
from ..files import need_regular
from .entries import Entry, RunStart, SampledStep, WatchedStep, entry_of, line_of

MAX_FOLDER_BYTES = 96_000_000
"""Of all journals of a run together: a week stays under 100 MB, recordings of sampled steps included."""
MAX_LINE_BYTES = 4_000_000
"""Longer lines are none of ours."""
MAX_JOURNAL_BYTES = 1_000_000_000
MAX_OTHER = 2_000
"""Lines that are neither steps nor samples: leaks, faults and the like."""
STEPS_SHARE, SAMPLES_SHARE = 0.6, 0.3
Chosen = TypeVar("Chosen")


class Share:
    """Bytes that one kind of line may take, and how many entries stand for one now: it doubles whenever half
    of what was left is used."""

    def __init__(self, num_bytes: int) -> None:
        self.left = num_bytes
        self.until = num_bytes // 2
        self.every = 1

    def take(self, num_bytes: int) -> None:
        """Count a line that was written."""
        self.left -= num_bytes
        if self.left < self.until:
            self.until //= 2
            self.every *= 2


class RunJournal:
    """The growing journal of one rank."""

    def __init__(self, path: Path, share_bytes: int = MAX_FOLDER_BYTES) -> None:
        self.path = path
        self.descriptor = os.open(
            path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644
        )
        self.steps = Share(int(share_bytes * STEPS_SHARE))
        self.samples = Share(int(share_bytes * SAMPLES_SHARE))
        self.waiting: WatchedStep | None = None
        self.num_samples = self.num_others = 0
        self.highest_sample = 0

    def write(self, entry: Entry) -> None:
        """Write an entry, or keep it for the line that it will share."""
        if isinstance(entry, WatchedStep):
            self.waiting = entry if self.waiting is None else together(self.waiting, entry)
            if self.waiting.num >= self.steps.every:
                self.flush()
            return
        if isinstance(entry, SampledStep):
            self.num_samples += 1
            raised = entry.peak_bytes > self.highest_sample
            self.highest_sample = max(self.highest_sample, entry.peak_bytes)
            if raised or self.num_samples % self.samples.every == 0:
                self.samples.take(self._put(entry))
            return
        self.num_others += 1
        if self.num_others <= MAX_OTHER:
            self.flush()
            self._put(entry)

    def flush(self) -> None:
        """Write the steps that wait for a full line."""
        if self.waiting is not None:
            waiting, self.waiting = self.waiting, None
            self.steps.take(self._put(waiting))

    def close(self) -> None:
        """Write what waits and close the file."""
        if self.descriptor >= 0:
            try:
                self.flush()
            finally:
                os.close(self.descriptor)
                self.descriptor = -1

    def forget(self) -> None:
        """Close without a word: in a child that took over the file of its parent."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def _put(self, entry: Entry) -> int:
        line = line_of(entry)
        written = os.write(self.descriptor, line)
        if written < len(line):
            raise OSError(28, "no space left for a whole line")
        return written


def together(first: WatchedStep, second: WatchedStep) -> WatchedStep:
    """Return the entry that stands for both: sums of times, extremes of bytes, the second one's end."""
    phases = dict(first.phases)
    for name, seconds in second.phases.items():
        phases[name] = round(phases.get(name, 0.0) + seconds, 6)
    return second._replace(
        num=first.num + second.num,
        seconds=round(first.seconds + second.seconds, 6),
        phases=phases,
        lowest_bytes=min(first.lowest_bytes, second.lowest_bytes),
        highest_bytes=max(first.highest_bytes, second.highest_bytes),
        kept_bytes=max(first.kept_bytes, second.kept_bytes),
        tokens=max(first.tokens, second.tokens),
    )


class RankRun(NamedTuple):
    """What the journal of one rank says."""

    path: Path
    start: RunStart
    entries: tuple[Entry, ...]
    num_unread: int
    """Whole lines that could not be read: of another version, or damaged."""

    def of(self, kind: type[Chosen]) -> list[Chosen]:
        """Return the entries of one kind, in order."""
        return [each for each in self.entries if isinstance(each, kind)]


class Tail:
    """A journal that is read as it grows, to its last whole line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        self.num_unread = 0

    def more(self) -> list[Entry]:
        """Return the entries that came since the last call. A last line without its end is left for later."""
        found: list[Entry] = []
        with self.path.open("rb") as file:
            file.seek(self.offset)
            while line := file.readline(MAX_LINE_BYTES + 1):
                if not line.endswith(b"\n") and len(line) <= MAX_LINE_BYTES:
                    break
                self.offset += len(line)
                entry = entry_of(line)
                if entry is None:
                    self.num_unread += 1
                else:
                    found.append(entry)
                if self.offset > MAX_JOURNAL_BYTES:
                    raise OomlessError(f"{self.path}: longer than any journal", "is it a run of oomless?")
        return found


def read_rank(path: Path) -> RankRun:
    """Return the run of one journal, read to its last whole line; what is none is an error that says how."""
    need_regular(path, "give the folder that `oomless run` or `watch` named")
    tail = Tail(path)
    try:
        entries = tail.more()
    except OSError as error:
        raise OomlessError(f"{path}: cannot be read ({error.strerror})", "check the path") from None
    start = next((each for each in entries if isinstance(each, RunStart)), None)
    if start is None:
        raise OomlessError(
            f"{path}: no journal of a run", "give the folder that `oomless run` or `watch` named"
        )
    return RankRun(path, start, tuple(entries), tail.num_unread)


def read_run(folder: Path) -> tuple[RankRun, ...]:
    """Return the ranks of a run, in order; of a rank that was started again, the last attempt.

    A file is the journal of one rank.
    """
    if folder.is_file():
        return (read_rank(folder),)
    if not folder.is_dir():
        raise OomlessError(f"{folder}: no such run", "give the folder that `oomless run` or `watch` named")
    found: dict[int, RankRun] = {}
    for path in journals(folder):
        run = read_rank(path)
        found[run.start.rank] = run
    if not found:
        raise OomlessError(
            f"{folder}: no journal of a run in it", "its files are called rank0.jsonl and so on"
        )
    return tuple(found[rank] for rank in sorted(found))


def journals(folder: Path) -> list[Path]:
    """Return the journals of a folder; attempts of a rank in their order."""

    def order(path: Path) -> tuple[int, int]:
        rank, _, attempt = path.stem.removeprefix("rank").partition(".")
        return int(rank), int(attempt or 1)

    named = [
        path
        for path in folder.glob("rank*.jsonl")
        if path.stem.removeprefix("rank").replace(".", "", 1).isdecimal()
    ]
    return sorted(named, key=order)
