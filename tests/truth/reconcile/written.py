"""A log that the tests write, with what a reader shall find in it."""

from typing import NamedTuple

from oomless.units import GIB, MIB


class Written(NamedTuple):
    """One whole log."""

    name: str
    lines: list[str]
    facts: dict[str, object]
    state: str = ""
    num_runs: int = 1

    @property
    def text(self) -> str:
        return "\n".join(self.lines) + "\n"


def gib(amount: float) -> int:
    return round(amount * GIB)


def mib(amount: float) -> int:
    return round(amount * MIB)
