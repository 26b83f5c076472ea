"""Launch files -> a folder, all of them or none."""

import os
import shutil
from pathlib import Path
from tempfile import mkdtemp

from ...errors import OomlessError, UsageError
from . import Launch


def need_new(folder: Path) -> None:
    """Refuse a place that holds something."""
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UsageError(f"--write {folder}: it is there and not empty", "name a new folder")


def write_launch(launch: Launch, folder: Path) -> list[Path]:
    """Write every file, and the command as `launch.sh`, into a folder that is new or empty. They appear
    together.

    The files are written beside the folder and moved into its place in one step, so a failure leaves nothing
    half-written.
    """
    files = {
        "launch.sh": f"#!/bin/sh\n{'# ' + launch.note + chr(10) if launch.note else ''}exec "
        f"{launch.command}\n",
        **launch.files,
    }
    need_new(folder)
    draft: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        draft.chmod(READABLE)
        for name, content in files.items():
            path = draft / name
            path.write_text(content, encoding="utf-8")
            if content.startswith("#!"):
                path.chmod(READABLE)
        if folder.is_dir():
            folder.rmdir()
        os.replace(draft, folder)
    except OSError as error:
        raise OomlessError(
            f"--write {folder}: cannot be written ({error.strerror})", "check the folder"
        ) from None
    finally:
        if draft is not None and draft.exists():
            shutil.rmtree(draft, ignore_errors=True)
    return [folder / name for name in files]


READABLE = 0o755
