"""Journal: how far a run has come, in a file that survives the process.

The first line says what is made of what; every further line is the number of jobs that are done and lie on
the disk. Who begins again with the same first line goes on behind the last one.
"""

import json
import os
from pathlib import Path
from typing import NamedTuple

from ...errors import OomlessError, UsageError

VERSION = 2
"""Of the arithmetic and the order of jobs: work of another version is not continued."""
PREFIX = ".oomless-compress"


class Part(NamedTuple):
    """Which share of the work a process does: `number` of `total`, counted from 1."""

    number: int = 1
    total: int = 1


WHOLE = Part()


class Journal:
    """The file of one part, open for appending."""

    def __init__(self, folder: Path, part: Part, first: dict[str, object]) -> None:
        self.path, self.first = journal_path(folder, part), {"version": VERSION, **first}
        self.done = 0
        self._file = -1

    def open(self) -> bool:
        """Begin or continue; return whether an earlier run was found. Another one's work is an error."""
        found = read_journal(self.path)
        if found is not None and found[0] != self.first:
            raise UsageError(
                f"{self.path.parent}: an unfinished run of something else, or of another format, lies here",
                "finish it with its own arguments, give another --out, or throw it away with --force",
            )
        self.done = found[1] if found else 0
        try:
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            if found is None:
                os.ftruncate(self._file, 0)
                os.write(self._file, json.dumps(self.first).encode() + b"\n")
                os.fsync(self._file)
        except OSError as error:
            raise OomlessError(
                f"{self.path}: cannot be written ({error.strerror})", "check the folder"
            ) from None
        return found is not None

    def note(self, done: int, durable: bool) -> None:
        """Write that all jobs before `done` lie on the disk."""
        os.write(self._file, f"{done}\n".encode())
        if durable:
            os.fdatasync(self._file)
        self.done = done

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def journal_path(folder: Path, part: Part) -> Path:
    """Return the journal of a part; of a run without parts it bears no number."""
    if part.total == 1:
        return folder / f"{PREFIX}.journal"
    return folder / f"{PREFIX}-{part.number:05}-of-{part.total:05}.journal"


def read_journal(path: Path) -> tuple[dict[str, object], int] | None:
    """Return (first line, jobs done) of a journal, None if there is none; a line that was cut off by death
    counts as not written."""
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OomlessError(f"{path}: cannot be read ({error.strerror})", "check the folder") from None
    try:
        first = json.loads(lines[0])
        done = [int(line) for line in lines[1:] if line.isdigit()]
    except (IndexError, ValueError):
        return None
    return (first, max(done, default=0)) if isinstance(first, dict) else None


def journals(folder: Path) -> list[Path]:
    """Return all journals of a folder."""
    return sorted(folder.glob(f"{PREFIX}*.journal"))
