"""A file of the user's own: of bounded size, and never one that blocks or has no end."""

import os
from pathlib import Path

from ..errors import OomlessError


def need_regular(path: Path | str, hint: str) -> None:
    """Refuse what is there and is no regular file: a pipe would block until somebody writes, a device has no
    end.

    The null device is an empty file to everybody: OOMLESS_CONFIG=/dev/null means no defaults.
    """
    if (
        os.path.exists(path) and not os.path.isfile(path) and os.fspath(path) != os.devnull
    ):  # these never raise, unlike Path's
        raise OomlessError(f"{path}: no regular file", hint)


def read_whole(path: Path | str, most_bytes: int, hint: str) -> bytes:
    """The bytes of a regular file of at most `most_bytes`; anything else is an OomlessError, whose `hint`
    says what to give.

    What the file says of its size counts for nothing: files of the kernel say 0 and go on.
    """
    need_regular(path, hint)
    try:
        with Path(path).open("rb") as file:
            content = file.read(most_bytes + 1)
    except OSError as error:
        raise OomlessError(f"{path}: cannot be read ({error.strerror})", "check the path") from None
    if len(content) > most_bytes:
        raise OomlessError(f"{path}: too large, more than {most_bytes:,} bytes", hint)
    return content


def read_whole_text(path: Path | str, most_bytes: int, hint: str) -> str:
    """The same as a text in UTF-8, with or without a byte order mark."""
    try:
        return read_whole(path, most_bytes, hint).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise OomlessError(f"{path}: not a text in UTF-8", hint) from None
