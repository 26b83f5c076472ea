"""Files of the user's own: read with a bound, written whole or not at all; names that are safe, and text from
outside as it may be shown."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from .errors import OomlessError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

MOST_SHOWN = 80
"""Characters of a value that a message shows."""


def config_folder(environ: Mapping[str, str]) -> str:
    """Return the folder with the user's own defaults and calibrations; it need not exist.

    >>> config_folder({"XDG_CONFIG_HOME": "/home/a/.config"})
    '/home/a/.config/oomless'
    """
    base = environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    return os.path.join(base, "oomless")


def need_path(value: object, name: str) -> None:
    """Refuse what is neither a text nor a path."""
    if not isinstance(value, str | os.PathLike):
        raise UsageError(f"{name} is no {type(value).__name__}", "give a path, or a text")


def need_regular(path: "Path | str", hint: str) -> None:
    """Refuse what is there and is no regular file: a pipe would block until somebody writes, a device has no
    end.

    The null device is an empty file to everybody: OOMLESS_CONFIG=/dev/null means no defaults.
    """
    if (
        os.path.exists(path) and not os.path.isfile(path) and os.fspath(path) != os.devnull
    ):  # these never raise, unlike Path's
        raise OomlessError(f"{path}: no regular file", hint)


WHOLE_SIZE = ".whole-size"
"""Ends the name of the file that says how large another one is, whose head alone lies here."""


def whole_size(path: "Path") -> int:
    """Return the bytes of a file: of one whose head alone lies here, those of the whole one."""
    beside = path.with_name(path.name + WHOLE_SIZE)
    if beside.is_file():
        text = read_whole_text(beside, 20, "a number of bytes").strip()
        if text.isascii() and text.isdigit():
            return int(text)
    return path.stat().st_size


def read_whole(path: "Path | str", most_bytes: int, hint: str) -> bytes:
    """Return the bytes of a regular file of at most `most_bytes`; anything else is an OomlessError, whose
    `hint` says what to give.

    What the file says of its size counts for nothing: files of the kernel say 0 and go on.
    """
    need_regular(path, hint)
    try:
        with open(path, "rb") as file:
            content = file.read(most_bytes + 1)
    except OSError as error:
        raise OomlessError(f"{path}: cannot be read ({error.strerror})", "check the path") from None
    except ValueError:  # a NUL, or a name that the system's encoding does not have
        raise OomlessError(f"{shown(path)}: not a name of a file", "check the path") from None
    if len(content) > most_bytes:
        raise OomlessError(f"{path}: too large, more than {most_bytes:,} bytes", hint)
    return content


def read_whole_text(path: "Path | str", most_bytes: int, hint: str) -> str:
    """Return the same as a text in UTF-8, with or without a byte order mark."""
    try:
        return read_whole(path, most_bytes, hint).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise OomlessError(f"{path}: not a text in UTF-8", hint) from None


def write_whole(target: "Path | str", content: str | bytes, what: str) -> None:
    """Write a file: beside its place first, then in its place, so that who reads it meanwhile sees the old
    one or the new one.

    Its permissions are those of the user's umask. Nothing is left behind where it fails.
    """
    part = os.path.join(os.path.dirname(target) or ".", f".oomless-{os.urandom(6).hex()}.part")
    try:
        try:
            _write(part, content, 0o666)
            os.replace(part, target)
        except BaseException:
            if os.path.lexists(part):
                os.unlink(part)
            raise
    except (OSError, UnicodeEncodeError) as error:
        raise cannot_be_written(what, error, "check the folder") from None


def _write(path: str, content: str | bytes, mode: int) -> None:
    """Write a new file through to the disk."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())


def cannot_be_written(what: str, error: OSError | UnicodeEncodeError, hint: str) -> OomlessError:
    """Return the error of a file that was not written."""
    if isinstance(error, OSError):
        return OomlessError(f"{what}: cannot be written ({error.strerror})", hint)
    found = ascii(error.object[error.start : error.end])
    return OomlessError(
        f"{what}: a name holds bytes that are no UTF-8 ({found})", "give the folder or file another name"
    )


