"""One start of an engine as its log tells it: values by word and by the process that wrote them."""

import re
from typing import NamedTuple, assert_never

from ...ledger import Owner
from ...recording.log_lines import PREDICTED, UNITS, LogReader, Said, Whose, number
from ...recording.oom_text import OutOfMemoryText
from ...units import GB, GIB, KB, KIB, MB, MIB, TIB

AXES = re.compile(r"(DP|PP|TP|EP|rank=|RANK |Rank |rank )_?(\d+)")
SIZES = {"B": 1, "KiB": KIB, "MiB": MIB, "GiB": GIB, "TiB": TIB, "KB": KB, "MB": MB, "GB": GB}
MEASURED = (
    "weights_bytes",
    "kv_bytes",
    "kv_tokens",
    "kv_blocks",
    "activation_bytes",
    "cuda_graph_bytes",
    "compute_buffer_bytes",
    "peak_allocated",
)
"""Words that a start cannot have said before it began: the next `start` line is another run's."""


class LoggedValue(NamedTuple):
    """One value as a line gave it."""

    value: float | str
    source: str
    label: str
    """The process that wrote the line, as the log names it; for llama.cpp the device that a buffer is on."""
    owner: Owner | None
    rank: int
    """Of several wordings the one of the lowest rank counts."""
    keep: str
    unit: str

    @property
    def amount(self) -> float:
        """Return the value as a number; 0 where it is a text."""
        return self.value if isinstance(self.value, float) else 0.0


class Label(NamedTuple):
    """Which process wrote a line."""

    text: str = ""
    pid: str = ""

    def axes(self) -> dict[str, int]:
        """Return the indices that it names.

        >>> (
        ...     Label("Worker_DP1_TP3_EP7").axes(),
        ...     Label(" DP0 TP2 EP2").axes(),
        ...     Label("VllmWorker rank=5").axes(),
        ... )
        ({'DP': 1, 'TP': 3, 'EP': 7}, {'DP': 0, 'TP': 2, 'EP': 2}, {'rank': 5})
        """
        return {
            name.strip(" =").lower() if "ank" in name.lower() else name: int(index)
            for name, index in AXES.findall(self.text)
            if len(index) < 7
        }


