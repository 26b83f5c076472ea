"""`oomless monitor --budget`: a command, the most memory that it takes, and what it may take."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..monitor.attach import environment_of_child
from ..monitor.budget import BudgetKept, Meter, with_journals
from ..monitor.launcher import ChildEnd, launch


def kept_budget(words: Sequence[str], budget_bytes: int) -> tuple[ChildEnd, BudgetKept]:
    """Start a command untouched; return how it ended, and what it took beside its budget. What it trains is
    watched, so that peaks between two looks count."""
    meter = Meter(os.getpid())
    with tempfile.TemporaryDirectory(prefix="oomless-") as folder:
        meter.start()
        try:
            ended = launch(words, lambda data: None, environment_of_child(Path(folder)))
        finally:
            taken = meter.stop()
        return ended, BudgetKept(with_journals(taken, Path(folder)), budget_bytes)
