"""What a fork does to watches: the child of a process that is watched watches nothing."""

import os
import weakref
from typing import Protocol


class Forked(Protocol):
    """A watch, as a fork sees it."""

    def pause(self) -> None: ...
    def forget(self) -> None: ...


LIVE: "weakref.WeakSet[Forked]" = weakref.WeakSet()
"""Watches of this process."""


def before_fork() -> None:
    """A sample ends before a fork: the child would go on recording, and nobody would read it."""
    for each in list(LIVE):
        each.pause()


def after_fork() -> None:
    """The child watches nothing."""
    for each in list(LIVE):
        each.forget()
    LIVE.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=before_fork, after_in_child=after_fork)
