"""Files that a command writes: whole or not at all."""

import os
from pathlib import Path
from tempfile import NamedTemporaryFile

from ..errors import OomlessError, UsageError


def write_svg(path: str, content: str) -> None:
    """A picture, whole or not at all."""
    target = Path(path)
    if target.suffix != ".svg":
        raise UsageError(f"--plot {path}: the picture is an SVG", "name a file that ends in .svg")
    write_whole(target, content, f"--plot {path}")


def write_whole(target: Path, content: str | bytes, what: str) -> None:
    """The file beside its place first, then in its place: who reads it meanwhile sees the old one or the new one."""
    try:
        with NamedTemporaryFile("wb", dir=target.parent, delete=False, suffix=".part") as part:
            part.write(content.encode() if isinstance(content, str) else content)
        os.replace(part.name, target)
    except OSError as error:
        raise OomlessError(f"{what}: cannot be written ({error.strerror})", "check the folder") from None
