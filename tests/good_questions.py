"""Good questions of each command, those whose answers are frozen, and the values that flags have in them."""

import shlex
from itertools import pairwise

from frozen import FOLDER


def asked_before() -> dict[str, list[list[str]]]:
    """Good questions of each command, as words."""
    found: dict[str, list[list[str]]] = {}
    for line in (FOLDER / "answers.txt").read_text(encoding="utf-8").splitlines():
        words = shlex.split(line.partition(" -> ")[0])
        found.setdefault(words[0], []).append(words)
    return found


def values_before() -> dict[str, list[str]]:
    """Values that each flag has in them."""
    found: dict[str, list[str]] = {}
    for questions in GOOD.values():
        for words in questions:
            for flag, value in pairwise(words):
                if flag.startswith("-") and not value.startswith("--"):
                    found.setdefault(flag, []).append(value)
    return found


GOOD = asked_before()
VALUES = values_before()
