"""What a line of a log says, as data: an engine or a framework lists its lines, one driver reads them.

A line is found by its anchor, a few bytes that stand in it and in few others, and read by its pattern. No
pattern repeats a group that repeats, so none backtracks.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

from ..units import GIB, KIB, MIB

Keep = Literal["first", "last", "least", "most", "sum"]
"""Which of several values of one rank counts."""
Turn = Literal["", "start", "load", "draft", "pool", "ready", "end", "failed", "oom"]
"""What a line does to a run: `start` opens one, `load` begins a model (the second of a rank is a draft),
`draft` says that the next model is one, `pool` ends the making of a cache, `ready` ends the start, `end` the
run, `failed` and `oom` say how."""
Whose = Literal["model", "pool", "run"]
"""Whose figure a line carries: of the model that was loaded last; of the cache that is being made, where both
models may be loaded before either has one; or of the whole run."""

UNITS = {"GiB": GIB, "MiB": MIB, "KiB": KIB, "B": 1, "count": 1, "share": 1, "percent": 0.01}
"""Unit of a group -> factor; `text`, `flag`, `arguments` and `json` are no numbers. `place` is the device
that a line is of, `name` that of the argument whose text (`named`) comes behind it."""
NUMBER = r"(-?\d[\d.,]*)"
"""A number as logs print it, with its sign, its thousands or its decimal comma."""


PREDICTED = 5
"""Rank of what a program expects before it loads: it counts where nothing measured is printed."""


class Said(NamedTuple):
    """One value that a line carries."""

    word: str
    """The fact's name: a word of `reconcile --json`, or one that only the project's own rules use."""
    unit: str
    keep: Keep = "first"
    rank: int = 0
    """Of several wordings of one fact the one of lowest rank counts: the most precise, the latest."""
    whose: Whose = "model"


class LogLine(NamedTuple):
    """One wording of an engine."""

    anchor: bytes
    pattern: str
    says: tuple[Said, ...] = ()
    """What each group of the pattern is, in order."""
    turn: Turn = ""
    goes_on: bool = False
    """Its value ends in a later line: the pattern is read on those that follow too."""


class Live(NamedTuple):
    """A line that a live engine repeats for hours: only the largest value of each figure is kept."""

    anchor: bytes
    pattern: bytes
    """Read on the bytes around the anchor."""
    words: tuple[str, ...]
    factors: tuple[float, ...]


class LogReader(NamedTuple):
    """How a program's log reads."""

    name: str
    """The engine or framework that facts name."""
    lines: tuple[LogLine, ...]
    label: str = ""
    """Pattern of the prefix that says which process wrote a line; its first group names axes and numbers."""
    live: Live | None = None
    arguments: tuple[tuple[str, str, str], ...] = ()
    """(name in a printed configuration, word, unit) of what facts take from it."""
    also: tuple[tuple[bytes, str], ...] = ()
    """(bytes, engine): a log of a derived engine, which says so somewhere."""
    holds: str = ""
    """The program that it starts, whose own lines stand in its log."""
    wakes: tuple[bytes, ...] = ()
    """What a start prints, the surest first: looked for in hours of requests, where nothing else is."""
    carries: tuple[str, ...] = ()
    """Words of the machine that a program says once and that hold for each of its runs."""
    is_training: bool = False
    names_devices: bool = False
    """It prints what lies on each device, and how many layers do, in place of a layout."""
    host_buffers: tuple[str, ...] = ()
    """Those of its devices that are the host's memory."""
    metrics: tuple[tuple[str, str, str, str], ...] = ()
    """(metric, label or "", word, unit) of what its /metrics page tells: a label's text, or the value."""
    resolved: tuple[str, ...] = ()
    """Words of which a line of the running engine tells more than the printed configuration."""
    sizes_left_out: tuple[str, ...] = ()
    """Sizes that a printed configuration leaves out where they are 1."""
    one_rank_unsaid: bool = False
    """A run of several ranks says so on its lines, so one that does not is of one rank."""
    says_expert_size: bool = False
    """Its configuration has the size of the expert groups at all times; elsewhere it follows from a flag."""
    tp_counts_dp: bool = False
    """The tensor index of a process counts through its data-parallel groups already."""
    counts_too: tuple[tuple[str, int, str, str], ...] = ()
    """(word, rank of its wording, word of what that wording counts too, word of the line by which it does):
    the second is taken off the first on each rank."""
    unsaid_block: Callable[[Callable[[str], str]], int] = lambda said: 0
    """(word -> its text in the log) -> tokens of a cache's block that the log does not say; 0: unknown."""


def says(*pairs: str, keep: Keep = "first", rank: int = 0, whose: Whose = "model") -> tuple[Said, ...]:
    """Return what the groups of a line are, written `word unit`.

    >>> says("weights_bytes GiB", "model text")[0]
    Said(word='weights_bytes', unit='GiB', keep='first', rank=0, whose='model')
    """
    found = []
    for pair in pairs:
        word, _, unit = pair.partition(" ")
        found.append(Said(word, unit, keep, rank, whose))
    return tuple(found)


def number(text: str) -> float | None:
    """Return a number as logs print it; None if it is none.

    A comma before exactly three digits, again and again, separates thousands; another single comma is a
    decimal one.

    >>> number("1,590,736"), number("2160,00"), number("14.9595"), number("-0.41"), number("1.2.3")
    (1590736.0, 2160.0, 14.9595, -0.41, None)
    """
    whole = text.rstrip(".,").lstrip("-")
    integer, _, decimals = whole.partition(".")
    groups = integer.split(",")
    if len(groups) > 1 and all(len(group) == 3 for group in groups[1:]) and len(groups[0]) <= 3:
        integer = "".join(groups)
    elif len(groups) == 2 and not decimals:
        integer, decimals = groups
    if not integer.isdecimal() or (decimals and not decimals.isdecimal()) or len(integer) > 24:
        return None
    value = float(f"{integer}.{decimals or 0}")
    return -value if text.startswith("-") else value
