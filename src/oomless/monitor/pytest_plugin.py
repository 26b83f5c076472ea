"""A pytest plugin: `pytest --memory-budget 22GiB` fails a test session whose processes take more, and the
fixture `memory_budget` a single test."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from ..errors import UsageError
from ..units import format_bytes, parse_bytes
from .budget import Meter
from .counters import resident_bytes

OPTION = "--memory-budget"
OVER = 3
"""Exit code of a session that took more than its budget: the one of an answer that does not fit."""


def pytest_addoption(parser: Any) -> None:
    """Take the budget of a session."""
    parser.addoption(OPTION, metavar="SIZE", help="Fail if this session takes more memory, as 22GiB.")


class SessionBudget:
    """Looks at the session's processes from its begin to its end."""

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self.meter = Meter(os.getpid(), with_root=True)

    def pytest_sessionstart(self) -> None:
        """Begin to look."""
        self.meter.start()

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: Any) -> None:
        """Fail a session that was over its budget and else would pass."""
        self.taken = self.meter.stop()
        if self.taken.num_bytes > self.budget_bytes and session.exitstatus == 0:
            session.exitstatus = OVER

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say what was taken."""
        verdict = "over" if self.taken.num_bytes > self.budget_bytes else "within"
        terminalreporter.write_line(
            f"memory: {format_bytes(self.taken.num_bytes)} of the {self.taken.where}, "
            f"{verdict} the budget of {format_bytes(self.budget_bytes)}"
        )


def pytest_configure(config: Any) -> None:
    """Watch the session if it has a budget."""
    size = config.getoption(OPTION)
    if size is not None:
        try:
            config.pluginmanager.register(SessionBudget(parse_bytes(size)), "oomless-budget")
        except UsageError as error:
            raise pytest.UsageError(f"{OPTION}: {error}") from None


@pytest.fixture
def memory_budget() -> Callable[[str], AbstractContextManager[None]]:
    """Return a context manager that fails a test whose block raises memory by more than a size:
    `with memory_budget("2GiB"): ...`. On a card the allocator's peak counts, else what the process has."""
    return within_budget


@contextmanager
def within_budget(size: str) -> Iterator[None]:
    """Fail if the block raises memory by more than a size."""
    budget = parse_bytes(size)
    cuda = cuda_if_used()
    if cuda is not None:
        cuda.reset_peak_memory_stats()
        before = cuda.memory_allocated()
        yield
        taken = cuda.max_memory_allocated() - before
    else:
        before = resident_bytes()
        meter = Meter(os.getpid(), every_s=0.01, with_root=True)
        meter.start()
        yield
        taken = meter.stop().host_bytes - before
    if taken > budget:
        pytest.fail(f"took {format_bytes(taken)}, over the budget of {format_bytes(budget)}")


def cuda_if_used() -> Any:
    """Return torch.cuda if this process uses it; torch is not imported for it."""
    import sys

    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    return torch.cuda if torch.cuda.is_initialized() else None
