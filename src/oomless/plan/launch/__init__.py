"""The command or the files that start a plan: one engine or framework on one machine, or on several.

A name of a model, folder or file reaches a file only through the writer of its language, which quotes it: `shell`, `scripts` (Python)
or `documents` (YAML, TOML, JSON, Modelfile). `Code` and `FileText` are what those give, so that mypy finds text that passed none.
"""

from typing import NamedTuple


class Code(str):
    """Shell code: what oomless wrote itself stands in it as it is, everything else is quoted."""

    __slots__ = ()


class FileText(str):
    """The text of a whole file, as the writer of its language gives it."""

    __slots__ = ()


class Launch(NamedTuple):
    """How something is started: one command, and files by name where it needs them or a cluster does."""

    command: Code
    files: dict[str, FileText]
    note: str = ""
    """What must be there before: a file to be made, a version."""
    on_each: Code = Code("")
    """What each of several machines runs, by its place in NODE_RANK and HEAD; "": the command."""
