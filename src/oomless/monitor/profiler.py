"""torch's profiler as a stream of the allocator's own events: every allocation and every free of a step, with
the Python calls around it. Its interface is private to torch: it is used here alone, and its test says so.

Operators are not recorded, only Python calls and nodes of autograd: that is a quarter of the events, and 1.1
plain steps for a step of 1,800 operators in place of 1.25 (bench/monitor.py). Regions of the user's own
(`record_function`) are not recorded either, and that is no matter of speed: torch writes the end of a region
into the events of the profiler under which it began, even when those are gone and another profiler runs,
which destroys memory. For the same reason nothing starts or stops inside of a backward.
"""

import os
import sys
from ctypes import CDLL, c_int
from typing import Any

from ..errors import need

LOG_LEVEL = "KINETO_LOG_LEVEL"
SILENT = "6"
"""Above all levels of libkineto, which otherwise prints a line at each start and end."""
MARK = "oomless_mark"
ERRORS_ALONE = 2


def log_level(torch: Any) -> c_int | None:
    """Return the level of torch's own log, a variable of its core library; None where there is none of that
    name."""
    try:
        library = CDLL(os.path.join(os.path.dirname(torch.__file__), "lib", "libc10.so"))
        return c_int.in_dll(library, "FLAGS_caffe2_log_level")
    except (OSError, ValueError):
        return None


def oomless_mark() -> None:
    """Do nothing: the call itself is the mark."""


class AllocatorEvents:
    """Between `start` and `stop`, the thread that started it is listened to."""

    def __init__(self) -> None:
        torch = need("torch", "trace")
        need("torch.autograd.profiler", "trace")
        self.torch = torch
        self.autograd, self.internals = torch._C._autograd, torch._C._profiler
        self.nodes = {self.internals.RecordScope.BACKWARD_FUNCTION}
        self.nothing = {self.internals.RecordScope.STATIC_RUNTIME_MODEL}
        """No scope at all would mean every scope; nothing of this one occurs in training."""
        self.marks: list[str] = []
        self.activities = {torch.profiler.ProfilerActivity.CPU}
        self.running = False
        self.pushed_aside = False
        self.calls_go_to: object = None
        self.original: dict[str, Any] = {}
        self.log_level = log_level(torch)
        self.shown_level = 0

    def mute(self, on: bool) -> None:
        """Keep the CPU's allocator from warning on stderr of each thousandth free whose allocation it did not
        hear."""
        if self.log_level is None:
            return
        if on:
            self.shown_level = self.log_level.value
            self.log_level.value = max(ERRORS_ALONE, self.shown_level)
        else:
            self.log_level.value = self.shown_level

    def is_free(self) -> bool:
        """Return whether nobody else's profiler runs, nor a tool that listens to Python's calls as cProfile
        does."""
        return sys.getprofile() is None and not self.torch.autograd._profiler_enabled()

    def start(self, with_places: bool) -> None:
        """Listen; with places, to Python calls and nodes of autograd too."""
        self.marks = []
        config = self.internals.ProfilerConfig(
            self.internals.ProfilerState.KINETO,
            False,
            True,
            with_places,
            False,
            False,
            self.internals._ExperimentalConfig(),
            "",
        )
        level = os.environ.get(LOG_LEVEL)
        os.environ[LOG_LEVEL] = SILENT
        try:
            self.autograd._prepare_profiler(config, self.activities)
        finally:
            if level is None:
                os.environ.pop(LOG_LEVEL, None)
            else:
                os.environ[LOG_LEVEL] = level
        self.mute(True)
        self.autograd._enable_profiler(config, self.activities, self.nodes if with_places else self.nothing)
        self.running, self.pushed_aside = True, False
        self.calls_go_to = sys.getprofile()
        self._give_way()

    def is_overheard(self) -> bool:
        """Return whether a tool took Python's calls over, as cProfile does: marks are lost then, and with
        them all that was heard."""
        return self.running and sys.getprofile() is not self.calls_go_to

    def mark(self, text: str) -> None:
        """Put a mark among the events: a call of a function with a name of its own."""
        self.marks.append(text)
        oomless_mark()

    def stop(self) -> list[Any] | None:
        """Return the tree of events, and whatever keeps it alive; None if nothing was heard."""
        if not self.running:
            return None
        self.running = False
        self._take_back()
        result = self.autograd._disable_profiler()
        self.mute(False)
        return [result, *result.experimental_event_tree()]

    def _give_way(self) -> None:
        """A profiler of the user's that starts now finds none running: ours ends first, and its step is
        forgotten."""
        module = self.torch.autograd.profiler

        def first(name: str) -> Any:
            original = self.original[name]

            def start(*arguments: Any, **named: Any) -> Any:
                if self.running:
                    self.stop()
                    self.pushed_aside = True
                return original(*arguments, **named)

            return start

        for name in ("_prepare_profiler", "_enable_profiler"):
            self.original[name] = getattr(module, name)
        for name in self.original:
            setattr(module, name, first(name))

    def _take_back(self) -> None:
        for name, original in self.original.items():
            setattr(self.torch.autograd.profiler, name, original)
        self.original = {}
