"""Whose code a file is: oomless' own, torch's, or the model's. By the folders of the packages, since a
checkout may lie in one of any name."""

from functools import cache
from os.path import dirname, join, sep

from ..errors import need

OWN = dirname(dirname(__file__)) + sep


@cache
def of_torch(*parts: str) -> str:
    """The folder of torch, or of a part of it."""
    return join(dirname(str(need("torch", "trace").__file__)), *parts) + sep


def is_own(path: str) -> bool:
    return path.startswith(OWN)


def is_of_torch(path: str) -> bool:
    return path.startswith(of_torch())


def is_of_model(path: str) -> bool:
    """Whether a line is the model's: of transformers, peft or the user, neither ours nor torch's nor made at
    run time.

    >>> is_of_model("<string>"), is_of_model(__file__)
    (False, False)
    """
    return not (path.startswith("<") or is_own(path) or is_of_torch(path))
