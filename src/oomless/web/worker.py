"""The process that works a question out: one line of JSON and a file in, one line and an answer out.

It may be killed at any time: what takes too long, or too much memory, ends with it and not with the server.
"""

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import BinaryIO

from .page import later, view
from .question import Names, Pairs, Reply, reply
from .sent import PostedFile, laid_out

MAX_ADDRESS_SPACE_BYTES = 3 << 30
PARTS: dict[str, Callable[[str, Pairs, Names], Reply]] = {"view": view, "later": later}
"""Before the name of a command and a stroke: the answer as the page shows it, and what of it follows."""
MAX_QUESTIONS = 20_000
"""After so many a worker is replaced, so that no cache grows for ever."""


def answered(
    command: str, pairs: list[tuple[str, str]], files: tuple[PostedFile, ...] = (), content: bytes = b""
) -> Reply:
    """Return the reply to one question; its files lie in a folder of their own meanwhile."""
    part, _, name = command.rpartition("/")
    with laid_out(files, content):
        return PARTS.get(part, reply)(name, pairs, tuple(file.name for file in files))


def serve(source: BinaryIO, target: BinaryIO) -> None:
    """Answer until the source ends."""
    for _ in range(MAX_QUESTIONS):
        line = source.readline()
        if not line:
            return
        command, pairs, sent, size = json.loads(line)
        content = source.read(size)
        files = tuple(PostedFile(*each) for each in sent)
        found = answered(command, [(name, text) for name, text in pairs], files, content)
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
