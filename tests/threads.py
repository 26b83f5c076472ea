# mypy: ignore-errors
# Its types are torch's, which not every machine that checks types has.
"""Real ranks under torch's profiler: it sees one thread, so gloo's must not be the ones that free what was
sent."""

from bisect import bisect_right, insort
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import get_native_id
from time import sleep
from typing import Any


def settle() -> None:
    """Wait until every other thread of this process sleeps, and still does when it is looked at again.

    A gloo thread tells that it is done before it lets go of the tensor; until it has, it is running or waits
    for a core, and the kernel says so. One that waits for Python's lock sleeps too: it gets the lock while
    this thread sleeps, and is seen at the next look.
    """
    mine = str(get_native_id())
    quiet = 0
    while quiet < QUIET_LOOKS:
        quiet = (
            0
            if any(runs(each) for each in Path("/proc/self/task").iterdir() if each.name != mine)
            else quiet + 1
        )
        sleep(0.0002)


QUIET_LOOKS = 3


def runs(task: Path) -> bool:
    """Whether a thread has something to do: its state is the first word behind its name."""
    try:
        return (task / "stat").read_text().rpartition(")")[2].split()[0] != "S"
    except (FileNotFoundError, ProcessLookupError):
        return False


@contextmanager
def patient() -> Iterator[None]:
    """Settle after every collective that Python waits for."""
    import torch
    import torch.distributed._functional_collectives as functional

    work = torch._C._distributed_c10d.Work
    waits = work.wait, functional.wait_tensor

    def after(wait: Callable[..., Any]) -> Callable[..., Any]:
        def slowly(*arguments: Any, **named: Any) -> Any:
            result = wait(*arguments, **named)
            settle()
            return result

        return slowly

    work.wait, functional.wait_tensor = after(waits[0]), after(waits[1])
    try:
        yield
    finally:
        work.wait, functional.wait_tensor = waits


def known_frees(events: list[tuple[int, int, int]]) -> list[tuple[int, int]]:
    """(time, bytes) of events (time, bytes, address), with the frees that no watched thread made: where an
    allocation lies over an older one, that one is gone.

    DDP waits in C++, and frees what it sent before `settle` can be called.
    """
    starts: list[int] = []
    live: dict[int, int] = {}
    found = []
    for at, size, where in events:
        if size < 0:
            if live.pop(where, None) is not None:
                starts.remove(where)
            found.append((at, size))
            continue
        index = max(0, bisect_right(starts, where) - 1)
        gone = [
            each
            for each in starts[index : bisect_right(starts, where + size - 1)]
            if each + live[each] > where
        ]
        for each in gone:
            found.append((at, -live.pop(each)))
            starts.remove(each)
        if size:
            insort(starts, where)
            live[where] = size
        found.append((at, size))
    return found
