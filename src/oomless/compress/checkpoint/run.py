"""A run from beginning to end: what disk it needs, where it goes on, how it ends."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ... import __version__
from ...errors import OomlessError, UsageError
from .blocks import jobs, num_jobs
from .crew import MAX_WORKERS
from .finish import BESIDE, CARD_NAME, SUFFIX, finish
from .journal import VERSION, WHOLE, Journal, Part, journal_path, journals, read_journal
from .source import Checkpoint
from .stream import Progress, Stream
from .target import Target

SPARE_BYTES = 1 << 26
"""What a disk must have beside the weights: tokenizer, index, journal."""


def silent(progress: Progress) -> None:
    """Tell nobody."""


class Writing(NamedTuple):
    """How a result is written, whatever it is."""

    threads: int | None = None
    """None: one a processor."""
    durable: bool = True
    """What the journal says is on the disk."""
    force: bool = False
    """Into a folder that holds something else."""
    progress: Callable[[Progress], None] = silent


AS_USUAL: Writing = Writing()


def num_workers() -> int:
    """Return the workers of a run: one a processor that this process may use, up to MAX_WORKERS."""
    return min(
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, MAX_WORKERS
    )


def share(total: int, part: Part) -> tuple[int, int]:
    """Return the jobs of a part, from and up to: as equal as whole jobs allow.

    >>> [share(10, Part(number, 3)) for number in (1, 2, 3)]
    [(0, 3), (3, 6), (6, 10)]
    """
    return total * (part.number - 1) // part.total, total * part.number // part.total


class OutputFolder(NamedTuple):
    """A folder that is written: from what, as what, and what was asked."""

    path: Path
    source: Checkpoint
    target: Target
    request: dict[str, Any]


def first_line(out: OutputFolder, num_parts: int) -> dict[str, object]:
    """Return what tells one run from another: all headers of the source, what each weight becomes, how many
    parts do it; and what was asked, so that a folder can be finished by its name alone."""
    made = [
        (weight.name, weight.codec.name if weight.codec else "", weight.pieces)
        for weight in out.target.weights
    ]
    digest = hashlib.sha256(json.dumps(made).encode()).hexdigest()
    known = json.loads(json.dumps(out.request))
    return {
        "oomless": __version__,
        "source": out.source.fingerprint(),
        "target": digest,
        "parts": num_parts,
        "request": known,
    }


def prepare(folder: Path, source: Checkpoint, target: Target, force: bool) -> None:
    """Make the folder ready: nothing foreign in it, room enough on its disk, files of their full size."""
    if folder.resolve() == source.folder.resolve():
        raise UsageError(f"{folder} is the source itself", "give another folder: the source is never touched")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OomlessError(f"{folder}: cannot be made ({error.strerror})", "check the path") from None
    if force:
        clear(folder, target)
    elif any(folder.iterdir()) and not journals(folder):  # other parts begin meanwhile, journals first
        raise UsageError(
            f"{folder} is not empty", "give another --out, or --force to overwrite what is there"
        )
    if not os.access(folder, os.W_OK):
        raise OomlessError(f"{folder}: cannot be written to", "check its permissions")
    missing = sum(
        file.num_bytes - taken(folder / (file.name + SUFFIX))
        for file in target.files
        if not (folder / file.name).exists()
    )
    free = shutil.disk_usage(folder).free
    if missing + SPARE_BYTES > free:
        raise OomlessError(
            f"{folder}: {missing:,} bytes are needed, {free:,} are free", "make room, or give another --out"
        )


def taken(path: Path) -> int:
    """Return the bytes that a file takes on its disk already."""
    try:
        return path.stat().st_blocks * 512
    except OSError:
        return 0


def clear(folder: Path, target: Target) -> None:
    """Remove what an earlier run has left, the config first: what is left of it must not load."""
    names = [
        "config.json",
        "model.safetensors.index.json",
        CARD_NAME,
        *BESIDE,
        *(file.name for file in target.files),
    ]
    for path in (
        [folder / name for name in names] + [folder / (name + SUFFIX) for name in names] + journals(folder)
    ):
        path.unlink(missing_ok=True)


def reserve(folder: Path, target: Target) -> tuple[Path, ...]:
    """Return the files that are written, each of its full size and with its header: a full disk is found
    here."""
    paths = []
    for file in target.files:
        done, path = folder / file.name, folder / (file.name + SUFFIX)
        paths.append(done if done.exists() else path)
        if done.exists():
            continue
        number = -1
        try:
            number = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            if os.fstat(number).st_size != file.num_bytes or taken(path) < file.num_bytes:
                allocate(number, file.num_bytes)
            os.pwrite(number, file.header, 0)
        except OSError as error:
            raise OomlessError(
                f"{path}: cannot be written ({error.strerror})",
                "make room or check the folder, then run the same command: it goes on where it stopped",
            ) from None
        finally:
            if number >= 0:
                os.close(number)
    return tuple(paths)


def allocate(number: int, num_bytes: int) -> None:
    """Give a file its size, with real room on the disk where the system can promise it."""
    os.ftruncate(number, num_bytes)
    if hasattr(os, "posix_fallocate") and num_bytes:
        os.posix_fallocate(number, 0, num_bytes)


def stream(out: OutputFolder, part: Part = WHOLE, writing: Writing = AS_USUAL) -> None:
    """Do the work of one part: the journal says where to begin, and in the end that it is done."""
    folder, source, target = out.path, out.source, out.target
    prepare(folder, source, target, writing.force)
    journal = Journal(folder, part, first_line(out, part.total))
    total = num_jobs(target)
    begin, end = share(total, part)
    journal.open()
    try:
        begin = max(begin, journal.done)
        outputs = reserve(folder, target)
        run = Stream(
            target,
            source.files,
            outputs,
            writing.threads or num_workers(),
            writing.durable,
            lambda done: journal.note(done, writing.durable),
        )
        mine = source.num_bytes * (end - begin) // max(total, 1)
        run.run(jobs(target, begin, end), begin, writing.progress, target.num_bytes, mine)
    finally:
        journal.close()


def join(out: OutputFolder, card: str, num_parts: int, num_layers: int, durable: bool) -> None:
    """Finish a folder whose parts, and calibrated layers, are all done; an error that names those that are
    not."""
    folder, total = out.path, num_jobs(out.target)
    first = {"version": VERSION, **first_line(out, num_parts)}
    for number in range(1, num_parts + 1):
        part = Part(number, num_parts)
        found = read_journal(journal_path(folder, part))
        if found is None or found[0] != first or found[1] < share(total, part)[1] + num_layers:
            what = (
                "is not begun"
                if found is None
                else "is of another run"
                if found[0] != first
                else "is not done"
            )
            raise OomlessError(f"{folder}: part {number} of {num_parts} {what}", "run it, then join again")
    finish(out.source, out.target, folder, card, durable)
    for path in journals(folder):
        path.unlink(missing_ok=True)
