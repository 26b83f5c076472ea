"""Launch files -> a folder, all of them or none."""

import os
import shutil
from pathlib import Path
from tempfile import mkdtemp

from ...errors import OomlessError, UsageError
from . import Code, FileText, Launch
from .shell import command, comment, script


def need_new(folder: Path) -> None:
    """Refuse a place that holds something."""
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UsageError(f"--write {folder}: it is there and not empty", "name a new folder")


def launch_script(launch: Launch) -> FileText:
    """Return the command as a script, below what must be there before."""
    note = (comment(launch.note),) if launch.note else ()
    return script("/bin/sh", *note, command(Code("exec"), launch.command))


def write_launch(launch: Launch, folder: Path) -> list[Path]:
    """Write every file, and the command as `launch.sh`, into a folder that is new or empty. They appear
    together.

    The files are written beside the folder and moved into its place in one step, so a failure leaves nothing
    half-written.
    """
    files = {"launch.sh": launch_script(launch), **launch.files}
    need_new(folder)
    draft: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        draft.chmod(READABLE)
        for name, content in files.items():
            path = draft / name
            path.write_bytes(content.encode())
            if content.startswith("#!"):
                path.chmod(READABLE)
        if folder.is_dir():
            folder.rmdir()
        os.replace(draft, folder)
    except UnicodeEncodeError as error:
        raise OomlessError(
            f"--write {folder}: a name holds bytes that are no UTF-8 ({error.object[error.start : error.end]!a})",
            "give the model's folder or file another name",
        ) from None
    except OSError as error:
        raise OomlessError(
            f"--write {folder}: cannot be written ({error.strerror})", "check the folder"
        ) from None
    finally:
        if draft is not None and draft.exists():
            shutil.rmtree(draft, ignore_errors=True)
    return [folder / name for name in files]


READABLE = 0o755
