"""Worker: reads, encodes and writes the jobs of a message, and answers what it has written or found."""

import os
from pathlib import Path
from typing import NamedTuple

from ...errors import OomlessError
from ..arithmetic.scratch import Array, numpy
from ..codecs.codec import ITEM_BYTES, Parts
from ..codecs.tile import NotFinite, Tile
from .blocks import Copy, Encode, Job, Measure
from .encode import encode
from .reader import MatrixBlock, Reader
from .target import Target, TargetWeight

COPIED_BYTES = 1 << 22
"""What is copied at once where the system does not do it itself."""


class Task(NamedTuple):
    """A job with all that its worker must know beside the target."""

    place: int
    """In the order of all writing jobs."""
    job: Job
    known: Array | None = None
    """Maxima that an encoding needs, of its rows or of the tensor; None: its own block's are enough."""
    whole: Array | None = None
    """The same of all rows, for the parts that a tensor has once."""


class Answer(NamedTuple):
    """What a job has done."""

    written: int
    largest: Array | None = None
    """What a measurement has found."""


class Worker:
    """Files and memory of one worker."""

    def __init__(
        self, target: Target, sources: tuple[Path, ...], outputs: tuple[Path, ...], files: tuple[int, ...]
    ) -> None:
        self.target, self.sources, self.outputs, self.files = target, sources, outputs, files
        self.reader = Reader(sources)

    def do(self, tasks: tuple[Task, ...]) -> tuple[Answer, ...]:
        """Do jobs in turn; what goes wrong is an error that a user can act on."""
        return tuple(self._do(task) for task in tasks)

    def _do(self, task: Task) -> Answer:
        weight = self.target.weights[task.job.weight]
        try:
            match task.job:
                case Copy():
                    return Answer(self._copy(task.job, weight))
                case Measure():
                    return Answer(0, self._measure(task.job, weight))
                case Encode():
                    return Answer(self._encode(task, task.job.block, weight))
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

    def _copy(self, job: Copy, weight: TargetWeight) -> int:
        piece, part = weight.pieces[job.piece], weight.source.parts[job.piece]
        source, into = self.reader.file(part.file), self.files[weight.file]
        start, place, left = part.stored.start + job.start, piece.start + job.start, job.num_bytes
        while left:
            try:
                moved = os.copy_file_range(source, into, left, start, place)
            except OSError:  # between file systems that cannot
                moved = os.pwrite(into, os.pread(source, min(left, COPIED_BYTES), start), place)
            if not moved:
                raise OomlessError(
                    f"{self.sources[part.file]}: ends {left:,} bytes too early", "fetch the file again"
                )
            start, place, left = start + moved, place + moved, left - moved
        return job.num_bytes

    def _measure(self, job: Measure, weight: TargetWeight) -> Array:
        assert weight.codec is not None
        tile = Tile(weight.view.read(self.reader, job.block), self.reader.scratch)
        return tile.maxima(0) if weight.codec.scope == "row" else tile.largest()

    def _encode(self, task: Task, block: MatrixBlock, weight: TargetWeight) -> int:
        assert weight.codec is not None
        raw = weight.view.read(self.reader, block)
        parts = encode(weight.codec, raw, task.known, self.reader.scratch)
        written = write_parts(self.files[weight.file], weight, block, parts)
        if block.row == block.column == 0:
            for part, piece in zip(weight.codec.parts, weight.pieces, strict=True):
                if part.once:
                    content = weight.codec.whole(weight.view.shape, task.whole)[part.suffix]
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
