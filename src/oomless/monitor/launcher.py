"""Starts a command untouched and lets its output pass: same bytes, signals, exit code and terminal.

What the child writes goes through a pipe, or a pseudo-terminal where ours is one, so that it sees what it
would see alone. Its input stays ours. Signals from the terminal reach it by themselves; those that are sent
to us are passed on. A child that a signal killed lets us die of the same one.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

from ..errors import UsageError
from .child_output import Listener, pump, streams_of_child

PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
KERNEL = 0x80
"""si_code of a signal that the terminal sent: the child got it too."""


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
        streams, ends = streams_of_child()
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
        pump(streams, listen, child)
        code = child.wait()
    finally:
        done.set()
        signal.pthread_kill(passer.ident or 0, signal.SIGUSR2)
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
        raise UsageError(f"{words[0]}: command not found", HINT) from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{words[0]}: {error}", HINT) from None


def _pass_signals(
    child: "subprocess.Popen[bytes]", wanted: set[signal.Signals], done: threading.Event
) -> None:
    """Send on what was sent to us alone; the terminal sends its own to the child too. A signal behind `done`
    is for this thread: there is nobody left to pass it to."""
    while True:
        number, is_of_terminal = _next_signal(wanted)
        if done.is_set():
            return
        if not is_of_terminal:
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(number)


def _next_signal(wanted: set[signal.Signals]) -> tuple[int, bool]:
    """Return a signal that came, and whether the terminal sent it. Where the system does not say who did,
    what a key sends is the terminal's."""
    if sys.platform == "darwin":
        number = signal.sigwait(wanted)
        return number, number in (signal.SIGINT, signal.SIGQUIT)
    got = signal.sigwaitinfo(wanted)
    return got.si_signo, got.si_code == KERNEL
