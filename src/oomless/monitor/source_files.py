"""Whose a source file is, and how a journal names it."""

import os
import sys
import sysconfig
from functools import cache
from typing import NamedTuple

from ..recording.code_owner import is_of_model, of_torch


class SourceFile(NamedTuple):
    """What is known of a source file by the name under which the profiler has it."""

    path: str
    shown: str
    """From its package on, from the working folder on, or whole."""
    is_followed: bool
    """Lines of the user and of libraries of models are told; torch's, Python's and ours are not."""
    is_own: bool
    """Of the user, not of a library."""
    communicates: bool


@cache
def source_file(name: str) -> SourceFile:
    """Return what is known of a file. The profiler leaves out the folder of Python's path that it lies in."""
    path = name
    if not os.path.isabs(name) and not name.startswith("<"):
        folders = [os.path.join(folder or os.getcwd(), name) for folder in sys.path]
        path = next((each for each in folders if os.path.isfile(each)), name)
    library = path.startswith(library_folders()) or "site-packages" in path
    of_python = library and "site-packages" not in path
    followed = is_of_model(path) and not of_python
    return SourceFile(
        path, shown_path(path), followed, followed and not library, path.startswith(of_torch("distributed"))
    )


@cache
def library_folders() -> tuple[str, ...]:
    """Return where installed packages and Python's own library lie."""
    paths = sysconfig.get_paths()
    return tuple({paths[name] + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")})


def shown_path(path: str) -> str:
    """Return a file's path from its package on, from the working folder on, or whole.

    >>> shown_path("/usr/lib/python3/site-packages/transformers/trainer.py")
    'transformers/trainer.py'
    """
    inside = path.rpartition(f"site-packages{os.sep}")[2]
    return inside if inside != path else path.removeprefix(os.getcwd() + os.sep)


def split_place(place: str) -> tuple[str, int]:
    """Return (file, line) of a text FILE:LINE.

    >>> split_place("train.py:12"), split_place("")
    (('train.py', 12), ('', 0))
    """
    file, _, line = place.rpartition(":")
    return (file, int(line)) if line.isdecimal() else (place, 0)
