"""The process that works a question out: one line of JSON and a file in, one line and an answer out.

It may be killed at any time: what takes too long, or too much memory, ends with it and not with the server.
"""

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from ..errors import UsageError
from ..files import safe_name, write_whole
from .page import view
from .question import Reply, refusal, reply

MAX_ADDRESS_SPACE_BYTES = 3 << 30
VIEW = "view/"
"""Before the name of a command: the answer as the page shows it."""
MAX_QUESTIONS = 20_000
"""After so many a worker is replaced, so that no cache grows for ever."""


def answered(command: str, pairs: list[tuple[str, str]], posted: str, content: bytes) -> Reply:
    """Return the reply to one question; a posted file lies in a folder of its own while it is read."""
    ask, name = (view, command.removeprefix(VIEW)) if command.startswith(VIEW) else (reply, command)
    if not posted:
        return ask(name, pairs)
    if posted != safe_name(posted, "._") or posted.startswith("."):
        return refusal(UsageError(f"file is {posted[:60]!r}", "letters, digits, dots and dashes", "file"))
    before = os.getcwd()
    with TemporaryDirectory(prefix="oomless-") as folder:
        write_whole(Path(folder, posted), content, "a posted file")
        os.chdir(folder)
        try:
            return ask(name, pairs, posted)
        finally:
            os.chdir(before)


def serve(source: BinaryIO, target: BinaryIO) -> None:
    """Answer until the source ends."""
    for _ in range(MAX_QUESTIONS):
        line = source.readline()
        if not line:
            return
        command, pairs, posted, size = json.loads(line)
        content = source.read(size)
        found = answered(command, [(name, text) for name, text in pairs], posted, content)
        target.write(json.dumps([found.status, len(found.content)]).encode() + b"\n" + found.content)
        target.flush()


def limit_memory() -> None:
    """Bound this process's memory, where the system can."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MAX_ADDRESS_SPACE_BYTES, MAX_ADDRESS_SPACE_BYTES))


def main() -> None:
    """Serve the process that started this one; what a library prints goes to stderr."""
    target = sys.stdout.buffer
    sys.stdout = sys.stderr
    limit_memory()
    serve(sys.stdin.buffer, target)


if __name__ == "__main__":
    main()
