"""Where a run is written down, and which rank writes: told by the environment that launchers set."""

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

RUNS = "oomless_runs"
"""Folder of runs that nobody named a place for, in the folder where the run was started."""
RUN_VARIABLE = "OOMLESS_RUN"
"""Set by `oomless run`, so that all ranks write into one folder."""


class Place(NamedTuple):
    """A rank and its folder."""

    folder: Path
    rank: int
    world_size: int
    num_local: int
    """Ranks of this host."""


def place_of(folder: str | os.PathLike[str] | None, environment: Mapping[str, str] = os.environ) -> Place:
    """Return where this process writes.

    >>> place_of("runs/a", {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"})[1:]
    (3, 8, 4)
    """
    rank = number(environment, "RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK")
    world = number(environment, "WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE") or 1
    local = number(environment, "LOCAL_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE") or world
    given = folder or environment.get(RUN_VARIABLE)
    chosen = Path(given) if given else Path(RUNS) / run_name(environment, world)
    return Place(chosen.absolute(), rank, world, max(local, 1))


def number(environment: Mapping[str, str], *names: str) -> int:
    """Return the first of some variables that is a number; 0 if none is."""
    for name in names:
        text = environment.get(name, "")
        if text.isascii() and text.isdecimal() and len(text) < 10:
            return int(text)
    return 0


def run_name(environment: Mapping[str, str], world_size: int) -> str:
    """Return a name that all ranks of a host agree on, and that sorts by time: the start of the launcher that
    is their parent, or of this process if it is alone."""
    pid = os.getppid() if world_size > 1 else os.getpid()
    return f"{time.strftime('%Y%m%d-%H%M%S', time.localtime(started(pid)))}-{pid}"


def started(pid: int) -> float:
    """Return when a process began, in seconds since 1970; now, where the system does not say."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        ticks = int(text.rpartition(")")[2].split()[19])
        booted = next(
            int(line.split()[1])
            for line in Path("/proc/stat").read_text(encoding="utf-8").splitlines()
            if line.startswith("btime ")
        )
        return booted + ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, StopIteration, AttributeError):
        return time.time()


def journal_path(place: Place) -> Path:
    """Return a journal that is not there yet: rank3.jsonl, or rank3.2.jsonl where the rank is started
    again."""
    path, attempt = place.folder / f"rank{place.rank}.jsonl", 1
    while path.exists():
        attempt += 1
        path = place.folder / f"rank{place.rank}.{attempt}.jsonl"
    return path


def script_name() -> str:
    """Return the name of the script that runs, without its folder.

    >>> "/" in script_name()
    False
    """
    return os.path.basename(sys.argv[0]) if sys.argv and sys.argv[0] else "python"
