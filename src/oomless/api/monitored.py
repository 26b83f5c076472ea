"""`oomless monitor show`: what a run left behind, beside what was predicted for it."""

import os
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import OomlessError
from ..ledger import Compared, Line, beside
from ..model.families import build
from ..monitor.entries import Fault, Healed, Leak, RunEnd, RunQuestion, SampledStep, WatchedStep
from ..monitor.expected import counted, observed, predicted_lines
from ..monitor.journal import RankRun, read_run
from ..monitor.kept import recording_path
from ..monitor.post_mortem import PostMortem, post_mortem
from ..recording.file import read_trace
from ..recording.timeline import Timeline, timeline
from ..units import GIB
from .training import train

MOST_HOST_BYTES = 1024 * GIB
"""The card that stands for a CPU in a prediction: what is predicted is what is held, not whether it fits."""


class WatchedRank(NamedTuple):
    """One rank of a run."""

    run: RankRun
    steps: tuple[WatchedStep, ...]
    samples: tuple[SampledStep, ...]
    leaks: tuple[Leak, ...]
    """Those that were not taken back."""
    rows: tuple[Compared, ...]
    """Its highest sample beside the prediction."""
    death: PostMortem | None
    faults: tuple[Fault, ...]
    end: RunEnd | None
    problem: str
    """Why there is no prediction, where there is none."""

    @property
    def num_steps(self) -> int:
        """Return how many steps were seen."""
        return max([each.step for each in (*self.steps, *self.samples)], default=0)

    @property
    def peak(self) -> SampledStep | None:
        """Return the sample with the highest peak."""
        return max(self.samples, key=lambda each: each.peak_bytes, default=None)

    @property
    def highest_bytes(self) -> int:
        """Return the most that the run's counter showed."""
        return max((each.highest_bytes for each in self.steps), default=0)

    def seconds(self) -> dict[str, float]:
        """Return where the time went, by phase."""
        found: dict[str, float] = {}
        for each in self.steps:
            for name, value in each.phases.items():
                found[name] = found.get(name, 0.0) + value
        return found


class WatchedRun(NamedTuple):
    """All ranks of a run."""

    name: str
    ranks: tuple[WatchedRank, ...]

    @property
    def worst(self) -> WatchedRank:
        """Return the rank with the highest peak."""
        return max(self.ranks, key=lambda each: each.peak.peak_bytes if each.peak else each.highest_bytes)

    def to_json(self) -> dict[str, Any]:
        """Return the object that `monitor show --json` prints."""
        worst = self.worst
        return {
            "schema": "oomless/monitor/1",
            "run": self.name,
            "steps": worst.num_steps,
            "peak": peak_json(worst),
            "growth": [growth_json(rank.run.start.rank, leak) for rank in self.ranks for leak in rank.leaks],
            "rows": [row.to_json() for row in worst.rows],
            "ranks": [rank_json(rank) for rank in self.ranks],
            "oom": next((death_json(rank) for rank in self.ranks if rank.death is not None), None),
            "faults": [
                {"rank": rank.run.start.rank, "step": fault.step, "where": fault.where, "message": fault.message}
                for rank in self.ranks
                for fault in rank.faults
            ],
        }


def show(folder: str | os.PathLike[str]) -> WatchedRun:
    """Return what the run of a folder left behind, each rank beside its prediction."""
    path = Path(folder)
    return WatchedRun(path.name or str(path), tuple(watched_rank(run) for run in read_run(path)))


def watched_rank(run: RankRun) -> WatchedRank:
    """Return what a rank's journal says, beside the prediction that it kept, or one of what it asks."""
    samples, leaks = run.of(SampledStep), run.of(Leak)
    lines, problem = prediction_of(run)
    highest = max(samples, key=lambda each: each.peak_bytes, default=None)
    rows: tuple[Compared, ...] = ()
    if highest is not None:
        rows = beside(lines, observed(highest, run.start.rank, lines))
    healed = {(each.file, each.line) for each in run.of(Healed)}
    ends = run.of(RunEnd)
    return WatchedRank(
        run,
        tuple(run.of(WatchedStep)),
        tuple(samples),
        tuple(leak for leak in leaks if (leak.file, leak.line) not in healed),
        rows,
        post_mortem(run),
        tuple(run.of(Fault)),
        ends[-1] if ends else None,
        problem,
    )


