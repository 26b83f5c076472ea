"""The command or the files that start a plan: one engine or framework on one machine, or on several."""

from typing import NamedTuple


class Launch(NamedTuple):
    """How something is started: one command, and files by name where it needs them or a cluster does."""

    command: str
    files: dict[str, str]
    note: str = ""
    """What must be there before: a file to be made, a version."""
