"""Frozen files: what users and scripts rely on, as sorted lines under tests/surface, rewritten only on
purpose."""

import os
from collections.abc import Iterable
from difflib import unified_diff
from fcntl import LOCK_EX, flock
from pathlib import Path

FOLDER = Path(__file__).parent / "surface"
UPDATE = "OOMLESS_UPDATE_SURFACE"


def lines_of(name: str) -> list[str]:
    """Return the lines of a frozen file, none where it is not there yet."""
    path = FOLDER / name
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def check(name: str, found: Iterable[str], part: slice = slice(None)) -> None:
    """The lines must be those of the file, or of a part of it; with OOMLESS_UPDATE_SURFACE=1 these become the
    lines."""
    lines = sorted(found)
    if os.environ.get(UPDATE) == "1":
        renew(name, lines, part)
    else:
        same(name, lines_of(name)[part], lines)


def same(name: str, known: list[str], lines: list[str]) -> None:
    """Fail with what differs, and how to renew it."""
    diff = "\n".join(unified_diff(known, lines, f"tests/surface/{name}", "now", lineterm="", n=0))
    assert not diff, f"{diff}\nif that is meant: {UPDATE}=1 make test, and say so in the commit"


def renew(name: str, lines: list[str], part: slice) -> None:
    """Write a part of a file anew, one worker after another: each knows its own part alone."""
    with FOLDER.joinpath(name).open("a+", encoding="utf-8") as file:
        flock(file, LOCK_EX)
        all_lines = lines_of(name)
        all_lines[part] = lines
        file.truncate(0)
        file.write("\n".join(all_lines) + "\n")
