"""A machine now: its cards, and the processes on them or those that are watched, each beside what was
predicted."""

from typing import Any, NamedTuple

from .cards import CardUse
from .host_processes import HostProcess
from .live_runs import RankNow


class ServedModel(NamedTuple):
    """What a serving engine was asked for, and what its own page of metrics says."""

    engine: str
    model: str
    predicted_bytes: int | None
    problem: str = ""
    """Why nothing is predicted, where nothing is."""
    figures: tuple[tuple[str, float], ...] = ()
    """Live figures of the engine: (name, value)."""


class ProcessView(NamedTuple):
    """A process as `oomless top` shows it."""

    process: HostProcess
    card_bytes: tuple[tuple[int, int], ...] = ()
    """(card, bytes) of each card that it is on."""
    rank: RankNow | None = None
    """What the monitor wrote of it, if it is watched."""
    serving: ServedModel | None = None

    @property
    def used_bytes(self) -> int:
        """Return what it has on cards, or of the host if it is on none."""
        return sum(num_bytes for _, num_bytes in self.card_bytes) or self.process.resident_bytes

    @property
    def predicted_bytes(self) -> int | None:
        """Return what was predicted for it; None without a prediction."""
        if self.rank is not None and self.rank.predicted_bytes:
            return self.rank.predicted_bytes
        return self.serving.predicted_bytes if self.serving is not None else None


class MachineView(NamedTuple):
    """All that `oomless top` shows."""

    host_name: str
    time: float
    total_bytes: int
    available_bytes: int
    cards: tuple[CardUse, ...]
    problem: str
    """Why there are no cards, where there are none."""
    processes: tuple[ProcessView, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the object that `oomless top --json` prints."""
        return {
            "schema": "oomless/top/1",
            "host": {
                "name": self.host_name,
                "total_bytes": self.total_bytes,
                "available_bytes": self.available_bytes,
            },
            "cards": [
                {
                    "index": card.number,
                    "name": card.name,
                    "total_bytes": card.total_bytes,
                    "used_bytes": card.used_bytes,
                    "busy_percent": card.busy,
                    "celsius": card.celsius,
                }
                for card in self.cards
            ],
            "problem": self.problem,
            "processes": [process_json(each) for each in self.processes],
        }


def process_json(view: ProcessView) -> dict[str, Any]:
    """Return one process."""
    rank, serving = view.rank, view.serving
    return {
        "pid": view.process.pid,
        "name": view.process.name,
        "user": view.process.user,
        "resident_bytes": view.process.resident_bytes,
        "cards": [{"index": index, "bytes": num_bytes} for index, num_bytes in view.card_bytes],
        "predicted_bytes": view.predicted_bytes,
        "watched": None
        if rank is None
        else {
            "run": rank.job,
            "rank": rank.start.rank,
            "step": rank.step.step if rank.step else 0,
            "live_bytes": rank.step.live_bytes if rank.step else None,
            "peak_bytes": rank.peak_bytes or None,
            "by_category": rank.sample.by_category if rank.sample else {},
            "growth_bytes_per_step": rank.growth,
            "steps_to_oom": rank.steps_left,
        },
        "serving": None
        if serving is None
        else {
            "engine": serving.engine,
            "model": serving.model,
            "problem": serving.problem,
            "figures": dict(serving.figures),
        },
    }
