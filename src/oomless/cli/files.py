"""Files that a command writes: whole or not at all."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import OomlessError, UsageError
from ..files import write_whole

if TYPE_CHECKING:
    from ..truth.calibration import Seen


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


def keep_calibrations(seen: "tuple[Seen, ...]", needs: str, what: str) -> None:
    """Keep what logs or runs teach for later answers on this machine; say what they lack if they teach
    nothing."""
    from ..api.calibrations import calibrations_path, document_with

    if not seen:
        click.echo(f"nothing to learn: {needs}", err=True)
        return
    path = calibrations_path(os.environ)
    content = document_with(seen, os.environ)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content, f"--calibrate: {path}")
    click.echo(f"kept what {len(seen)} {what} teach in {path}", err=True)