class LoggedRun:
    """What one start said, filled line by line."""

    def __init__(self, reader: LogReader | None, source: str) -> None:
        self.reader = reader
        self.source = source
        self.values: dict[str, list[LoggedValue]] = {}
        self.state = ""
        self.ooms: list[OutOfMemoryText] = []
        self.failures: list[str] = []
        self.loads: dict[str, int] = {}
        self.pools: dict[str, int] = {}
        """Caches that each process has made."""
        self.pids: dict[str, str] = {}
        self.peaks: dict[str, float] = {}
        self.named: dict[str, str] = {}
        """Arguments that are printed one a line, as they are first said."""
        self.engine = reader.name if reader else "torch"
        self.seen_starts: set[tuple[str, str]] = set()
        """Start lines that were read, with the process that wrote each."""
        self.draft_is_next = False
        self.wordings: dict[str, str] = {}
        """FILE:LINE -> the line, of what was kept."""

    @property
    def has_measured(self) -> bool:
        """Whether anything was measured, after which a start line begins another run."""
        return any(each.rank < PREDICTED for word in MEASURED for each in self.values.get(word, ()))

    @property
    def has_figures(self) -> bool:
        """Whether any figure of memory was printed, measured or expected."""
        return any(word in self.values for word in MEASURED)

    @property
    def rules(self) -> LogReader:
        """How the program's log reads; of an allocator's text alone no rule is known."""
        return self.reader or LogReader(self.engine, ())

    @property
    def reader_labels(self) -> bool:
        """Whether the program names the process on each line, so that a second load is a draft's."""
        return self.reader is not None and bool(self.reader.label)

    @property
    def names_devices(self) -> bool:
        """Whether the program prints devices and layers in place of a layout."""
        return self.reader is not None and self.reader.names_devices

    def owner(self, label: Label, whose: Whose = "model") -> Owner | None:
        """Return whose values a process prints now: the second model that it loads is a draft, and so is the
        second cache that it makes then. SGLang once made the model's before it loaded the draft; newer
        releases load both first."""
        has_draft = self.loads.get(label.text, 0) > 1
        match whose:
            case "model":
                return "draft" if has_draft else "engine"
            case "pool":
                return "draft" if has_draft and self.pools.get(label.text, 0) else "engine"
            case "run":
                return "engine"
            case _:
                assert_never(whose)

    def ends_pool(self, label: Label) -> None:
        """Count a cache that a process has made."""
        self.pools[label.text] = self.pools.get(label.text, 0) + 1

    def loads_model(self, label: Label) -> None:
        """Count a model that a process begins to load."""
        again = self.reader_labels or self.draft_is_next
        self.loads[label.text] = self.loads.get(label.text, 0) + 1 if again else 1
        if self.draft_is_next:
            self.loads[label.text] = 2
        self.draft_is_next = False

    def add(self, said: tuple[Said, ...], groups: tuple[str, ...], label: Label, source: str) -> None:
        """Keep what a line says; a figure that is none is not kept."""
        place, name = label.text, ""
        printed = next((group for group in groups if group in SIZES), "")
        position = 0
        for each in said:
            text = groups[position] if position < len(groups) else ""
            position += 1
            if not text:
                continue
            if each.unit == "place":
                place = text
                continue
            if each.unit == "name":
                name = text
                continue
            if each.unit == "named":
                self.named.setdefault(name, text)
                continue
            value = _value(text, each.unit, printed)
            if value is not None:
                owner = self.owner(label, each.whose)
                kept = LoggedValue(value, source, place, owner, each.rank, each.keep, each.unit)
                self.values.setdefault(each.word, []).append(kept)

    def of_ranks(self, word: str, owner: Owner | None = "engine") -> dict[str, LoggedValue]:
        """Return a word's value on each rank: of the most precise wording the first, last, least or most, or
        the sum."""
        mine = [each for each in self.values.get(word, ()) if owner is None or each.owner in (owner, None)]
        best = min((each.rank for each in mine), default=0)
        by_label: dict[str, list[LoggedValue]] = {}
        for each in mine:
            if each.rank == best:
                by_label.setdefault(each.label, []).append(each)
        found = {label: _kept(values) for label, values in by_label.items()}
        for own, rank, part, says_so in self.rules.counts_too:
            if (own, rank) == (word, best) and says_so in self.values:
                found = _without(found, self.of_ranks(part, owner))
        return found

    def on_cards(self, word: str) -> dict[str, LoggedValue]:
        """Return a word's value on each rank, or on each device that is a card."""
        values = self.of_ranks(word)
        return {label: value for label, value in values.items() if label not in self.rules.host_buffers}

    def first(self, word: str) -> LoggedValue | None:
        """Return a configuration's value: of the best wording the one that its rule keeps."""
        mine = self.values.get(word, ())
        if not mine:
            return None
        best = min(each.rank for each in mine)
        return _kept([each for each in mine if each.rank == best])

    def figure(self, word: str) -> float | None:
        """Return a value as a number; None if the log does not say one."""
        found = self.first(word)
        return found.value if found is not None and isinstance(found.value, float) else None

    def text(self, word: str) -> str:
        """Return a value as text; empty if the log does not say it."""
        found = self.first(word)
        return "" if found is None else str(found.value)


def _without(whole: dict[str, LoggedValue], parts: dict[str, LoggedValue]) -> dict[str, LoggedValue]:
    """Each rank's value less the part that its own lines tell, or where only one rank tells it that rank's;
    one that would be negative stays."""
    told = max((each.amount for each in parts.values()), default=0.0)
    left = {}
    for label, value in whole.items():
        less = value.amount - (parts[label].amount if label in parts else told)
        left[label] = value._replace(value=less) if less >= 0 else value
    return left


def _kept(values: list[LoggedValue]) -> LoggedValue:
    match values[0].keep:
        case "last":
            return values[-1]
        case "least":
            return min(values, key=lambda each: each.amount)
        case "most":
            return max(values, key=lambda each: each.amount)
        case "sum":
            return values[0]._replace(value=sum(each.amount for each in values))
        case _:
            return values[0]


def _value(text: str, unit: str, printed: str) -> float | str | None:
    if unit in ("text", "flag", "arguments", "json"):
        return text.strip()
    if unit == "size":
        amount, _, name = text.partition(" ")
        value = number(amount)
        return None if value is None or name not in SIZES else value * SIZES[name]
    value = number(text)
    if value is None:
        return None
    factor = SIZES[printed] if unit == "printed" and printed else UNITS.get(unit, 1)
    return value * factor
