"""`oomless run`: a command predicted, started untouched, its log read as it passes, both side by side."""

import shlex
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .. import engines
from ..engines.command_line import is_path, read_command
from ..errors import OomlessError
from ..facts.options import DEFAULT_ENGINE
from ..model.catalogue_names import catalogue_name
from ..monitor.launcher import ChildEnd, launch, start_deaf
from ..truth.reconcile.blocks import LogBlock
from ..truth.reconcile.metrics_page import read_metrics
from ..truth.reconcile.read_log import LogFile
from ..truth.reconcile.reconciled import Reconciled
from .launched_training import TrainingWatch
from .reconcile import beside_prediction
from .serving import ServingAnswer, infer

GATHERED = 1 << 16
"""Bytes of output that are read together, or what came within a second."""
SCRAPE_EVERY_S = 30.0
MOST_PAGE_BYTES = 4_000_000
WhenReady = Callable[["Watched"], None]


class Predicted(NamedTuple):
    """What is expected of a command; without an answer `problem` says why."""

    answer: ServingAnswer | None
    problem: str = ""
    engine: str = ""


def predict(words: Sequence[str], gpu: str = "") -> Predicted:
    """Return the prediction of a command that starts an engine; the cards are this machine's unless said."""
    try:
        command = read_command(shlex.join(words))
    except OomlessError as error:
        return Predicted(None, error.message)
    served = command.model or ""
    if served and not is_path(served) and (known := catalogue_name(served)):
        served = known
    if not served:
        return Predicted(None, "the command names no model", command.engine)
    flags: dict[str, Any] = {"engine": command.engine, **command.flags}
    try:
        return Predicted(infer(served, gpu or "local", **flags), "", command.engine)
    except OomlessError as error:  # no card here, say: it is an engine all the same
        return Predicted(None, error.message, command.engine)


class Watched:
    """Reads a child's output as it passes."""

    def __init__(self, gpu: str, when_ready: WhenReady) -> None:
        self.file = LogFile("output")
        self.gpu, self.when_ready = gpu, when_ready
        self.rest, self.line, self.fed_at = b"", 1, time.monotonic()
        self.is_shown = False

    def listen(self, data: bytes) -> None:
        """Take bytes; say the comparison once, when the engine is ready."""
        self.rest += data
        now = time.monotonic()
        if len(self.rest) >= GATHERED or now - self.fed_at > 1.0:
            self.fed_at = now
            self.flush()
            if not self.is_shown and any(run.state == "ready" for run in self.file.open.values()):
                self.is_shown = True
                self.when_ready(self)

    def flush(self, is_last: bool = False) -> None:
        """Read the whole lines that have come."""
        end = len(self.rest) if is_last else self.rest.rfind(b"\n") + 1
        if not end:
            return
        text = self.rest[:end].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        self.rest = self.rest[end:]
        self.file.feed(LogBlock(text, self.line, is_last and not text.endswith(b"\n")))
        self.line += text.count(b"\n")

    def found(self) -> Reconciled:
        """Return what the output told so far, beside the prediction."""
        return beside_prediction(self.file.finish(), self.gpu)


class Scraper:
    """Fetches an engine's own /metrics now and then; what it cannot reach it leaves alone."""

    def __init__(self, words: Sequence[str], engine: str, watched: Watched) -> None:
        self.url = metrics_url(words, engine)
        self.watched = watched
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._go, daemon=True)

    def start(self) -> None:
        """Begin to fetch."""
        start_deaf(self.thread)

    def stop(self) -> None:
        """End; what is under way is not waited for."""
        self.done.set()

    def _go(self) -> None:
        while not self.done.wait(SCRAPE_EVERY_S):
            self.fetch()

    def fetch(self) -> None:
        """Keep the largest live figures of the page."""
        for run in read_metrics(fetched_page(self.url), "metrics", self.watched.file.readers):
            mine = self.watched.file.open.get(run.reader.name if run.reader else "")
            for word, value in run.peaks.items():
                if mine is not None:
                    mine.peaks[word] = max(value, mine.peaks.get(word, 0.0))


def metrics_url(words: Sequence[str], engine: str) -> str:
    """Return where the engine that a command starts serves its own metrics."""
    return f"http://127.0.0.1:{_port(words, engine)}/metrics"


def fetched_page(url: str, timeout_s: float = 2.0) -> str:
    """Return a page of this machine, so much of it and no more; empty if it cannot be reached."""
    from urllib.request import urlopen

    try:
        with urlopen(url, timeout=timeout_s) as answer:
            text: str = answer.read(MOST_PAGE_BYTES).decode("utf-8", "replace")
    except (OSError, ValueError):
        return ""
    return text


def _port(words: Sequence[str], engine: str) -> int:
    start = engines.engine(engine or DEFAULT_ENGINE).start
    for word, value in zip(words, [*words[1:], ""], strict=True):
        name, _, joined = word.partition("=")
        text = joined or value
        if name == start.told[1] and text.isdecimal() and len(text) < 6:
            return int(text)
    return start.port


def run_watched(
    words: Sequence[str],
    predicted: Predicted,
    gpu: str,
    when_ready: WhenReady,
    training: TrainingWatch | None = None,
) -> tuple[ChildEnd, Watched]:
    """Start a command and return how it ended, with what its output told. What it trains is watched if
    `training` says where to."""
    watched = Watched(gpu, when_ready)
    scraper = Scraper(words, predicted.engine, watched)
    if predicted.engine:
        scraper.start()
    if training is not None:
        training.start()
    try:
        ended = launch(words, watched.listen, training.environment if training is not None else None)
    finally:
        scraper.stop()
        if training is not None:
            training.stop()
    watched.flush(is_last=True)
    return ended, watched
