"""The run itself: jobs go to workers in order, and what they have written is brought to the disk and into the
journal."""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from ..arithmetic.scratch import Array, numpy
from .blocks import Encode, Job, Measure, needs_maxima, partners
from .crew import Hand, crew
from .target import Target, TargetWeight
from .worker import Answer, Task, Worker

SYNC_BYTES = 1 << 24
"""Written bytes after which they are brought to the disk."""
MOST_UNSYNCED_BYTES = 60_000_000
"""What may be begun and not noted: a death costs no more."""
MESSAGE_JOBS = 4
"""Jobs that a worker is given at once: a message costs some 50 microseconds of both sides, a job takes one to
three milliseconds."""
MOST_WAITING = 64
"""Writing jobs that are passed over in the search for a measurement."""
TICK_S = 0.2
"""Nor are they kept from it longer: who waits for the disk has no more to write."""
fdatasync = getattr(os, "fdatasync", os.fsync)
"""macOS has but the stronger one."""


class Progress(NamedTuple):
    """How far a run has come."""

    done_bytes: int
    total_bytes: int
    elapsed_s: float


class Maxima:
    """The largest magnitude of each tensor (or of the tensors that share one), or of each row, while it is
    taken."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._found: dict[str, Array] = {}
        self._left: dict[str, int] = {}

    def announce(self, job: Measure) -> None:
        """Say that a measurement is going to be made."""
        self._left.setdefault(partners(self.target.weights[job.weight]), job.num_blocks)

    def add(self, job: Measure, largest: Array) -> bool:
        """Take the maxima of a block; return whether it was the last that others wait for."""
        np = numpy()
        weight = self.target.weights[job.weight]
        assert weight.codec is not None
        name, by_row = partners(weight), weight.codec.scope == "row"
        found = self._found.setdefault(name, np.zeros((weight.view.shape[0] if by_row else 1, 1), np.float32))
        mine = found[job.block.row : job.block.end_row] if by_row else found
        np.maximum(mine, largest, out=mine)
        self._left[name] -= 1
        return not self._left[name]

    def ready(self, job: Job) -> bool:
        """Return whether all is known that a job needs."""
        weight = self.target.weights[job.weight]
        return (
            not isinstance(job, Encode) or not needs_maxima(weight) or not self._left.get(partners(weight), 1)
        )

    def of(self, weight: TargetWeight, rows: slice) -> Array | None:
        """Return what is known of rows of a weight; None: nothing beyond a block of it is needed."""
        if not needs_maxima(weight):
            return None
        assert weight.codec is not None
        found = self._found[partners(weight)]
        return found[rows] if weight.codec.scope == "row" else found


class Stream:
    """One run over a range of jobs."""

    def __init__(
        self,
        target: Target,
        sources: tuple[Path, ...],
        outputs: tuple[Path, ...],
        num_workers: int,
        durable: bool,
        note: Callable[[int], None],
    ) -> None:
        self.target, self.sources, self.outputs = target, sources, outputs
        self.num_workers, self.durable, self.note = num_workers, durable, note
        self.maxima = Maxima(target)
        self.files: tuple[int, ...] = ()
        self._moved = threading.Condition()
        self._stopped = False
        self._error: BaseException | None = None
        self._next: Iterator[tuple[int, Job]] = iter(())
        self._more = True
        self._queue: deque[tuple[int, Job]] = deque()
        """Writing jobs that wait for a measurement or for the disk, in order."""
        self._finished: dict[int, int] = {}
        """Bytes of jobs behind the first that is not finished."""
        self._mark = self._written = 0
        self._begun = self._passed = self._noted = 0
        """Bytes of jobs that were given away, that lie before the mark, that the journal knows."""
        self._dirty: set[int] = set()
        self._working = 0

    def run(
        self,
        work: Iterator[tuple[int, Job]],
        begin: int,
        progress: Callable[[Progress], None],
        total_bytes: int,
        source_bytes: int,
    ) -> int:
        """Do all jobs; return how many bytes were written. Raises what a worker has met, once all have
        stopped."""
        self._next, self._mark = work, begin
        self.files = tuple(os.open(path, os.O_WRONLY) for path in self.outputs)
        hands: list[Hand] = []
        threads: list[threading.Thread] = []
        try:
            hands = crew(self._worker, self.num_workers, source_bytes)
            self._working = len(hands)
            for hand in hands:
                threads.append(threading.Thread(target=self._lead, args=(hand,), daemon=True))
                threads[-1].start()
            threads.append(threading.Thread(target=self._follow, args=(progress, total_bytes), daemon=True))
            threads[-1].start()
            while threads[-1].is_alive():
                threads[-1].join(TICK_S)
        except BaseException as error:  # no lock: an interrupt may come while one is taken, and leave it so
            self._error, self._stopped = error, True
            raise
        finally:
            for thread in threads:
                if thread.is_alive():  # an interrupt may have come before it began
                    thread.join()
            for hand in hands:
                hand.end(self._stopped)
            for file in self.files:
                os.close(file)
        if self._error is not None:
            raise self._error
        return self._written

    def _worker(self) -> Worker:
        return Worker(self.target, self.sources, self.outputs, self.files)

    def _follow(self, progress: Callable[[Progress], None], total_bytes: int) -> None:
        try:
            self._bring(progress, total_bytes)
        except BaseException as error:
            self._fail(error)

    def _bring(self, progress: Callable[[Progress], None], total_bytes: int) -> None:
        """Bring to the disk what is written, note it, and tell how far it is, until the workers have
        ended."""
        started = time.monotonic()
        while True:
            with self._moved:
                self._moved.wait_for(
                    lambda: not self._working or self._passed - self._noted >= SYNC_BYTES, TICK_S
                )
                ended, mark, passed, written = not self._working, self._mark, self._passed, self._written
                due = ended or passed > self._noted
                dirty, self._dirty = (self._dirty, set()) if due else (set(), self._dirty)
            if due:
                if self.durable:
                    for file in range(len(self.files)) if ended else dirty:  # some hold but a header
                        fdatasync(self.files[file])
                self.note(mark)
                with self._moved:
                    self._noted = passed
                    self._moved.notify_all()
            progress(Progress(written, total_bytes, time.monotonic() - started))
            if ended:
                return

    def _fail(self, error: BaseException) -> None:
        with self._moved:
            if self._error is None:
                self._error = error
            self._stopped = True
            self._moved.notify_all()

    def _lead(self, hand: Hand) -> None:
        """Keep one worker busy until nothing is left."""
        given: deque[tuple[Task, ...]] = deque()
        try:
            while not self._stopped:
                while len(given) < hand.ahead and (tasks := self._take(wait=not given)):
                    hand.send(tasks)
                    given.append(tasks)
                if not given:
                    break
                self._account(given.popleft(), hand.receive())
        except BaseException as error:
            self._fail(error)
        finally:
            with self._moved:
                self._working -= 1
                self._moved.notify_all()

    def _take(self, wait: bool) -> tuple[Task, ...]:
        """The next jobs of a message; none: there are no more, or, if it may not wait, none yet."""
        with self._moved:
            while not self._stopped:
                tasks: list[Task] = []
                while len(tasks) < MESSAGE_JOBS and (found := self._allowed()):
                    tasks.append(self._task(*found))
                if tasks or not wait or not (self._more or self._queue):
                    return tuple(tasks)
                self._moved.wait(TICK_S)
            return ()

    def _allowed(self) -> tuple[int, Job] | None:
        """The next job that can be done now. Writing jobs keep their order: what the journal counts is always
        a beginning. Measurements write nothing, so they may go before those that wait."""
        while self._more or self._queue:
            if self._queue and self._open(self._queue[0][1]):
                return self._queue.popleft()
            if not self._more or len(self._queue) >= MOST_WAITING:
                return None
            found = next(self._next, None)
            if found is None:
                self._more = False
            elif isinstance(found[1], Measure):
                self.maxima.announce(found[1])
                return found
            else:
                self._queue.append(found)
        return None

    def _open(self, job: Job) -> bool:
        """Whether a writing job may begin: what it needs is known, and not too much is written that the disk
        does not hold yet."""
        assert not isinstance(job, Measure)
        room = MOST_UNSYNCED_BYTES - (self._begun - self._noted)
        return (job.written <= room or self._begun == self._noted) and self.maxima.ready(job)

    def _task(self, place: int, job: Job) -> Task:
        if isinstance(job, Measure):
            return Task(place, job)
        self._begun += job.written
        if not isinstance(job, Encode):
            return Task(place, job)
        weight, block = self.target.weights[job.weight], job.block
        first = block.row == block.column == 0
        return Task(
            place,
            job,
            self.maxima.of(weight, slice(block.row, block.end_row)),
            self.maxima.of(weight, slice(None)) if first else None,
        )

    def _account(self, tasks: tuple[Task, ...], answers: tuple[Answer, ...]) -> None:
        """Take what a worker has answered."""
        with self._moved:
            news = False
            for (place, job, *_), (written, largest) in zip(tasks, answers, strict=True):
                if isinstance(job, Measure):
                    news |= self.maxima.add(job, largest)
                    continue
                self._finished[place] = job.written
                self._dirty.add(self.target.weights[job.weight].file)
                self._written += written
            while self._mark in self._finished:
                self._passed += self._finished.pop(self._mark)
                self._mark += 1
            if news or self._passed - self._noted >= SYNC_BYTES:
                self._moved.notify_all()
