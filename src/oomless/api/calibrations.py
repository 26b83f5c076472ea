"""This machine's calibrations: stored from logs, listed, exported, removed, and given to answers."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from ..errors import OomlessError
from ..files import config_folder
from ..monitor.entries import RunQuestion
from ..monitor.watched_run import WatchedRank, WatchedRun
from ..truth.calibration import (
    Calibration,
    Seen,
    as_document,
    read_calibrations,
    seen_in,
    seen_in_training,
    with_new,
)
from ..truth.reconcile.reconciled import Reconciled
from ..truth.reconcile.scrub import scrub
from .monitored import UNNAMED, asked_again


def calibrations_path(environ: Mapping[str, str]) -> Path:
    """Return where calibrations are stored: beside the config file."""
    return Path(config_folder(environ)) / "calibrations.json"


def seen_by(found: Reconciled) -> tuple[Seen, ...]:
    """Return what the logs of an answer teach."""
    today = datetime.now(UTC).date().isoformat()
    each = (seen_in(run.run, run.comparison, today) for run in found.runs)
    return tuple(one for one in each if one is not None)


def watched(run: WatchedRun) -> tuple[Seen, ...]:
    """Return what a watched run teaches: nothing of one that grew or died, whose allocator gave its caches
    back because the card was full, or whose model or card is not known by name."""
    rank = run.worst
    asked = rank.run.of(RunQuestion)
    if not asked or not asked[-1].question or not _is_whole(rank):
        return ()
    try:
        estimate = asked_again(asked[-1].question, rank.run.start.device_name).estimate
    except OomlessError:
        return ()
    if estimate.model.name == UNNAMED:
        return ()
    day = datetime.fromtimestamp(rank.run.start.time, UTC).date().isoformat()
    found = seen_in_training(estimate, rank.reserved_bytes, scrub(run.name), day)
    return (found,) if found is not None else ()


def _is_whole(rank: WatchedRank) -> bool:
    full = any(each.retries for each in rank.steps)
    return not (full or rank.leaks or rank.death is not None)


def stored(environ: Mapping[str, str]) -> tuple[Seen, ...]:
    """Return what is stored."""
    return read_calibrations(calibrations_path(environ))


def document_with(new: tuple[Seen, ...], environ: Mapping[str, str]) -> str:
    """Return the file's new content."""
    return as_document(with_new(stored(environ), new))


def document_without(machine: str, environ: Mapping[str, str]) -> tuple[str, int]:
    """Return the file's new content without an engine's or a card's logs, and how many went."""
    old = stored(environ)
    kept = [
        each for each in old if machine != "all" and machine.lower() not in " ".join(each.machine).lower()
    ]
    return as_document(kept), len(old) - len(kept)


def calibration(environ: Mapping[str, str]) -> Calibration | None:
    """Return what answers are put right by; None if nothing is stored."""
    seen = stored(environ)
    return Calibration(seen) if seen else None
