"""A log -> its runs: detection without a flag, ranks apart, restarts apart, whatever is cut off left out."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ...engines.logs import engine_logs
from ...frameworks.logs import LOGS as FRAMEWORK_LOGS
from ...recording.log_lines import LogLine, LogReader
from ...recording.oom_text import ANCHOR as OOM_ANCHOR
from ...recording.oom_text import OutOfMemoryText, read_oom
from ...units import MIB
from .blocks import LogBlock, blocks, open_log
from .logged_run import Label, LoggedRun
from .scan import OOM_WORDS, Hit, anchors, compiled, going_on, hits, matches, peaks

MOST_WORDINGS, LONGEST_WORDING = 2000, 400
QUIET_BYTES, QUIET_WHEN_READY = 16 * MIB, MIB // 8
"""Bytes without a fact after which only what begins or kills a run is looked for."""
OUT_OF_MEMORY = re.compile(
    r"CUDA error: out of memory|cuda runtime error \(2\) ?: out of memory|CUDA_ERROR_OUT_OF_MEMORY"
    r"|OutOfMemoryError: |hipErrorOutOfMemory|RESOURCE_EXHAUSTED: Out of memory"
    r"|[Mm]alloc failed: out of memory|cudaErrorMemoryAllocation"
    r"|CUDA runtime error in [^\n]{1,200}: out of memory"
)
SAYS_SO = re.compile(r"out of memory|OutOfMemoryError|total capac", re.IGNORECASE)
"""What an allocator's complaint has beside its size: other programs try to allocate, too."""
WRAPPED = re.compile(r"\s*\n(?:\[rank\d+\]:)?\s*")
Matched = list[tuple[LogLine, tuple[str, ...]]]


