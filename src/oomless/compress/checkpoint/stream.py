"""The run itself: threads that read, encode and write jobs in order, and one that brings what is written to
the disk and into the journal."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from ...errors import OomlessError
from ..arithmetic.scratch import Array, numpy
from ..codecs.codec import ITEM_BYTES, Parts
from ..codecs.tile import NotFinite, Tile
from .blocks import Copy, Encode, Job, Measure, needs_maxima, partners
from .encode import encode
from .reader import MatrixBlock, Reader
from .target import Target, TargetWeight

SYNC_BYTES = 1 << 24
"""Written bytes after which they are brought to the disk."""
MOST_UNSYNCED_BYTES = 5 << 23
"""What may be written and not noted: no job is begun beyond it, so that a death costs this and the jobs at
hand."""
MAX_THREADS = 4
"""More gain little: between operations they wait for Python's lock. Each holds some 25 MB."""


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
        self._lock = threading.Lock()
        self._found: dict[str, Array] = {}
        self._left: dict[str, int] = {}
        self._ready: dict[str, threading.Event] = {}

    def announce(self, job: Measure) -> None:
        """Say that a measurement is going to be made, so that others wait for it."""
        name = partners(self.target.weights[job.weight])
        with self._lock:
            self._ready.setdefault(name, threading.Event())
            self._left.setdefault(name, job.num_blocks)

    def add(self, job: Measure, raw: Array, reader: Reader) -> None:
        """Take the maxima of a block."""
        np = numpy()
        weight = self.target.weights[job.weight]
        assert weight.codec is not None
        tile, name = Tile(raw, reader.scratch), partners(weight)
        by_row = weight.codec.scope == "row"
        largest = tile.maxima(0) if by_row else tile.largest()
        with self._lock:
            if by_row:
                found = self._found.setdefault(name, np.zeros((weight.view.shape[0], 1), np.float32))
                mine = found[job.block.row : job.block.end_row]
                np.maximum(mine, largest, out=mine)
            else:
                found = self._found.setdefault(name, np.zeros((1, 1), np.float32))
                np.maximum(found, largest, out=found)
            self._left[name] -= 1
            if not self._left[name]:
                self._ready[name].set()

    def of(self, weight: TargetWeight, block: MatrixBlock | None, stopped: threading.Event) -> Array | None:
        """Return what is known of a block, or of a weight; waits until it is. None: nothing beyond the block
        is needed."""
        if not needs_maxima(weight):
            return None
        assert weight.codec is not None
        name = partners(weight)
        with self._lock:
            ready = self._ready[name]
        while not ready.wait(0.1):
            if stopped.is_set():
                raise Stopped
        found = self._found[name]
        if weight.codec.scope == "row" and block is not None:
            return found[block.row : block.end_row]
        return found


class Stopped(Exception):  # noqa: N818 - no error: another thread has one, or the user said so
    """Another thread has failed, or the user has interrupted."""


