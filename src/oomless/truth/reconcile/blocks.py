"""A log as blocks of whole lines, however long it is: from a file, a stream or a file that grows."""

import codecs
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ...units import MIB

BLOCK = 4 * MIB
"""Bytes read at a time: what bytes.find does in a few milliseconds."""
LONGEST_LINE = MIB
"""A line that is longer is cut: no engine prints a fact behind its first 64 KiB."""


class LogBlock(NamedTuple):
    """Whole lines; `first_line` is the number of the first one. `is_cut`: the last line has no end."""

    data: bytes
    first_line: int
    is_cut: bool = False


def blocks(stream: BinaryIO, follow: bool = False, wait_s: float = 0.5) -> Iterator[LogBlock]:
    """Return the blocks of a stream. Carriage returns end lines too, as progress bars mean them; UTF-16 with
    its mark is decoded; a file that grows is waited for if `follow`.

    >>> import io
    >>> [(each.data, each.first_line, each.is_cut) for each in blocks(io.BytesIO(b"a\\r\\nb"))]
    [(b'a\\n', 1, False), (b'b', 2, True)]
    """
    rest, line, decode = b"", 1, None
    started = False
    while True:
        data = stream.read(BLOCK)
        if not started and data:
            started = True
            decode = _utf16(data)
        if not data:
            if not follow:
                break
            time.sleep(wait_s)
            continue
        if decode is not None:
            data = decode.decode(data).encode("utf-8", "replace")
        data = rest + data
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        if end == len(data) and data.endswith(b"\r") and not follow:
            end -= 1  # its newline may come with the next block
            end = max(data.rfind(b"\n", 0, end), data.rfind(b"\r", 0, end)) + 1
        if not end and len(data) > LONGEST_LINE:
            end = len(data)
        rest = data[end:]
        if end:
            text = _lines(data[:end])
            yield LogBlock(text, line)
            line += text.count(b"\n")
    if rest:
        text = _lines(rest)
        whole = text.rfind(b"\n") + 1
        if whole:
            yield LogBlock(text[:whole], line)
            line += text.count(b"\n")
        if text[whole:]:
            yield LogBlock(text[whole:], line, is_cut=True)


def _lines(data: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in data else data


def _utf16(data: bytes) -> codecs.IncrementalDecoder | None:
    for mark, name in ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")):
        if data.startswith(mark):
            return codecs.getincrementaldecoder(name)("replace")
    return None


def open_log(path: Path) -> BinaryIO:
    """Return a log's bytes; one that is packed with gzip is unpacked as it is read."""
    file = open(path, "rb")  # noqa: SIM115 - the caller closes it
    if file.read(2) != b"\x1f\x8b":
        file.seek(0)
        return file
    import gzip

    file.seek(0)
    unpacked: BinaryIO = gzip.GzipFile(fileobj=file)  # type: ignore[assignment]
    return unpacked
