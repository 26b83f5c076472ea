"""This machine's calibrations: stored from logs, listed, exported, removed, and given to answers."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from ..files import config_folder
from ..truth.calibration import Calibration, Seen, as_document, read_calibrations, seen_in, with_new
from ..truth.reconcile.reconciled import Reconciled


def calibrations_path(environ: Mapping[str, str]) -> Path:
    """Return where calibrations are stored: beside the config file."""
    return Path(config_folder(environ)) / "calibrations.json"


def seen_by(found: Reconciled) -> tuple[Seen, ...]:
    """Return what the logs of an answer teach."""
    today = datetime.now(UTC).date().isoformat()
    each = (seen_in(run.run, run.comparison, today) for run in found.runs)
    return tuple(one for one in each if one is not None)


def stored(environ: Mapping[str, str]) -> tuple[Seen, ...]:
    """Return what is stored."""
    return read_calibrations(calibrations_path(environ))


def document_with(found: Reconciled, environ: Mapping[str, str]) -> tuple[str, tuple[Seen, ...]]:
    """Return the file's new content and what was added to it."""
    old = stored(environ)
    new = seen_by(found)
    return as_document(with_new(old, new)), new


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