def prediction_of(run: RankRun) -> tuple[tuple[Line, ...], str]:
    """Return the predicted lines of a run, or why there are none."""
    if run.start.predicted:
        return counted(predicted_lines(run.start)), ""
    asked = run.of(RunQuestion)
    if not asked:
        return (), "the run did not say what it trains: watch(..., expect=oomless.train(...)) does"
    if asked[-1].predicted:
        return counted(predicted_lines(run.start._replace(predicted=asked[-1].predicted))), ""
    try:
        return predict(asked[-1].question, run.start.device, run.start.device_name), ""
    except OomlessError as error:
        return (), error.message


def predict(question: dict[str, Any], device: str = "cpu", device_name: str = "") -> tuple[Line, ...]:
    """Return the lines of `oomless train` for what a live run would have asked."""
    flags = dict(question)
    config = flags.pop("config", None)
    if not isinstance(config, dict):
        raise OomlessError("the run's model has no configuration", "watch(..., expect=oomless.train(...))")
    model = build(config, "the run's model", "the run's own configuration")
    ranks = flags.get("dp", 1)
    gpu = f"{MOST_HOST_BYTES}B:{ranks if isinstance(ranks, int) else 1}"
    return counted(train(model, gpu, **flags).ledger.lines)


def highest_step(run: RankRun) -> Timeline | None:
    """Return the course of the highest sampled step, from its first allocation on; None if it was not kept."""
    path = recording_path(run.path)
    if not path.is_file():
        return None
    recording = read_trace(path)
    setup = next((phase.end_event for phase in recording.phases if phase.name == "setup"), 0)
    return timeline(recording, setup)


def peak_json(rank: WatchedRank) -> dict[str, Any]:
    """Return the highest moment of a rank."""
    peak = rank.peak
    if peak is None:
        return {"rank": rank.run.start.rank, "bytes": rank.highest_bytes, "measured_by": rank.run.start.counter}
    return {
        "rank": rank.run.start.rank,
        "bytes": peak.peak_bytes,
        "measured_by": "events of the allocator",
        "step": peak.step,
        "phase": peak.phase,
        "event": peak.event,
        "by_category": peak.by_category,
        "lines": [
            {"line": line, "category": category, "bytes": num_bytes, "num_tensors": num}
            for line, category, num_bytes, num in peak.lines
        ],
        "modules": [{"module": name, "bytes": num_bytes} for name, num_bytes in peak.modules],
    }


def growth_json(rank: int, leak: Leak) -> dict[str, Any]:
    """Return one leak."""
    found = leak._asdict()
    return {"kind": found.pop("leak"), "rank": rank, **found}


def rank_json(rank: WatchedRank) -> dict[str, Any]:
    """Return a rank's figures."""
    start, last = rank.run.start, rank.steps[-1] if rank.steps else None
    return {
        "rank": start.rank,
        "device": start.device,
        "device_name": start.device_name,
        "capacity_bytes": start.capacity_bytes,
        "steps": rank.num_steps,
        "peak_bytes": rank.peak.peak_bytes if rank.peak else None,
        "live_bytes": last.live_bytes if last else None,
        "reserved_bytes": last.reserved_bytes if last else None,
        "resident_bytes": last.resident_bytes if last else None,
        "retries": last.retries if last else 0,
        "seconds": rank.seconds(),
        "ended": rank.end.how if rank.end else None,
        "num_unread": rank.run.num_unread,
        "problem": rank.problem,
    }


def death_json(rank: WatchedRank) -> dict[str, Any] | None:
    """Return the end of a rank that ran out of memory."""
    found = rank.death
    if found is None:
        return None
    death = found.death
    return {
        "rank": rank.run.start.rank,
        "step": death.step,
        "phase": death.phase,
        "block": death.block,
        "asked_bytes": death.asked_bytes,
        "live_bytes": death.live_bytes,
        "reserved_bytes": death.reserved_bytes,
        "limit_bytes": death.limit_bytes,
        "batch": list(death.batch),
        "changes": [
            {
                "flags": list(each.changes),
                "needed_bytes": each.needed_bytes,
                "headroom_bytes": death.limit_bytes - each.needed_bytes,
                "fits": each.fits,
                "slower": each.slower,
            }
            for each in found.changes
        ],
        "reason": found.reason,
    }
