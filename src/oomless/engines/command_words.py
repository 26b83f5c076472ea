"""What a command says once its flags are read. Each engine's `in_our_words` puts what is particular to it
into fields of the question."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class CommandWords(NamedTuple):
    """The words of one command by what they are."""

    engine: str
    model: str | None
    flags: dict[str, Any]
    """By field; JSON as it was written."""
    before: list[str]
    """Variables, images and the program."""
    ignored: list[str]
    """Flags that cannot change memory by themselves."""
    unknown: list[str]
    """Flags that nothing is known about."""
    spelled: Mapping[str, str]
    """What the command calls a field."""
    beside: Mapping[str, str]
    """Files that the engine loads beside the model, by what they are."""
    visible: int | None = None
    """Cards that flags of its own name; None: they name none."""
    remark: str = ""
    """What it says of how its release runs, as it stands in brackets behind a release."""