def need_new_folder(folder: "Path | str", what: str) -> None:
    """Refuse a place that holds something."""
    if os.path.islink(folder):
        raise UsageError(f"{what}: it is a link", "name a new folder")
    try:
        taken = os.path.lexists(folder) and (not os.path.isdir(folder) or bool(os.listdir(folder)))
    except OSError as error:
        raise cannot_be_written(what, error, "name a new folder") from None
    if taken:
        raise UsageError(f"{what}: it is there and not empty", "name a new folder")


def write_folder(folder: "Path | str", files: Mapping[str, str | bytes], what: str) -> None:
    """Write files, which may lie deeper (`en/index.html`), into a folder that is new or empty; they appear
    together, or none does. Scripts may be executed."""
    import shutil

    need_new_folder(folder, what)
    parent = os.path.dirname(os.path.abspath(folder))
    draft = os.path.join(parent, f".oomless-{os.urandom(6).hex()}.part")
    try:
        try:
            os.makedirs(parent, exist_ok=True)
            os.mkdir(draft)
            for name, content in files.items():
                path = os.path.join(draft, name)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                _write(path, content, 0o777 if content[:2] in ("#!", b"#!") else 0o666)
            if os.path.isdir(folder):
                os.rmdir(folder)
            os.replace(draft, folder)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
    except (OSError, UnicodeEncodeError) as error:
        raise cannot_be_written(what, error, "check the folder") from None


def safe_name(text: str, more: str = "", most: int = MOST_SHOWN) -> str:
    """Return a name for programs that take few characters: letters, digits, and those of `more`; others
    become dashes.

    >>> safe_name("DeepSeek V3.2; exp"), safe_name("my model_v2", "_."), safe_name("模型")
    ('DeepSeek-V3-2--exp', 'my-model_v2', 'model')
    """
    kept = "".join(char if char.isascii() and (char.isalnum() or char in more) else "-" for char in text)
    return kept[:most].strip("-.") or "model"


def shown(value: object, most: int = MOST_SHOWN) -> str:
    """Return text from outside, or a value, as a terminal, a file or a label may have it: control characters,
    line ends and all that Unicode does not print are escaped, and what is long is cut.

    >>> shown("red \\x1b[31m"), shown("line\\nfits: 99 GiB"), shown("模型"), shown("a" * 99)[70:]
    ('red \\\\x1b[31m', 'line\\\\nfits: 99 GiB', '模型', 'aaaaaaa...')
    >>> shown([2, [True]]), shown(10**5000)
    ('[2, [True]]', 'about 10^4983')
    """
    if isinstance(value, str):
        text = value[: most + 1]
    elif isinstance(value, int) and value.bit_length() > MOST_BITS:
        text = f"about {'-' if value < 0 else ''}10^{value.bit_length() * 3 // 10}"
    elif isinstance(value, os.PathLike):
        text = str(value)[: most + 1]
    else:
        text = _bounded(value)
    text = printable(text)
    return text if len(text) <= most else text[: most - 3] + "..."


MOST_BITS = 256


def printable(text: str, kept: str = "") -> str:
    """Return a text in which what a terminal would obey, and what nobody sees, is spelled out; characters of
    `kept` stay.

    >>> printable("red \\x1b[31m"), printable("a\\u202eb\\n", kept="\\n")
    ('red \\\\x1b[31m', 'a\\\\u202eb\\n')
    """
    if text.translate(dict.fromkeys(map(ord, kept))).isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in kept else char.encode("unicode_escape").decode()
        for char in text
    )


def json_text(value: object, indent: int | None = None) -> str:
    """Return a value as JSON in ASCII without control characters; a number that JSON has not is a defect."""
    import json

    return json.dumps(value, allow_nan=False, indent=indent).replace("\x7f", "\\u007f")


def _bounded(value: object) -> str:
    """Return a value's repr, whose cost does not grow with what the value holds."""
    from reprlib import Repr

    short = Repr()
    short.maxlevel, short.maxlist, short.maxdict, short.maxstring = 3, 8, 4, MOST_SHOWN
    try:
        return short.repr(value)
    except ValueError:  # a whole number of more digits than Python writes
        return f"a {type(value).__name__} of large numbers"


def listed(names: "list[str] | tuple[str, ...]", most: int = 10) -> str:
    """Return names from outside in one line, and how many are not shown.

    >>> listed(["a", "b\\x07"]), listed([str(n) for n in range(99)], 3)
    ('a, b\\\\x07', '0, 1, 2 and 96 more')
    """
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(shown, names[:most])) + more
