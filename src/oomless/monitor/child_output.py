"""Lets a child's output pass as it comes: what is read from it is written on at once, and gathered where
there is much, so that passing it costs nothing."""

import contextlib
import os
import select
import subprocess
import time
from collections.abc import Callable
from typing import NamedTuple

from ..units import MIB

READ = 1 << 16
PIPE_BYTES = MIB
"""Room of a pipe that is asked for, so that a child does not wait while we do."""
PIPE_AT_LEAST, TERMINAL_BYTES = 1 << 12, 1 << 12
"""Room of a pipe whose size nobody says, and of a terminal."""
GAP_S, LONG_GAP_S = 0.05, 1.0
"""How long output gathers before it is passed on where there is little of it, and where a file or a program
takes many lines a second: one wake-up a second costs nothing."""
MANY_LINES = 10_000
"""Bytes a second of such output."""
LAST_WAIT_MS = 500
"""How long what a grandchild may still write is waited for once the child is gone."""
Listener = Callable[[bytes], None]


class ChildStream(NamedTuple):
    """One way out of the child."""

    source: int
    """What we read."""
    target: int
    """Where it goes."""
    room: int
    """Bytes that the child can write before it has to wait for us."""

    def gap_s(self, num_bytes: int, since_s: float) -> float:
        """Return how long to let output gather behind so many bytes in so many seconds. A child that fills
        its room is never kept waiting, and somebody may look at a terminal."""
        if 4 * num_bytes >= self.room:
            return 0.0
        is_much = num_bytes >= MANY_LINES * max(since_s, GAP_S)
        return LONG_GAP_S if is_much and self.room > TERMINAL_BYTES else GAP_S


def streams_of_child() -> tuple[list[ChildStream], dict[int, int]]:
    """What to read, and the child's end for its output (1) and its errors (2). Both ends are one where ours
    are one, so that the order of lines stays."""
    first = _open(1)
    same = os.path.sameopenfile(1, 2) if _is_open(2) and _is_open(1) else False
    if same:
        return [first[0]], {1: first[1], 2: first[1]}
    second = _open(2)
    return [first[0], second[0]], {1: first[1], 2: second[1]}


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _open(target: int) -> tuple[ChildStream, int]:
    if os.isatty(target):
        import fcntl
        import pty
        import termios
        import tty

        source, end = pty.openpty()
        tty.setraw(end)  # the real terminal does what terminals do to output
        with contextlib.suppress(OSError):
            fcntl.ioctl(end, termios.TIOCSWINSZ, fcntl.ioctl(target, termios.TIOCGWINSZ, b"\0" * 8))
        return ChildStream(source, target, TERMINAL_BYTES), end
    source, end = os.pipe()
    room = PIPE_AT_LEAST
    with contextlib.suppress(OSError, AttributeError, ImportError):
        import fcntl

        room = fcntl.fcntl(end, fcntl.F_GETPIPE_SZ)
        room = fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return ChildStream(source, target, room), end


def _guarded(listen: Listener) -> Listener:
    """A listener that is left alone after its first fault: nothing here may harm the child."""
    broken = False

    def call(data: bytes) -> None:
        nonlocal broken
        if broken:
            return
        try:
            listen(data)
        except Exception as error:
            broken = True
            with contextlib.suppress(OSError):
                os.write(2, f"oomless: the log is not read any further: {type(error).__name__}\n".encode())

    return call


def pump(streams: list[ChildStream], listen: Listener, child: "subprocess.Popen[bytes]") -> None:
    """Copy until every end is closed, or the child is gone and nothing more comes (a grandchild may hold the
    other end for ever)."""
    listen = _guarded(listen)
    poll, of_source = select.poll(), {each.source: each for each in streams}
    for source in of_source:
        poll.register(source, select.POLLIN | select.POLLHUP | select.POLLERR)
    with _ChildsEnd(child.pid) as end:
        if end.file is not None:
            poll.register(end.file, select.POLLIN)
        latest, gap_s = 0.0, 0.0
        while of_source:
            ready = {source for source, _ in poll.poll(end.wait_ms)}
            if end.file in ready:
                poll.unregister(end.file)
                end.wait_ms = LAST_WAIT_MS
            elif not ready:
                if child.poll() is not None:
                    break
                continue
            end.sleep(gap_s + latest - time.monotonic())
            now, gaps_s = time.monotonic(), [LONG_GAP_S]
            for source in ready & {*of_source}:
                stream, data = of_source[source], _read(source)
                if data and _write(stream.target, data):
                    gaps_s.append(stream.gap_s(len(data), now - latest))
                    listen(data)
                    continue
                # the child is through, or nobody reads: then it shall feel that itself
                poll.unregister(source)
                os.close(source)
                del of_source[source]
            latest, gap_s = now, min(gaps_s)
    for source in of_source:
        os.close(source)


class _ChildsEnd:
    """A file that can be read once a child is gone, where the system has such files: nothing need wake up to
    ask."""

    def __init__(self, pid: int) -> None:
        self.file: int | None = None
        with contextlib.suppress(AttributeError, OSError):
            self.file = os.pidfd_open(pid)
        self.poll = select.poll()
        if self.file is not None:
            self.poll.register(self.file, select.POLLIN)
        self.wait_ms = LAST_WAIT_MS if self.file is None else None
        """How long output is waited for before the child is asked whether it lives."""

    def sleep(self, seconds: float) -> None:
        """Let output gather so long, or until the child is gone."""
        if seconds > 0:
            self.poll.poll(1000 * seconds)

    def __enter__(self) -> "_ChildsEnd":
        return self

    def __exit__(self, *_: object) -> None:
        if self.file is not None:
            os.close(self.file)


def _read(source: int) -> bytes:
    pieces, size = [], 0
    while size < PIPE_BYTES:
        try:
            piece = os.read(source, READ)
        except OSError:  # a pseudo-terminal whose other end is closed
            break
        if not piece:
            break
        pieces.append(piece)
        size += len(piece)
        if len(piece) < READ:
            break
    return b"".join(pieces)


def _write(target: int, data: bytes) -> bool:
    """Whether somebody still reads. A full disk loses what it would have lost anyway."""
    view = memoryview(data)
    while view:
        try:
            written = os.write(target, view)
        except BrokenPipeError:
            return False
        except BlockingIOError:
            select.select([], [target], [], 1.0)
            continue
        except OSError:
            return True
        view = view[written:]
    return True
