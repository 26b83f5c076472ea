"""The monitor does no harm: what fails in it is written down once, and it is off from there on."""

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from .entries import MonitorFault


class Guard:
    """Runs pieces of the monitor; the first that fails ends it. `switch_off` takes everything away again."""

    def __init__(self, tell: Callable[[MonitorFault], None], switch_off: Callable[[], None]) -> None:
        self.tell, self.switch_off = tell, switch_off
        self.is_off = False
        self.step = 0

    def call(self, where: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return what the function returns; None if it fails, or if something failed before."""
        if self.is_off:
            return None
        try:
            return function(*arguments)
        except Exception as error:
            self.fail(where, error)
            return None

    def fail(self, where: str, error: Exception) -> None:
        """Write a fault down and switch the monitor off. Nothing of this may raise."""
        if self.is_off:
            return
        self.is_off = True
        message = f"{type(error).__name__}: {error}"[:300]
        fault = MonitorFault(self.step, time.time(), where, message)
        acts: tuple[Callable[[], None], ...] = (lambda: self.tell(fault), self.switch_off)
        for act in acts:
            with suppress(Exception):  # a full disk fails again, and is told of below
                act()
        say(f"the monitor failed in {where} ({message}) and is off; the run goes on")


def say(text: str) -> None:
    """Print a line on stderr; a closed one is nobody's harm."""
    try:
        print(f"oomless: {text}", file=sys.stderr, flush=True)
    except (OSError, ValueError, AttributeError):
        return
