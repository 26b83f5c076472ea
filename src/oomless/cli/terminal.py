"""What the terminal can show."""

import os
import sys

PIPE_WIDTH = 100


def colour() -> bool:
    """Colour only on a terminal, and never with NO_COLOR."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def width() -> int | None:
    """Columns of a pipe; on a terminal rich finds its own."""
    return None if sys.stdout.isatty() else PIPE_WIDTH
