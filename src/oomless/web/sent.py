"""Files that come with a question: one after the other in the body, named in the address. Of a checkpoint the
head is enough: the address then says how large the whole file is."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from ..errors import UsageError
from ..files import WHOLE_SIZE, safe_name, write_whole

NAMES = ("file", "bytes", "whole")
"""What an address says of its files, once for each: name, bytes in the body, bytes of the whole file."""
MOST_FILES = 64
MOST_BYTES = 1 << 50


class PostedFile(NamedTuple):
    """A file, or its head."""

    name: str
    num_bytes: int
    """What of the body is its own."""
    whole_bytes: int


def sent_of(
    pairs: list[tuple[str, str]], size: int, usual: str = "posted.log"
) -> tuple[list[tuple[str, str]], tuple[PostedFile, ...]]:
    """Return what an address asks, and the files that a body of `size` bytes holds.

    >>> sent_of([("model", "a.gguf"), ("file", "a.gguf"), ("whole", "9000")], 100)
    ([('model', 'a.gguf')], (PostedFile(name='a.gguf', num_bytes=100, whole_bytes=9000),))
    """
    said = {name: [text for each, text in pairs if each == name] for name in NAMES}
    names = said["file"] or [usual]
    lengths = [_size("bytes", text) for text in said["bytes"]] or [size]
    wholes = [_size("whole", text) for text in said["whole"]] or lengths
    if len(names) > MOST_FILES or len({*names}) < len(names):
        raise UsageError("file names too many, or one twice", f"up to {MOST_FILES} names, each once", "file")
    if not len(names) == len(lengths) == len(wholes) or sum(lengths) != size:
        hint = "in the order of the body: file=NAME&bytes=N for each, whole=N where heads are sent"
        raise UsageError(f"{len(names)} files do not make up a body of {size:,} bytes", hint, "bytes")
    for name in names:
        if name != safe_name(name, "._") or name.startswith("."):
            raise UsageError(f"file is {name[:60]!r}", "letters, digits, dots and dashes", "file")
    for length, whole in zip(lengths, wholes, strict=True):
        if whole < length:
            raise UsageError(f"whole is {whole:,} of {length:,} bytes", "the size of the whole file", "whole")
    rest = [(name, text) for name, text in pairs if name not in NAMES]
    return rest, tuple(map(PostedFile, names, lengths, wholes))


def _size(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 17) or int(text) > MOST_BYTES:
        raise UsageError(f"{name} is {text[:40]!r}", "a number of bytes", name)
    return int(text)


@contextmanager
def laid_out(files: tuple[PostedFile, ...], content: bytes) -> Iterator[None]:
    """Let files lie in the working folder, one that goes away afterwards; without files, change nothing."""
    if not files:
        yield
        return
    before = os.getcwd()
    with TemporaryDirectory(prefix="oomless-") as folder:
        start = 0
        for file in files:
            own = content[start : start + file.num_bytes]
            start += file.num_bytes
            write_whole(Path(folder, file.name), own, "a posted file")
            if file.whole_bytes > file.num_bytes:
                write_whole(Path(folder, file.name + WHOLE_SIZE), str(file.whole_bytes), "a posted file")
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)
