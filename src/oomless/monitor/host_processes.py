"""Processes of this machine: who they are, what they have in memory, whose children they are."""

import os
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import need

MOST_CHILDREN = 10_000
MOST_WORDS = 400


class HostProcess(NamedTuple):
    """A process now."""

    pid: int
    name: str
    user: str
    command: tuple[str, ...]
    resident_bytes: int
    journal: Path | None
    """Into which the monitor writes, if this process is watched."""


def host_process(pid: int) -> HostProcess | None:
    """Return a process; None if it is gone. What it does not let others see stays empty."""
    psutil = need("psutil", "monitor")
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            name = process.name()
            user = answered(process.username, "")
            command = tuple(answered(process.cmdline, [])[:MOST_WORDS])
            resident = answered(process.memory_info, None)
    except psutil.Error:
        return None
    return HostProcess(pid, name, user, command, resident.rss if resident else 0, journal_of(pid))


def answered(ask: Any, otherwise: Any) -> Any:
    """Return what a process says of itself, or something else where it may not be asked."""
    psutil = need("psutil", "monitor")
    try:
        return ask()
    except (psutil.Error, OSError):
        return otherwise


def journal_of(pid: int) -> Path | None:
    """Return the journal that a process has open, by the kernel's list of its files."""
    folder = Path(f"/proc/{pid}/fd")
    try:
        for each in os.scandir(folder):
            target = os.readlink(each.path)
            name = target.rpartition("/")[2]
            if name.startswith("rank") and name.endswith(".jsonl"):
                return Path(target)
    except OSError:
        return None
    return None


def tree_of(pid: int) -> list[int]:
    """Return a process and all below it."""
    psutil = need("psutil", "monitor")
    try:
        children = psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return [pid]
    return [pid, *(child.pid for child in children[:MOST_CHILDREN])]


def resident_of(pids: list[int]) -> int:
    """Return what processes have in memory together, as far as they can be asked."""
    psutil = need("psutil", "monitor")
    total = 0
    for pid in pids:
        try:
            total += psutil.Process(pid).memory_info().rss
        except psutil.Error:
            continue
    return total


def watched_processes() -> list[int]:
    """Return the processes that write a journal now; of other users' the kernel shows no open files."""
    psutil = need("psutil", "monitor")
    return [pid for pid in psutil.pids() if pid != os.getpid() and journal_of(pid) is not None]
