"""What the terminal can show."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:
    from ..report.language import Phrases

from ..files import printable

PIPE_WIDTH = 100
COLOURS = r"(\x1b\[[\d;]*m)"
"""What colours text and does nothing else: our own tables are coloured so."""
KEPT = "\n\t\u3000\xa0"


class PlainStream:
    """A stream of text that a terminal cannot be ordered about with: names, keys and log lines come from
    files, and every view writes here.

    What the encoding of the stream does not have is spelled out, never an error after half an answer.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.words: Phrases | None = None
        """Of the language that what is written is put into; None: it stays as it is."""
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            return self.stream.write(text)
        if self.words is not None:
            text = self.words.printed(text)
        shown = self.stream.isatty()
        if shown:
            import shutil  # a start is imports, and most answers go into a pipe

            text = folded(text, shutil.get_terminal_size().columns)
        if text.isprintable():
            return self.stream.write(text)
        parts = re.split(COLOURS, text) if shown else [text]
        parts[::2] = [printable(part, KEPT) for part in parts[::2]]  # colours stand between them
        return self.stream.write("".join(parts))

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def plain(self, text: str) -> str:
        """Return a text as `write` would show it, for a view that orders the terminal about by itself."""
        return printable(text if self.words is None else self.words.printed(text), KEPT)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def folded(text: str, columns: int) -> str:
    """Return text whose sentences are folded at blanks to the columns of a terminal.

    Commands, tables and JSON stay as they are, since a folded one is another one, and so do words that are
    longer than a line: no name and no number is ever cut.

    >>> print(folded("note: one line of words is folded\\n$ a command never is", 20))
    note: one line of
      words is folded
    $ a command never is
    """
    lines = text.split("\n")
    return "\n".join(_folded(line, columns) if len(line) > columns else line for line in lines)


def _folded(line: str, columns: int) -> str:
    plain = re.sub(COLOURS, "", line).strip()
    if not plain or plain.startswith(NO_SENTENCE) or "  " in plain or _cells(line) <= columns:
        return line
    indent = line[: len(line) - len(line.lstrip(" "))]
    first, *words = line[len(indent) :].split(" ")
    lines = [indent + first]
    for word in words:
        if _cells(lines[-1]) + 1 + _cells(word) > columns:
            lines.append(f"{indent}  {word}")
        else:
            lines[-1] += f" {word}"
    return "\n".join(lines)


NO_SENTENCE = ("$ ", "{", "}", "[", "]", '"', "|")
"""What lines of commands, JSON and tables begin with; columns of a table lie two blanks apart."""


def _cells(text: str) -> int:
    """Columns of a terminal that a text takes: two for each wide character."""
    import unicodedata

    plain = re.sub(COLOURS, "", text)
    return len(plain) + sum(unicodedata.east_asian_width(each) in "WF" for each in plain)


@contextmanager
def plain_streams() -> Iterator[None]:
    """Within it, what is printed reaches stdout and stderr as text."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast(TextIO, PlainStream(stream)) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def speak(language: str) -> None:
    """Put what is printed from here on into a language, line by line."""
    from ..report.language import words_of

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, PlainStream):
            stream.words = words_of(language)


def colour() -> bool:
    """Colour only on a terminal, and never with NO_COLOR."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def width() -> int | None:
    """Columns of a pipe; on a terminal rich finds its own."""
    return None if sys.stdout.isatty() else PIPE_WIDTH