class LogFile:
    """The runs of one file, fed block by block."""

    def __init__(self, name: str, readers: tuple[LogReader, ...] | None = None) -> None:
        self.name = name
        self.readers = readers if readers is not None else (*engine_logs(), *FRAMEWORK_LOGS)
        self.runs: list[LoggedRun] = []
        self.open: dict[str, LoggedRun] = {}
        self.latest: LoggedRun | None = None
        self.quiet = 0
        self.all_anchors = anchors(self.readers)
        self.long = going_on(self.readers)
        self.num_facts = 0

    def feed(self, block: LogBlock) -> None:
        """Read one block."""
        before = self.num_facts
        wakes = self._wakes()
        is_ready = any(run.state == "ready" for run in self.open.values())
        if self.quiet < (QUIET_WHEN_READY if is_ready else QUIET_BYTES):
            found = hits(block, self._wanted(wakes), self.long)
        elif any(anchor in block.data for anchor in wakes):
            found = hits(block, self.all_anchors, self.long)
        else:
            found = iter(())
        for hit in found:
            self._take(hit)
        self.quiet = self.quiet + len(block.data) if self.num_facts == before else 0
        for run in self.open.values():
            if run.reader is not None:
                for peak in peaks(block, run.reader):
                    run.peaks[peak.word] = max(peak.value, run.peaks.get(peak.word, 0.0))

    def _wanted(self, wakes: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """Return what to look for: all that is known until a program has shown itself, then its own lines and
        what wakes."""
        mine = [each for each in self.readers if each.name in self.open]
        if not any(each.wakes for each in mine):
            return self.all_anchors
        return tuple(dict.fromkeys([*wakes, *anchors(mine)]))

    def _wakes(self) -> tuple[bytes, ...]:
        """Return what ends hours of requests: an allocator's complaint, a restart, another program."""
        starts = [each.wakes if each.name in self.open else each.wakes[:1] for each in self.readers]
        return tuple(dict.fromkeys([OOM_WORDS[0], *(anchor for group in starts for anchor in group)]))

    def finish(self) -> tuple[LoggedRun, ...]:
        """Return the runs that said something, in their order. llama.cpp's `-fit` loads the model once
        without memory, to see what would fit: that is no run."""
        real = [run for run in self.runs if "rehearsal" not in run.values] or self.runs
        kept = [run for run in real if run.has_figures or run.ooms or run.state in ("failed", "oom")]
        if not kept:
            kept = [run for run in self.runs if run.values or run.state][-1:]
        return tuple(kept)

    def _take(self, hit: Hit) -> None:
        source = f"{self.name}:{hit.line}"
        reader, found = self._reader_of(hit)
        if reader is not None:
            self._lines(reader, found, hit, source)
        if hit.anchors & {*OOM_WORDS}:
            self._oom(hit, source)

    def _reader_of(self, hit: Hit) -> tuple[LogReader | None, Matched]:
        """Return who wrote a line: one whose run is open, then one that begins here, then the first."""
        fitting = [(each, found) for each in self.readers if (found := list(matches(hit, each.lines)))]
        if not fitting:
            return None, []
        names = {each.name for each, _ in fitting}
        for outer in (each for each, _ in fitting if each.holds in names):
            other = outer.holds if outer.name in self.open else outer.name
            fitting = [pair for pair in fitting if pair[0].name != other]
        begun = [pair for pair in fitting if any(line.turn == "start" for line, _ in pair[1])]
        latest = self.latest.reader.name if self.latest is not None and self.latest.reader is not None else ""
        known = [pair for pair in fitting if pair[0].name == latest]
        known = known or [pair for pair in fitting if pair[0].name in self.open]
        if known:
            return known[0] if not begun else (begun[0] if begun[0] not in known else known[0])
        alone = ("start",) if self.latest is not None else ("start", "failed", "oom")  # an excerpt of its end
        speaking = [pair for pair in fitting if any(line.says or line.turn in alone for line, _ in pair[1])]
        return (begun or speaking)[0] if begun or speaking else (None, [])

    def _lines(self, reader: LogReader, found: Matched, hit: Hit, source: str) -> None:
        label = label_of(reader, hit.text)
        for line, groups in found:
            run = self._run_for(reader, line, label, source)
            self.latest = run
            if label.pid:
                run.pids.setdefault(label.text, label.pid)
            match line.turn:
                case "load":
                    run.loads_model(label)
                case "draft":
                    run.draft_is_next = True
                case "ready" if run.state != "ready":
                    run.state = "ready"
                case "failed" | "oom":
                    if run.state != "oom":  # what ends an engine behind a refusal is no other cause
                        run.state = line.turn
                    run.failures.append(f"{source}: {hit.text.strip()[:300]}")
            if line.says:
                run.add(line.says, groups, label, source)
                if len(run.wordings) < MOST_WORDINGS:
                    run.wordings[source] = hit.text.strip()[:LONGEST_WORDING]
                self.num_facts += 1
            if line.turn == "pool":
                run.ends_pool(label)
            for sign, engine in reader.also:
                if sign.decode() in hit.text:
                    run.engine = engine

    def _run_for(self, reader: LogReader, line: LogLine, label: Label, source: str) -> LoggedRun:
        run = self.open.get(reader.name)
        if run is not None and not self._begins_another(run, line, label):
            run.seen_starts.add((line.pattern, label.text)) if line.turn == "start" else None
            return run
        before = run
        run = LoggedRun(reader, source)
        if line.turn == "start":
            run.seen_starts.add((line.pattern, label.text))
        if before is not None:
            for word in reader.carries:
                if word in before.values:
                    run.values[word] = list(before.values[word])
        self.runs.append(run)
        self.open[reader.name] = run
        return run

    def _begins_another(self, run: LoggedRun, line: LogLine, label: Label) -> bool:
        """Whether a line is of a new run: a start after something was measured, a start that this very
        process logged before, the same process under another number."""
        if label.text.startswith(ALONE) and run.pids.get(label.text, label.pid) != label.pid:
            return True
        if line.turn == "load":
            return not label.text and run.has_measured and not run.draft_is_next and not run.reader_labels
        if line.turn != "start":
            return False
        if (line.pattern, label.text) in run.seen_starts:
            return True
        another_rank = bool(label.axes()) and label.text not in {text for _, text in run.seen_starts}
        return (run.has_measured or run.state in ("failed", "oom", "ready")) and not another_rank

    def _oom(self, hit: Hit, source: str) -> None:
        text = unwrapped(hit)
        is_said = bool(SAYS_SO.search(text))
        found = read_oom(text, source) if OOM_ANCHOR in hit.anchors and is_said else None
        if found is None and not OUT_OF_MEMORY.search(hit.text):
            return
        if found is not None and found.tried_bytes is None:
            return
        if hit.is_cut and found is not None and found.total_bytes is None:
            return
        run = self.latest
        if run is None:
            run = self.latest = LoggedRun(None, source)
            self.runs.append(run)
        run.state = "oom"
        if found is not None and not any(same_event(found, each) for each in run.ooms):
            run.ooms.append(found)


LAST_FIGURE = re.compile(
    r"reserved by PyTorch but unallocated|reserved in total by|already allocated|cached\)"
)
"""What the last figures of an allocator's complaint have beside them."""


def unwrapped(hit: Hit) -> str:
    """Return an allocator's complaint in one line, where a terminal or a page broke it into several."""
    if LAST_FIGURE.search(hit.text) or not hit.following:
        return hit.text
    rest = WRAPPED.sub(" ", hit.following.partition("ried to allocate")[0])
    return f"{hit.text} {rest}"


def same_event(one: OutOfMemoryText, other: OutOfMemoryText) -> bool:
    """Return whether two texts tell of one refusal: a traceback repeats it."""
    return one._replace(source="", rank=None) == other._replace(source="", rank=None)


ALONE = ("EngineCore", "APIServer", "ApiServer")
"""Processes of which a run has one of each name, so that another number is another run; workers without an
index share a name, and are told apart by their number."""


def label_of(reader: LogReader, text: str) -> Label:
    """Return which process wrote a line, as far as its prefix says."""
    if not reader.label:
        return Label()
    found = compiled(reader.label).search(text[:512])
    if found is None:
        return Label()
    named = [group for group in found.groups() if group]
    text, pid = named[0] if named else "", named[1] if len(named) > 1 else ""
    if text.startswith(ALONE) or Label(text).axes():
        return Label(text, pid)
    return Label(f"{text} {pid}".rstrip())


def read_stream(stream: BinaryIO, name: str) -> tuple[LoggedRun, ...]:
    """Return the runs that a stream tells of."""
    file = LogFile(name)
    for block in blocks(stream):
        file.feed(block)
    return file.finish()


def read_log(path: Path) -> tuple[LoggedRun, ...]:
    """Return the runs that a log tells of, in their order."""
    with open_log(path) as stream:
        return read_stream(stream, path.name)


def follow_log(path: Path) -> Iterator[tuple[LoggedRun, ...]]:
    """Return what a growing log tells so far, after each piece that was written."""
    file = LogFile(path.name)
    with open_log(path) as stream:
        for block in blocks(stream, follow=True):
            file.feed(block)
            yield file.finish()