class Stream:
    """One run over a range of jobs."""

    def __init__(
        self,
        target: Target,
        sources: tuple[Path, ...],
        outputs: tuple[Path, ...],
        num_threads: int,
        durable: bool,
        note: Callable[[int], None],
    ) -> None:
        self.target, self.sources, self.outputs = target, sources, outputs
        self.num_threads, self.durable, self.note = num_threads, durable, note
        self.maxima = Maxima(target)
        self.files: list[int] = []
        self._moved = threading.Condition()
        self._stopped = threading.Event()
        self._next: Iterator[tuple[int, Job]] = iter(())
        self._error: BaseException | None = None
        self._finished: dict[int, int] = {}
        self._mark = self._written = self._synced = 0
        self._working = 0

    def run(
        self,
        work: Iterator[tuple[int, Job]],
        begin: int,
        progress: Callable[[Progress], None],
        total_bytes: int,
    ) -> int:
        """Do all jobs; return how many bytes were written. Raises what a thread has met, once all have
        stopped."""
        self._next, self._mark = work, begin
        self.files = [os.open(path, os.O_WRONLY) for path in self.outputs]
        self._working = self.num_threads
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(self.num_threads)]
        try:
            for thread in threads:
                thread.start()
            self._follow(progress, total_bytes)
        except BaseException as error:
            self._fail(error)
            raise
        finally:
            for thread in threads:
                if thread.is_alive():
                    thread.join()
            for file in self.files:
                os.close(file)
        if self._error is not None:
            raise self._error
        return self._written

    def _follow(self, progress: Callable[[Progress], None], total_bytes: int) -> None:
        """Bring to the disk what is written, note it, and tell how far it is, until the threads have
        ended."""
        started = time.monotonic()
        while True:
            with self._moved:
                self._moved.wait_for(
                    lambda: not self._working or self._written - self._synced >= SYNC_BYTES, timeout=0.2
                )
                ended, mark, written = not self._working, self._mark, self._written
            if ended or written - self._synced >= SYNC_BYTES:
                if self.durable:
                    for file in self.files:
                        os.fdatasync(file)
                self.note(mark)
                with self._moved:
                    self._synced = written
                    self._moved.notify_all()
            progress(Progress(written, total_bytes, time.monotonic() - started))
            if ended:
                return

    def _fail(self, error: BaseException) -> None:
        with self._moved:
            if self._error is None and not isinstance(error, Stopped):
                self._error = error
            self._stopped.set()
            self._moved.notify_all()

    def _take(self) -> tuple[int, Job] | None:
        """The next job, once there is not too much that the disk does not hold yet."""
        with self._moved:
            self._moved.wait_for(
                lambda: self._stopped.is_set() or self._written - self._synced < MOST_UNSYNCED_BYTES
            )
            found = None if self._stopped.is_set() else next(self._next, None)
            if found and isinstance(found[1], Measure):
                self.maxima.announce(found[1])
            return found

    def _work(self) -> None:
        reader = Reader(self.sources)
        try:
            while found := self._take():
                place, job = found
                written = self._do(job, reader)
                with self._moved:
                    if not isinstance(job, Measure):
                        self._finished[place] = 1
                        while self._finished.pop(self._mark, 0):
                            self._mark += 1
                    self._written += written
                    if self._written - self._synced >= SYNC_BYTES:
                        self._moved.notify_all()
        except BaseException as error:
            self._fail(error)
        finally:
            reader.close()
            with self._moved:
                self._working -= 1
                self._moved.notify_all()

    def _do(self, job: Job, reader: Reader) -> int:
        """Do one job; return the bytes that it has written."""
        weight = self.target.weights[job.weight]
        try:
            match job:
                case Copy():
                    return self._copy(job, weight, reader)
                case Measure():
                    self.maxima.add(job, weight.view.read(reader, job.block), reader)
                    return 0
                case Encode():
                    return self._encode(job, weight, reader)
        except NotFinite as error:
            raise OomlessError(
                f"{weight.name[:80]} in {self.sources[weight.source.file].name}: {error.message}",
                "the checkpoint is damaged: fetch it again, or keep this weight: --keep NAME",
            ) from None
        except OSError as error:
            where = self.outputs[weight.file]
            raise OomlessError(
                f"{where}: cannot be written ({error.strerror})",
                "make room or check the folder, then run the same command: it goes on where it stopped",
            ) from None

    def _copy(self, job: Copy, weight: TargetWeight, reader: Reader) -> int:
        piece, part = weight.pieces[job.piece], weight.source.parts[job.piece]
        source, into = reader.file(part.file), self.files[weight.file]
        start, place, left = part.stored.start + job.start, piece.start + job.start, job.num_bytes
        while left:
            try:
                moved = os.copy_file_range(source, into, left, start, place)
            except OSError:  # between file systems that cannot
                moved = os.pwrite(into, os.pread(source, min(left, 1 << 22), start), place)
            if not moved:
                raise OomlessError(
                    f"{self.sources[part.file]}: ends {left:,} bytes too early", "fetch the file again"
                )
            start, place, left = start + moved, place + moved, left - moved
        return job.num_bytes

    def _encode(self, job: Encode, weight: TargetWeight, reader: Reader) -> int:
        assert weight.codec is not None
        known = self.maxima.of(weight, job.block, self._stopped)
        raw = weight.view.read(reader, job.block)
        parts = encode(weight.codec, raw, known, reader.scratch)
        written = write_parts(self.files[weight.file], weight, job.block, parts)
        if job.block.row == job.block.column == 0:
            whole = self.maxima.of(weight, None, self._stopped)
            for part, piece in zip(weight.codec.parts, weight.pieces, strict=True):
                if part.once:
                    content = weight.codec.whole(weight.view.shape, whole)[part.suffix]
                    written += put(self.files[weight.file], numpy().ascontiguousarray(content), piece.start)
        return written


def write_parts(file: int, weight: TargetWeight, block: MatrixBlock, parts: Parts) -> int:
    """Write the parts of a block to their places; return the bytes."""
    assert weight.codec is not None
    total = 0
    for part, piece, array in zip(weight.codec.parts, weight.pieces, parts, strict=True):
        if part.once:
            continue
        item, width = ITEM_BYTES[part.array], part.columns(weight.view.shape[1])
        first, column = block.row // part.rows, part.across(block.column, block.end_column)[0]
        start = piece.start + (first * width + column) * item
        if array.shape[1] == width:
            total += put(file, array, start)
        else:
            for row in range(array.shape[0]):
                total += put(file, array[row], start + row * width * item)
    return total


def put(file: int, array: Array, start: int) -> int:
    """Write contiguous memory to a place of a file; return its bytes."""
    view = memoryview(array.reshape(-1).view(numpy().uint8))
    done = 0
    while done < len(view):
        done += os.pwrite(file, view[done:], start + done)
    return len(view)
