"""A run that was watched, whole: its ranks, each beside its prediction, and the object that `monitor show
--json` prints."""

from typing import Any, NamedTuple

from ..ledger import Compared
from .entries import Leak, MonitorFault, RunEnd, SampledStep, WatchedStep
from .journal import RankRun
from .post_mortem import PostMortem


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
    faults: tuple[MonitorFault, ...]
    end: RunEnd | None
    problem: str
    """Why there is no prediction, where there is none."""

    @property
    def num_steps(self) -> int:
        """Return how many steps were seen."""
        counted = max((each.step for each in self.steps), default=0)
        return max(counted, max((each.step for each in self.samples), default=0))

    @property
    def peak(self) -> SampledStep | None:
        """Return the sample with the highest peak."""
        return max(self.samples, key=lambda each: each.peak_bytes, default=None)

    @property
    def highest_bytes(self) -> int:
        """Return the most that the run's counter showed."""
        return max((each.highest_bytes for each in self.steps), default=0)

    @property
    def reserved_bytes(self) -> int:
        """Return the most that the allocator had taken from its card at the end of a step; 0 on a host."""
        return max((each.reserved_bytes for each in self.steps), default=0)

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
                {
                    "rank": rank.run.start.rank,
                    "step": fault.step,
                    "where": fault.where,
                    "message": fault.message,
                }
                for rank in self.ranks
                for fault in rank.faults
            ],
        }


def peak_json(rank: WatchedRank) -> dict[str, Any]:
    """Return the highest moment of a rank."""
    peak = rank.peak
    if peak is None:
        return {
            "rank": rank.run.start.rank,
            "bytes": rank.highest_bytes,
            "measured_by": rank.run.start.counter,
        }
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
