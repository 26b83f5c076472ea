"""What the terminal can show."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from ..files import printable

PIPE_WIDTH = 100
COLOURS = re.compile(r"(\x1b\[[\d;]*m)")
"""What colours text and does nothing else: our own tables are coloured so."""
KEPT = "\n\t\u3000\xa0"


class PlainStream:
    """A stream of text that a terminal cannot be ordered about with: names, keys and log lines come from
    files, and every view writes here.

    What the encoding of the stream does not have is spelled out, never an error after half an answer.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        if not isinstance(text, str) or text.isprintable():
            return self.stream.write(text)
        parts = COLOURS.split(text) if self.stream.isatty() else [text]
        parts[::2] = [printable(part, KEPT) for part in parts[::2]]  # colours stand between them
        return self.stream.write("".join(parts))

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def plain_streams() -> Iterator[None]:
    """Within it, what is printed reaches stdout and stderr as text."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast(TextIO, PlainStream(stream)) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def colour() -> bool:
    """Colour only on a terminal, and never with NO_COLOR."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def width() -> int | None:
    """Columns of a pipe; on a terminal rich finds its own."""
    return None if sys.stdout.isatty() else PIPE_WIDTH
