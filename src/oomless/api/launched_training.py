"""The training half of `oomless run`: the child is watched into a folder, its first steps stand beside their
prediction while it runs, and what it left behind is told at its end."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

from ..errors import OomlessError
from ..monitor.attach import environment_of_child
from ..monitor.counters import host_kills
from ..monitor.entries import FirstLook, RunQuestion, RunStart, SampledStep
from ..monitor.expected import first_look, look_text
from ..monitor.journal import Tail, journals
from ..monitor.launcher import ChildEnd, start_deaf
from ..monitor.place import RUNS
from ..monitor.watched_run import WatchedRun
from .monitored import predict, show

EVERY_S = 1.0
FIRST_STEPS = 2


class TrainingWatch:
    """What a launched training writes down, read as it comes."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.folder, self.say = folder, say
        self.environment = environment_of_child(folder)
        self.kills = host_kills()
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._follow, daemon=True)
        self.question: RunQuestion | None = None
        self.device = "cpu"

    def start(self) -> None:
        """Begin to read."""
        start_deaf(self.thread)

    def stop(self) -> None:
        """End; the thread looks once more."""
        self.done.set()
        self.thread.join(timeout=2 * EVERY_S)

    def _follow(self) -> None:
        """Say the first peak beside its prediction, once."""
        tail: Tail | None = None
        while True:
            ended = self.done.wait(EVERY_S)
            try:
                found = journals(self.folder) if tail is None and self.folder.is_dir() else []
                tail = Tail(found[0]) if found else tail
                if tail is not None and self._looked(tail):
                    return
            except (OSError, OomlessError):
                return
            if ended:
                return

    def _looked(self, tail: Tail) -> bool:
        for entry in tail.more():
            if isinstance(entry, FirstLook):
                return True  # the run has said it itself
            if isinstance(entry, RunStart):
                self.device = entry.device
            if isinstance(entry, RunQuestion):
                self.question = entry
            if isinstance(entry, SampledStep) and entry.step >= FIRST_STEPS:
                if self.question is not None:
                    lines = predict(self.question.question, self.device)
                    look = first_look(lines, entry.step, entry.peak_bytes, self.device)
                    self.say(look_text(look))
                return True
        return False

    def found(self) -> WatchedRun | None:
        """Return what the run left behind; None if nothing was trained."""
        if not self.folder.is_dir() or not journals(self.folder):
            return None
        return show(self.folder)

    def last_words(self, ended: ChildEnd) -> str:
        """Return what is known of a death that no exception told: a signal, and whether the host's own killer
        sent it; empty for any other end."""
        if ended.signal != signal.SIGKILL:
            return ""
        kills = host_kills() - self.kills
        who = (
            f"the host's out-of-memory killer ended {kills:,} process{'es' if kills > 1 else ''} meanwhile"
            if kills > 0
            else "the host's out-of-memory killer ended nobody meanwhile"
        )
        return f"killed by signal 9; {who}"


def new_folder() -> Path:
    """Return a folder for a run that nobody named one for."""
    return Path(RUNS, f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}").absolute()
