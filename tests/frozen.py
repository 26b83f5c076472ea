"""Frozen files: what users and scripts rely on, as sorted lines under tests/surface, rewritten only on
purpose."""

import os
from collections.abc import Iterable
from difflib import unified_diff
from pathlib import Path

FOLDER = Path(__file__).parent / "surface"
UPDATE = "OOMLESS_UPDATE_SURFACE"


def check(name: str, found: Iterable[str]) -> None:
    """The lines must be those of the file; with OOMLESS_UPDATE_SURFACE=1 the file becomes the lines."""
    lines = sorted(found)
    path = FOLDER / name
    if os.environ.get(UPDATE) == "1":
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    known = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    diff = "\n".join(unified_diff(known, lines, f"tests/surface/{name}", "now", lineterm="", n=0))
    assert not diff, f"{diff}\nif that is meant: {UPDATE}=1 make test, and say so in the commit"
