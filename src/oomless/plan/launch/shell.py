"""Words -> shell code, and a launch -> its folder. The only file that writes shell: a word is quoted unless it
is `Code`."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from ...files import shown, write_folder
from . import Code, FileText, Launch

Interpreter = Literal["/bin/sh", "/bin/bash"]
MOST_COMMENT = 400


def command(*words: str) -> Code:
    """Return one command: its words, each quoted where the shell would read it otherwise.

    >>> print(command("vllm", "serve", "my models/$(id)", "--tp", "8", Code("> $LOG")))
    vllm serve 'my models/$(id)' --tp 8 > $LOG
    """
    return Code(" ".join(word if isinstance(word, Code) else shlex.quote(word) for word in words))


def place(path: str) -> str:
    """Return a path that no program takes for an option.

    >>> place("-rf"), place("deepseek-ai/DeepSeek-V3")
    ('./-rf', 'deepseek-ai/DeepSeek-V3')
    """
    return f"./{path}" if path.startswith("-") else path


def comment(text: str) -> Code:
    """Return a comment of one line, whatever the text holds.

    >>> print(comment("x.gguf: published\\ntouch this"))
    # x.gguf: published\\ntouch this
    """
    return Code("# " + shown(text, MOST_COMMENT))


def lines(*parts: Code) -> Code:
    """Return several pieces of code, one below the other."""
    return Code("\n".join(parts))


def script(interpreter: Interpreter, *parts: Code) -> FileText:
    """Return a script of its lines."""
    return FileText(f"#!{interpreter}\n{lines(*parts)}\n")


def launch_script(launch: Launch) -> FileText:
    """Return the command as a script, below what must be there before; of several machines, each is told its
    place."""
    note = (comment(launch.note),) if launch.note else ()
    start = launch.on_each or command(Code("exec"), launch.command)
    return script("/bin/sh", *note, *(MACHINES if "$NODE_RANK" in start else ()), start)


MACHINES = (
    Code(
        "# On each machine: HEAD=<the first one's address> NODE_RANK=<0 on the first, then 1, ...> ./launch.sh"
    ),
    Code(': "${HEAD:?address of the first machine}" "${NODE_RANK:?0 on the first machine, then 1, ...}"'),
)


def launch_files(launch: Launch, under: str = "") -> dict[str, FileText]:
    """Return every file, and the command as `launch.sh`, by their names, which begin with `under`."""
    files = {"launch.sh": launch_script(launch), **launch.files}
    return {f"{under}{name}": text for name, text in files.items()}


def write_files(files: Mapping[str, FileText], folder: Path) -> list[Path]:
    """Write every file, or none, into a folder that is new or empty; return where they are."""
    write_folder(folder, files, f"--write {folder}")
    return [folder / name for name in files]
