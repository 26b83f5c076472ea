"""`oomless top`: this machine's cards and processes, each beside what is predicted for it."""

import platform
import time
from pathlib import PurePath

from ..engines.logs import engine_logs
from ..errors import OomlessError, need
from ..monitor.cards import Cards, CardUse
from ..monitor.entries import RunQuestion
from ..monitor.expected import as_entries, category_sums
from ..monitor.host_processes import HostProcess, host_process, watched_processes
from ..monitor.journal import read_rank
from ..monitor.live_runs import Followed, RankNow
from ..monitor.machine_view import MachineView, ProcessView, ServedModel
from ..truth.reconcile.metrics_page import read_metrics
from .launched import fetched_page, metrics_url, predict
from .monitored import predict as predict_training

MOST_PROCESSES = 200
LOOKS_EVERY_S = 10.0
"""Between two looks for processes that are watched and on no card."""
PAGE_S = 0.3
"""How long an engine's own page is waited for."""


class LiveMachine:
    """This machine, looked at again and again; what is asked once is kept."""

    def __init__(self, cards: Cards | None = None) -> None:
        self.cards = cards if cards is not None else Cards()
        self.followed: dict[int, Followed] = {}
        self.predicted: dict[int, RankNow] = {}
        self.served: dict[int, ServedModel | None] = {}
        self.watched: list[int] = []
        self.looked_at = float("-inf")

    def now(self) -> MachineView:
        """Return what is there now."""
        psutil = need("psutil", "monitor")
        memory, cards = psutil.virtual_memory(), self.cards.now()
        if time.monotonic() - self.looked_at >= LOOKS_EVERY_S:
            self.looked_at = time.monotonic()
            self.watched = watched_processes()
        on_cards: dict[int, list[tuple[int, int]]] = {}
        for card in cards:
            for pid, num_bytes in card.processes.items():
                on_cards.setdefault(pid, []).append((card.number, num_bytes))
        pids = list(dict.fromkeys((*on_cards, *self.watched)))[:MOST_PROCESSES]
        views = [
            self._view(process, tuple(on_cards.get(process.pid, ())), cards)
            for process in map(host_process, pids)
            if process is not None
        ]
        self._forget(set(pids))
        return MachineView(
            platform.node(),
            time.time(),
            int(memory.total),
            int(memory.available),
            tuple(cards),
            self.cards.problem,
            tuple(sorted(views, key=lambda each: -each.used_bytes)),
        )

    def _view(
        self, process: HostProcess, on_cards: tuple[tuple[int, int], ...], cards: list[CardUse]
    ) -> ProcessView:
        rank = self._rank(process)
        served = None
        if rank is None and on_cards:
            totals = [card.total_bytes for card in cards if card.number in dict(on_cards)]
            served = self._served(process, min(totals), len(totals))
        return ProcessView(process, on_cards, rank, served)

    def _rank(self, process: HostProcess) -> RankNow | None:
        """What the monitor wrote of a process that is watched, with a prediction if there is none yet."""
        if process.journal is None:
            return None
        followed = self.followed.get(process.pid)
        if followed is None or followed.tail.path != process.journal:
            followed = Followed(process.journal, process.journal.parent.name)
            self.followed[process.pid] = followed
        try:
            followed.more()
        except (OSError, OomlessError):
            return None
        now = followed.now
        if now is not None and not now.predicted and now.step is not None:
            known = self.predicted.setdefault(process.pid, asked_again(process, now))
            now = now._replace(predicted=known.predicted)
        return now

    def _served(self, process: HostProcess, card_bytes: int, num_cards: int) -> ServedModel | None:
        """What an engine that serves was asked, and how it does."""
        if process.pid not in self.served:
            self.served[process.pid] = served_model(process, card_bytes, num_cards)
        found = self.served[process.pid]
        if found is None:
            return None
        words = engine_words(process.command)
        page = fetched_page(metrics_url(words, found.engine), PAGE_S)
        runs = read_metrics(page, "metrics", engine_logs()) if page else ()
        figures = {word: value for run in runs for word, value in run.peaks.items()}
        return found._replace(figures=tuple(figures.items()))

    def _forget(self, alive: set[int]) -> None:
        for kept in (self.followed, self.predicted, self.served):
            for pid in kept.keys() - alive:
                kept.pop(pid)

    def close(self) -> None:
        """Give the driver's library back."""
        self.cards.close()


def asked_again(process: HostProcess, now: RankNow) -> RankNow:
    """Return a rank with the prediction of what its run asks, if that can be predicted."""
    assert process.journal is not None
    try:
        asked = read_rank(process.journal).of(RunQuestion)
        lines = predict_training(asked[-1].question) if asked else ()
    except OomlessError:
        return now
    return now._replace(predicted=category_sums(as_entries(lines)))


def served_model(process: HostProcess, card_bytes: int, num_cards: int) -> ServedModel | None:
    """Return what an engine was asked, predicted for its cards; None for what is no engine."""
    words = engine_words(process.command)
    if not words:
        return None
    found = predict(words, f"{card_bytes}B:{num_cards}")
    if not found.engine:
        return None
    if found.answer is None:
        return ServedModel(found.engine, "", None, found.problem)
    answer = found.answer
    return ServedModel(found.engine, answer.model.name, answer.ledger.total_bytes * num_cards)


def engine_words(command: tuple[str, ...]) -> list[str]:
    """Return the words of a process as a user would have written them: without the interpreter and folders.

    >>> engine_words(("/usr/bin/python3.12", "/opt/bin/vllm", "serve", "deepseek-ai/DeepSeek-V3"))
    ['vllm', 'serve', 'deepseek-ai/DeepSeek-V3']
    >>> engine_words(("python", "-m", "sglang.launch_server", "--model", "x"))
    ['python', '-m', 'sglang.launch_server', '--model', 'x']
    """
    words = list(command)
    if not words:
        return []
    first = PurePath(words[0]).name
    if first.startswith("python") and len(words) > 1:
        if words[1] == "-m":
            return ["python", *words[1:]]
        words, first = words[1:], PurePath(words[1]).name
    return [first, *words[1:]]
