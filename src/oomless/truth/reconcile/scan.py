"""Finds the lines that say something: anchors by bytes.find on blocks, patterns on the few lines that have
one."""

import re
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import pairwise
from typing import NamedTuple

from ...recording.log_lines import LogLine, LogReader
from ...recording.oom_text import ANCHOR as OOM_ANCHOR
from .blocks import LogBlock

BEFORE, BEHIND = 1 << 11, 1 << 16
"""Bytes of a line before and behind an anchor that are looked at."""
ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]|\\u001b\[[0-9;]*m")
FOLLOWING = 1000
LONGEST_CONFIGURATION = 1 << 15
"""Bytes behind a line whose value goes on."""
LONGEST_FIGURE = 16
AROUND = 120
"""Bytes before and behind the anchor of a repeated line."""
OOM_WORDS = (b"out of memory", OOM_ANCHOR, b"OutOfMemoryError", b"RESOURCE_EXHAUSTED")


class Hit(NamedTuple):
    """A line with an anchor."""

    line: int
    text: str
    anchors: frozenset[bytes]
    is_cut: bool
    """Nothing ends the line: its last figure may be part of one."""
    following: str = ""
    """What comes behind an allocator's complaint, which terminals and pages wrap, and behind a configuration
    that is printed over many lines."""


class LargestFigure(NamedTuple):
    """The largest value of a repeated figure in a block."""

    word: str
    value: float


@cache
def compiled(pattern: str) -> re.Pattern[str]:
    """Return a line's pattern, compiled once."""
    return re.compile(pattern)


@cache
def compiled_bytes(pattern: bytes) -> re.Pattern[bytes]:
    """Return a repeated line's pattern, compiled once."""
    return re.compile(pattern)


def anchors(readers: Iterable[LogReader]) -> tuple[bytes, ...]:
    """Return what to look for: the anchors of readers and those of an allocator's complaint, each once."""
    return tuple(dict.fromkeys([*OOM_WORDS, *(line.anchor for each in readers for line in each.lines)]))


def going_on(readers: Iterable[LogReader]) -> frozenset[bytes]:
    """Return the anchors of lines whose values go on."""
    return frozenset(line.anchor for each in readers for line in each.lines if line.goes_on)


def hits(block: LogBlock, wanted: tuple[bytes, ...], long: frozenset[bytes] = frozenset()) -> Iterator[Hit]:
    """Return the lines of a block that have an anchor, in their order. `long`: anchors of values that go on
    behind their line."""
    found: dict[int, set[bytes]] = {}
    data = block.data
    for anchor in wanted:
        at = data.find(anchor)
        while at >= 0:
            start = data.rfind(b"\n", 0, at) + 1
            found.setdefault(start, set()).add(anchor)
            end = data.find(b"\n", at)
            at = data.find(anchor, end) if end >= 0 else -1
    number, counted = block.first_line, 0
    for start in sorted(found):
        number += data.count(b"\n", counted, start)
        counted = start
        end = data.find(b"\n", start)
        line = data[start : end if end >= 0 else len(data)]
        if len(line) > BEFORE + BEHIND:
            first = min(line.find(anchor) for anchor in found[start])
            line = line[max(0, first - BEFORE) : first + BEHIND]
        if b"\x1b" in line or b"\\u001b" in line:
            line = ESCAPES.sub(b"", line)
        following = b""
        if end >= 0 and not found[start].isdisjoint(long):
            following = ESCAPES.sub(b"", data[end : end + LONGEST_CONFIGURATION])
        elif end >= 0 and OOM_ANCHOR in found[start]:
            following = ESCAPES.sub(b"", data[end : end + FOLLOWING])
        yield Hit(
            number,
            line.decode("utf-8", "replace"),
            frozenset(found[start]),
            end < 0 and block.is_cut,
            following.decode("utf-8", "replace"),
        )


def peaks(block: LogBlock, reader: LogReader) -> Iterator[LargestFigure]:
    """Return the largest value of each figure that a live engine repeats in this block."""
    live = reader.live
    if live is None:
        return
    pieces = block.data.split(live.anchor)
    around = {before[-AROUND:] + live.anchor + behind[:AROUND] for before, behind in pairwise(pieces)}
    found = [match.groups() for text in around if (match := compiled_bytes(live.pattern).search(text))]
    for word, factor, column in zip(live.words, live.factors, zip(*found, strict=True), strict=False):
        figures = [float(text) for text in column if text and len(text) < LONGEST_FIGURE]
        if figures:
            yield LargestFigure(word, max(figures) * factor)


def matches(hit: Hit, lines: Iterable[LogLine]) -> Iterator[tuple[LogLine, tuple[str, ...]]]:
    """Return the wordings that a line fits, with what their groups found.

    A line that nothing ends counts where the pattern needs something behind its last figure.
    """
    for line in lines:
        if line.anchor not in hit.anchors:
            continue
        found = compiled(line.pattern).search(hit.text + hit.following if line.goes_on else hit.text)
        if found is None or (
            hit.is_cut
            and found.end() == len(hit.text)
            and found.lastindex
            and found.end(found.lastindex) == found.end()
        ):
            continue
        yield line, tuple(group or "" for group in found.groups())
