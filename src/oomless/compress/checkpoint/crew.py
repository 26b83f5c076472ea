"""Crew: where workers work. Processes on Linux, since threads of numpy wait for Python's lock: two of them
were 10 % faster than one, for half as much processor time again. Threads of this process where a fork is not
safe; and a single one where the work is over before processes have begun.

A fork is safe where no other thread of Python lives: before it, OpenBLAS waits for its own threads, and
where another one of Python's is in a product of matrices it waits forever (seen, numpy 2.4). Idle threads
of torch or OpenBLAS do no harm. The new process imports nothing, asks numpy for arithmetic alone (no BLAS),
frees no object of its parent and takes none of its locks.
"""

import gc
import os
import signal
import sys
from collections import deque
from collections.abc import Callable
from threading import active_count
from traceback import format_exc
from typing import TYPE_CHECKING

from ...errors import OomlessError
from ..arithmetic.scratch import numpy
from .worker import Answer, Task, Worker

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkProcess

MAX_WORKERS = 4
"""What a run takes by itself: the disk is the limit then. Each holds some 25 MB."""
SMALL_BYTES = 1 << 26
"""Of the source: up to here one thread is done as soon as two processes are."""
KEPT_BYTES = 1 << 24
"""Taken and freed once, it tells glibc to keep freed memory up to this size: else each temporary goes back to
the system and its pages are made anew (measured, FP8 blocks: a third of all processor time)."""
LOOK_S = 1.0
"""After so long without a word, either side looks whether the other one is alive."""


class SameProcess:
    """A worker in the thread that asks it."""

    ahead = 1
    """Messages that it may hold at once."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.waiting: deque[tuple[Task, ...]] = deque()

    def send(self, tasks: tuple[Task, ...]) -> None:
        self.waiting.append(tasks)

    def receive(self) -> tuple[Answer, ...]:
        return self.worker.do(self.waiting.popleft())

    def end(self, at_once: bool) -> None:
        self.worker.reader.close()


class OwnProcess:
    """A worker in a process of its own."""

    ahead = 2

    def __init__(self, worker: Worker, others: "list[OwnProcess]") -> None:
        from multiprocessing import get_context
        from multiprocessing.connection import Pipe

        self.connection, its_end = Pipe()
        inherited = [self.connection, *(other.connection for other in others)]
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # until it ignores it
        try:
            self.process: ForkProcess = get_context("fork").Process(
                target=serve, args=(worker, its_end, inherited, os.getpid()), daemon=True
            )
            self.process.start()
        except OSError:
            self.connection.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            its_end.close()

    def send(self, tasks: tuple[Task, ...]) -> None:
        try:
            self.connection.send(tasks)
        except (BrokenPipeError, ConnectionResetError):
            raise self._death() from None

    def receive(self) -> tuple[Answer, ...]:
        while not self.connection.poll(LOOK_S):
            if not self.process.is_alive():
                raise self._death()
        try:
            found = self.connection.recv()
        except (EOFError, ConnectionResetError):
            raise self._death() from None
        if isinstance(found, BaseException):
            raise found
        answers: tuple[Answer, ...] = found
        return answers

    def _death(self) -> OomlessError:
        self.process.join()
        return OomlessError(
            f"a process of this run has died (exit status {self.process.exitcode})",
            "mostly memory has run out: try --threads 1; the same command goes on where it stopped",
        )

    def end(self, at_once: bool) -> None:
        if at_once:
            self.process.kill()
        self.connection.close()
        self.process.join()
        self.process.close()


def serve(worker: Worker, connection: "Connection", inherited: "list[Connection]", parent: int) -> None:
    """Answer messages until the other end is closed, or its process is gone: it closes its copies of the
    ends that are not its own, so that it is told at once."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    gc.freeze()
    numpy().empty(KEPT_BYTES, "uint8")
    for each in inherited:
        each.close()
    try:
        while True:
            while not connection.poll(LOOK_S):
                if os.getppid() != parent:
                    return
            tasks = connection.recv()
            try:
                answer: object = worker.do(tasks)
            except Exception as error:
                error.add_note(format_exc())
                answer = error
            connection.send(answer)
    except (EOFError, OSError):
        return


Hand = SameProcess | OwnProcess


def crew(make: Callable[[], Worker], num_workers: int, num_bytes: int) -> list[Hand]:
    """Return workers for a run that reads so many bytes."""
    if num_workers == 1 or num_bytes < SMALL_BYTES:
        return [SameProcess(make())]
    if not may_fork():
        return [SameProcess(make()) for _ in range(num_workers)]
    found: list[OwnProcess] = []
    try:
        while len(found) < num_workers:
            found.append(OwnProcess(make(), found))
    except OSError:  # no more processes: those that there are do it
        pass
    return [*found] or [SameProcess(make())]


def may_fork() -> bool:
    """Return whether this process may have others: not on systems whose libraries do not survive a fork, not
    beside other threads (a notebook's), and not in a daemon of multiprocessing."""
    if sys.platform != "linux" or active_count() > 1:
        return False
    from multiprocessing import current_process

    return not current_process().daemon
