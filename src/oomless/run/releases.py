"""What earlier releases of transformers and TRL did otherwise: rows of facts/habits.csv, each with the
release that ended it."""

import re
from typing import TYPE_CHECKING

from .. import facts

if TYPE_CHECKING:
    from .training import TrainingAsked

BY_TRAINER = ("transformers", "peft", "trl", "llama-factory", "axolotl", "ms-swift")
"""Frameworks that run models of transformers under its Trainer."""


def habit(asked: "TrainingAsked", name: str) -> str | None:
    """What the release that the question names did, where later ones do otherwise; None: what the newest
    does.

    `framework_version` names packages ("transformers 4.48.1, trl 0.13.0"), or the framework's own release
    alone.

    >>> from .training import TrainingAsked
    >>> (
    ...     habit(TrainingAsked(framework_version="4.48.1"), "loss"),
    ...     habit(TrainingAsked(framework_version="transformers 4.45.2"), "loss"),
    ... )
    ('plain-4.49', 'plain-4.45')
    >>> (
    ...     habit(TrainingAsked(), "loss"),
    ...     habit(TrainingAsked(framework="torchtitan", framework_version="transformers 4.40"), "loss"),
    ... )
    (None, None)
    """
    if asked.framework not in BY_TRAINER or not asked.framework_version:
        return None
    for row in facts.table("habits"):
        package = row["package"]
        release = named(asked.framework_version, package, asked.framework == package)
        if (
            row["habit"] == name
            and release
            and release < numbers(row["until"])
            and (package != "trl" or asked.framework == "trl")
        ):
            return row["value"]
    return None


def reentrant(asked: "TrainingAsked") -> bool:
    """Whether layers are computed again by torch's reentrant checkpoints, inside of a backward of their
    own."""
    return asked.recompute == "full" and habit(asked, "checkpoints") == "reentrant"


def named(text: str, package: str, alone: bool) -> tuple[int, ...] | None:
    """The release of a package in a text; `alone`: a bare number is its."""
    found = re.search(rf"\b{package} (\d+(?:\.\d+)*)", text) or (
        re.fullmatch(r"v?(\d+(?:\.\d+)*)", text.strip()) if alone else None
    )
    return numbers(found[1]) if found else None


def numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def release_of(package: str, day: str) -> str | None:
    """The newest release of a package on a day (or month, or year: on its first day).

    >>> release_of("transformers", "2024-12-05"), release_of("transformers", "2023")
    ('4.46', None)
    """
    return next(
        (
            row["release"]
            for row in reversed(facts.table("releases"))
            if row["package"] == package and row["date"] <= day
        ),
        None,
    )
