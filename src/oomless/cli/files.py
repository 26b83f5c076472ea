"""Files that a command writes: whole or not at all."""

import os
import sys
from pathlib import Path

from ..errors import OomlessError, UsageError
from ..files import write_whole


def need_place(path: str | None, flag: str, suffix: str = "") -> None:
    """Refuse at once a file that could not be written: the answer that is to go there may take minutes."""
    if path is None:
        return
    target = Path(path)
    if suffix and target.suffix != suffix:
        raise UsageError(f"{flag} {path}: the picture is an SVG", f"name a file that ends in {suffix}")
    is_folder = os.path.isdir(target)  # never raises, unlike Path's
    if is_folder or not os.access(target.parent, os.W_OK | os.X_OK):
        why = "it is a folder" if is_folder else f"{target.parent} is no folder that may be written to"
        raise OomlessError(
            f"{flag} {path}: cannot be written ({why})", "name a file in a folder that is there"
        )


def write_svg(path: str, content: str) -> None:
    """A picture, whole or not at all."""
    need_place(path, "--plot", ".svg")
    write_whole(path, content, f"--plot {path}")


def print_rows(rows: list[dict[str, str]]) -> None:
    """Print measured rows as a table that `validate` reads; nothing where there are none."""
    import csv

    if rows:
        writer = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
