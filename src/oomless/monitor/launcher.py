"""Starts a command untouched and lets its output pass: same bytes, signals, exit code and terminal.

What the child writes goes through a pipe, or a pseudo-terminal where ours is one, so that it sees what it
would see alone. Its input stays ours. Signals from the terminal reach it by themselves; those that are sent
to us are passed on. A child that a signal killed lets us die of the same one.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..errors import UsageError
from ..units import MIB

READ = 1 << 16
PIPE_BYTES = MIB
"""Room of a pipe, so that a child does not wait while we do."""
BATCH_S = 0.05
"""How long output gathers where there is much of it: twenty wake-ups a second cost nothing."""
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
KERNEL = 0x80
"""si_code of a signal that the terminal sent: the child got it too."""
Listener = Callable[[bytes], None]


class ChildStream(NamedTuple):
    """One way out of the child."""

    source: int
    """What we read."""
    target: int
    """Where it goes."""


class ChildEnd(NamedTuple):
    """How a child ended: the code that a shell sees, or the signal that killed it."""

    code: int
    signal: int | None
    wall_s: float


def launch(words: Sequence[str], listen: Listener, environment: dict[str, str] | None = None) -> ChildEnd:
    """Return how a command ended, after all its output has passed. `listen` gets the bytes as they pass; what
    it raises does not reach the child."""
    began = time.monotonic()
    wanted = {*PASSED_ON}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, wanted)
    try:
        streams, ends = _streams()
        child = _start(words, ends, before, environment)
    except BaseException:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        raise
    for end in {*ends.values()}:
        os.close(end)
    done = threading.Event()
    passer = threading.Thread(target=_pass_signals, args=(child, wanted, done), daemon=True)
    passer.start()
    try:
        _pump(streams, _guarded(listen), child)
        code = child.wait()
    finally:
        done.set()
        passer.join()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    wall = time.monotonic() - began
    return ChildEnd(128 - code, -code, wall) if code < 0 else ChildEnd(code, None, wall)


def start_deaf(thread: threading.Thread) -> None:
    """Start a thread to which no signal is delivered that is passed on: it would take what is the child's,
    and end this process by it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*PASSED_ON})
    try:
        thread.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def die_like(ended: ChildEnd) -> int:
    """Return the child's code, or die of the signal that it died of: a shell then sees what it would have
    seen."""
    if ended.signal is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        with contextlib.suppress(OSError, ValueError):
            signal.signal(ended.signal, signal.SIG_DFL)
        os.kill(os.getpid(), ended.signal)
    return ended.code


def _streams() -> tuple[list[ChildStream], dict[int, int]]:
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
        return ChildStream(source, target), end
    source, end = os.pipe()
    with contextlib.suppress(OSError, AttributeError, ImportError):
        import fcntl

        fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return ChildStream(source, target), end


HINT = "write the command behind -- as the shell takes it"


def _start(
    words: Sequence[str],
    ends: dict[int, int],
    mask: set[signal.Signals | int],
    environment: dict[str, str] | None,
) -> "subprocess.Popen[bytes]":
    try:
        return subprocess.Popen(
            list(words),
            stdout=ends[1],
            stderr=ends[2],
            env=environment,
            preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, mask),
        )
    except FileNotFoundError:
        raise UsageError(
            f"{words[0]}: command not found", "write the command behind -- as the shell takes it"
        ) from None
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{words[0]}: {error}", "write the command behind -- as the shell takes it"
        ) from None


def _pass_signals(
    child: "subprocess.Popen[bytes]", wanted: set[signal.Signals], done: threading.Event
) -> None:
    """Send on what was sent to us alone; the terminal sends its own to the child too."""
    while not done.is_set():
        got = signal.sigtimedwait(wanted, 0.2)
        if got is not None and got.si_code != KERNEL:
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(got.si_signo)


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


def _pump(streams: list[ChildStream], listen: Listener, child: "subprocess.Popen[bytes]") -> None:
    """Copy until every end is closed, or the child is gone and nothing more comes (a grandchild may hold the
    other end for ever)."""
    poll = select.poll()
    for each in streams:
        poll.register(each.source, select.POLLIN | select.POLLHUP | select.POLLERR)
    targets = {each.source: each.target for each in streams}
    latest = 0.0
    while targets:
        ready = poll.poll(500)
        if not ready:
            if child.poll() is not None:
                break
            continue
        now = time.monotonic()
        if now - latest < BATCH_S:
            time.sleep(BATCH_S)
        latest = time.monotonic()
        for source, _ in ready:
            data = _read(source)
            if data and _write(targets[source], data):
                listen(data)
                continue
            poll.unregister(source)  # the child is through, or nobody reads: then it shall feel that itself
            os.close(source)
            del targets[source]
    for source in targets:
        os.close(source)


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
