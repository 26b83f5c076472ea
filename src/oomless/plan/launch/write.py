"""Launch files -> a folder, all of them or none."""

from pathlib import Path

from ...files import write_folder
from . import Code, FileText, Launch
from .shell import command, comment, script


def launch_script(launch: Launch) -> FileText:
    """Return the command as a script, below what must be there before."""
    note = (comment(launch.note),) if launch.note else ()
    return script("/bin/sh", *note, command(Code("exec"), launch.command))


def write_launch(launch: Launch, folder: Path) -> list[Path]:
    """Write every file, and the command as `launch.sh`, into a folder that is new or empty; return where they
    are."""
    files = {"launch.sh": launch_script(launch), **launch.files}
    write_folder(folder, files, f"--write {folder}")
    return [folder / name for name in files]
