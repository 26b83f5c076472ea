"""Help of every command in the user's language. Chinese has no blanks between words and takes two columns a
character, so it is folded here and not by click."""

import re
from collections.abc import Iterable

import click

from ..report.language import spoken
from ..report.printed_tables import cells_wide

UNWRAPPED = "\b"
"""The first line of a paragraph whose lines stay as they are."""
PIECE = re.compile(r"[!-~]+|\s+|.")
"""What is not broken: a word, a flag; each wide character is one."""
NO_LINE_BEGINS = "，。；：、）？！"
COMMAND_COLUMNS = 30


class Help(click.HelpFormatter):
    """Writes help in the language of stdout."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        usage = spoken().help("Usage:")
        super().write_usage(prog, args, prefix if usage == "Usage:" else usage)

    def write_heading(self, heading: str) -> None:
        words = spoken()
        if words.language == "en":
            super().write_heading(heading)
        else:
            self.write(f"{'':>{self.current_indent}}{words.help(heading)}：\n")

    def write_text(self, text: str) -> None:
        if spoken().language == "en":
            super().write_text(text)
            return
        self.write("\n\n".join(map(self._paragraph, re.split(r"\n\s*\n", text.strip("\n")))) + "\n")

    def _paragraph(self, text: str) -> str:
        words, indent = spoken(), " " * self.current_indent
        first, *rest = text.split("\n")
        if first.strip() == UNWRAPPED:
            return "\n".join(f"{indent}{words.help(line)}" for line in rest)
        said = words.help(" ".join(text.split()))
        return "\n".join(f"{indent}{line}" for line in folded(said, self.width - len(indent)))

    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = COMMAND_COLUMNS, col_spacing: int = 2
    ) -> None:
        words = spoken()
        if words.language == "en":
            super().write_dl(rows, col_max, col_spacing)
            return
        known = [(first, self._meant(second)) for first, second in rows]
        wide = min(max((cells_wide(first) for first, _ in known), default=0), col_max) + col_spacing
        indent = " " * self.current_indent
        for first, second in known:
            lines = folded(second, max(self.width - wide - len(indent), 20))
            if cells_wide(first) + col_spacing > wide:
                self.write(f"{indent}{first}\n")
                first = ""
            for line in lines:
                self.write(f"{indent}{first}{' ' * (wide - cells_wide(first))}{line}\n")
                first = ""

    def _meant(self, text: str) -> str:
        """Return what stands behind a name; what click adds in brackets stays."""
        head, gap, added = text.partition("  [")
        return f"{spoken().help(head)}{gap}{added}"


def folded(text: str, columns: int) -> list[str]:
    """Return text as lines of so many columns at most; a word is not broken, and none begins with a mark that
    ends a clause.

    >>> folded("权重放得下，缓存放不下", 12)
    ['权重放得下，', '缓存放不下']
    """
    lines = [""]
    for piece in PIECE.findall(text):
        full = cells_wide(lines[-1]) + cells_wide(piece) > columns
        if full and lines[-1] and piece not in NO_LINE_BEGINS:
            lines.append("")
        if lines[-1] or not piece.isspace():
            lines[-1] += piece
    return [line.rstrip() for line in lines]


class Spoken(click.Context):
    """What a command is read in, with help in the user's language."""

    formatter_class = Help


def speaking(command: click.Command) -> click.Command:
    """Return a command, and those below it, whose help speaks the user's language."""
    command.context_class = Spoken
    for below in command.commands.values() if isinstance(command, click.Group) else ():
        speaking(below)
    return command
