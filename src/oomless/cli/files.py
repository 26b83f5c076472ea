"""Files that a command writes: whole or not at all."""

import os
from pathlib import Path
from tempfile import NamedTemporaryFile

from ..errors import OomlessError, UsageError


def need_place(path: str | None, flag: str, suffix: str = "") -> None:
    """Refuse at once a file that could not be written: the answer that is to go there may take minutes."""
    if path is None:
        return
    target = Path(path)
    if suffix and target.suffix != suffix:
        raise UsageError(f"{flag} {path}: the picture is an SVG", f"name a file that ends in {suffix}")
    if target.is_dir() or not os.access(target.parent, os.W_OK):
        why = "it is a folder" if target.is_dir() else f"{target.parent} is no folder that may be written to"
        raise OomlessError(
            f"{flag} {path}: cannot be written ({why})", "name a file in a folder that is there"
        )


def write_svg(path: str, content: str) -> None:
    """A picture, whole or not at all."""
    need_place(path, "--plot", ".svg")
    write_whole(Path(path), content, f"--plot {path}")


def write_whole(target: Path, content: str | bytes, what: str) -> None:
    """The file beside its place first, then in its place: who reads it meanwhile sees the old one or the new
    one."""
    try:
        with NamedTemporaryFile("wb", dir=target.parent, delete=False, suffix=".part") as part:
            part.write(content.encode() if isinstance(content, str) else content)
        os.replace(part.name, target)
    except OSError as error:
        raise OomlessError(f"{what}: cannot be written ({error.strerror})", "check the folder") from None
