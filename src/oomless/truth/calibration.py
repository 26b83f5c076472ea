"""What this machine's own logs teach: how much more, or less, than predicted an engine holds beside weights
and cache, by engine, release, card and layout; and a training beside its states, by its whole question.

A log gives one number: predicted weights and pool less measured ones, which the engine's budget makes equal
to what is missing from the lines beside them. A watched training gives what its allocator took from the card
less what was predicted of it. Several logs give its median and spread. An answer is shifted by it. One log
can only make it more careful; two shift it by what both say; three and more also make it narrower, never
narrower than their own spread. Nothing crosses a card, a release or a layout, and from model to model no more
than the answer's own interval; of a training, nothing crosses a model or a batch either, since what it holds
beside its states grows with both.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from ..engines.rank import Budget
from ..errors import OomlessError
from ..estimate.training.rank_group import RankGroup
from ..estimate.training.training_estimate import TrainingEstimate, worst_of
from ..ledger import Line
from ..model.model import Model
from ..run.cards import Card, Hardware
from ..run.serving import Asked, Layout
from ..run.training import TrainingAsked
from ..units import MIB
from .reconcile.compare import Comparison
from .reconcile.log_facts import facts_of
from .reconcile.logged_run import LoggedRun

SCHEMA = "oomless/calibrations/1"
ENOUGH, AGREED = 3, 2
"""Logs from which on an answer may become narrower; and less careful, by what all of them say."""
MARGIN, LEAST_BYTES = 1.5, 64 * MIB
"""The spread that is kept: half as much again as the logs show, and never less than what figures are rounded
to."""
MOST_LOGS = 10_000
STATES = ("weights", "gradients", "optimizer")
"""Of a training, what follows from shapes: no log shifts it."""


class Seen(NamedTuple):
    """What one log teaches."""

    engine: str
    release: str
    card: str
    layout: str
    missing_bytes: int
    """What was held beside weights and cache, less what was predicted."""
    model: str
    source: str
    date: str

    @property
    def machine(self) -> tuple[str, str, str, str]:
        """What it holds for."""
        return self.engine, self.release, self.card, self.layout


class Learned(NamedTuple):
    """What several logs of one machine teach."""

    num_logs: int
    shift_bytes: int
    """Their median; of fewer than three what all of them held more, since one of two may be another case."""
    spread_bytes: int
    date: str
    """Of the latest log."""


def release_of(version: str | None) -> str:
    """Return the part of a release that rules hang on.

    >>> release_of("0.11.2"), release_of("1.2.0rc4"), release_of(None)
    ('0.11', '1.2', '')
    """
    return ".".join((version or "").split(".")[:2])


def machine_of(request: Asked, card: Card) -> tuple[str, str, str, str]:
    """Return what a log of a server holds for: engine, release, card, and layout with or without graphs.

    >>> from oomless.run.cards import card
    >>> machine_of(Asked("vllm", "0.11.2", layout=Layout(tp=8), enforce_eager=True), card("h200-141gb-sxm"))
    ('vllm', '0.11', 'H200 141GB SXM', 'tp8 pp1 dp1 dcp1 eager')
    """
    layout = request.layout or Layout()
    words = [f"tp{layout.tp} pp{layout.pp} dp{layout.dp} dcp{layout.dcp}"]
    words += ["ep"] * layout.enable_expert_parallel + ["eager"] * request.enforce_eager
    return request.engine, release_of(request.engine_version), card.name, " ".join(words)


def seen_in(run: LoggedRun, comparison: Comparison, date: str) -> Seen | None:
    """Return what a log teaches; None if it lacks weights or pool, or if its card is not known by name."""
    estimate, found = comparison.estimate, facts_of(run)
    weights, pool = found.get("weights_bytes"), found.get("kv_bytes")
    if estimate is None or not isinstance(weights, int) or not isinstance(pool, int):
        return None
    predicted = {row.key: row.predicted for row in comparison.rows}
    if predicted.get("weights") is None or predicted.get("kv_cache.pool") is None:
        return None
    if not estimate.hardware.card.vendor or run.state not in ("ready", "") or run.peaks.get("failed"):
        return None
    request = estimate.request
    missing = (predicted["weights"] or 0) + (predicted["kv_cache.pool"] or 0) - weights - pool
    return Seen(
        *machine_of(request, estimate.hardware.card),
        round(missing),
        estimate.model.name,
        run.source.rpartition(":")[0],
        date,
    )


def training_case(model: str, asked: TrainingAsked) -> str:
    """Return a training's whole question as text, but for framework and card, which stand beside it, and for
    the memory that is kept free, which changes nothing that is held.

    >>> from oomless.run.training import Mesh
    >>> training_case("qwen3-32b", TrainingAsked(micro_batch=4, mesh=Mesh(tp=2), reserve="2GiB"))
    'qwen3-32b micro_batch=4 tp=2'
    """
    beside = ("framework", "framework_version", "reserve")
    return " ".join([model, *(f"{name}={asked.value(name)}" for name in asked.given() if name not in beside)])


def training_machine(estimate: TrainingEstimate) -> tuple[str, str, str, str]:
    """Return what a training's run holds for: framework, release, card and the whole question."""
    request = estimate.request
    release, card = release_of(request.framework_version), estimate.hardware.card.name
    return request.framework, release, card, training_case(estimate.model.name, request)


def seen_in_training(estimate: TrainingEstimate, reserved_bytes: int, source: str, date: str) -> Seen | None:
    """Return what a watched training teaches whose allocator took so much of its card; None of a card that is
    not known by name."""
    if not estimate.hardware.card.vendor or not reserved_bytes:
        return None
    missing = reserved_bytes - estimate.peaks.reserved_bytes
    return Seen(*training_machine(estimate), missing, estimate.model.name, source, date)


def learned(seen: Iterable[Seen]) -> Learned | None:
    """Return what logs of one machine teach together; None without any."""
    logs = list(seen)
    if not logs:
        return None
    middle = median(each.missing_bytes for each in logs)
    if len(logs) < ENOUGH:
        least, most = (end(each.missing_bytes for each in logs) for end in (min, max))
        middle = max(0, least) + (min(0, most) if len(logs) >= AGREED else 0)
    spread = max(abs(each.missing_bytes - middle) for each in logs) * MARGIN
    return Learned(len(logs), round(middle), max(round(spread), LEAST_BYTES), max(each.date for each in logs))


class Calibration:
    """All that was learned on this machine; called with a question's lines, it puts them right."""

    def __init__(self, seen: tuple[Seen, ...]) -> None:
        self.seen = seen
        self.used: dict[tuple[str, str, str, str], Learned] = {}

    def __call__(self, model: Model, request: Asked, hardware: Hardware, budget: Budget) -> Budget:
        """Return the lines as this machine's logs have them, where there are any for this very case: those of
        the model if it was seen. Of other models it takes two, and they shift lines within their interval
        and no further: what lies beyond is another model's rule and not this machine's constant."""
        machine = machine_of(request, hardware.card)
        seen = [each for each in self.seen if each.machine == machine]
        own = [each for each in seen if each.model == model.name]
        found = learned(own or (seen if len(seen) >= AGREED else ()))
        if found is None or not budget.charged:
            return budget
        if not own:
            found = found._replace(shift_bytes=_within(budget.charged, found.shift_bytes))
        if not found.shift_bytes and found.num_logs < ENOUGH:
            return budget
        self.used[machine] = found
        return budget._replace(charged=_shifted(budget.charged, found.shift_bytes, found))

    def of_training(self, estimate: TrainingEstimate) -> TrainingEstimate:
        """Return an answer as this machine's watched runs have it, where there are any of this very case."""
        machine = training_machine(estimate)
        found = learned(each for each in self.seen if each.machine == machine)
        if found is None or (not found.shift_bytes and found.num_logs < ENOUGH):
            return estimate
        self.used[machine] = found
        groups = tuple(_shifted_group(group, found) for group in estimate.groups)
        return estimate._replace(groups=groups, worst_rank=worst_of(groups))

    def note(self) -> str:
        """Return what an answer says of it; empty if it did nothing."""
        parts = [
            f"{f'{engine} {release}'.rstrip()} on {card} ({layout}): logs of this machine: {each.num_logs}, "
            f"the latest of {each.date}"
            for (engine, release, card, layout), each in self.used.items()
        ]
        return f"calibrated by {'; '.join(parts)}" if parts else ""


def _shifted_group(group: RankGroup, found: Learned) -> RankGroup:
    """A group of ranks whose lines beside its states are shifted."""
    lines = group.ledger.lines
    beside = tuple(line for line in lines if line.category not in STATES)
    shifted = iter(_shifted(beside, found.shift_bytes, found))
    changed = tuple(line if line.category in STATES else next(shifted) for line in lines)
    shift = sum(line.bytes for line in changed) - sum(line.bytes for line in lines)
    peaks = group.peaks._replace(
        reserved_bytes=group.peaks.reserved_bytes + shift, device_bytes=group.peaks.device_bytes + shift
    )
    return group._replace(ledger=group.ledger._replace(lines=changed), peaks=peaks)


def _within(lines: tuple[Line, ...], shift: int) -> int:
    """So much of a shift as the lines' own intervals hold."""
    below = sum(line.low_bytes - line.bytes for line in lines)
    return max(below, min(shift, sum(line.high_bytes - line.bytes for line in lines)))


def _shifted(lines: tuple[Line, ...], shift: int, found: Learned) -> tuple[Line, ...]:
    """The lines with the shift on the one that is known least, of those that are no smaller than what is
    taken away; with enough logs it carries the whole doubt, and the others none. Nothing changes if there is
    none."""
    bearing = [index for index, line in enumerate(lines) if line.bytes + shift >= 0]
    if not bearing:
        return lines
    widest = max(bearing, key=lambda index: lines[index].high_bytes - lines[index].low_bytes)
    below = sum(line.bytes - line.low_bytes for line in lines)
    narrow = found.num_logs >= ENOUGH
    changed = []
    for index, line in enumerate(lines):
        if index == widest:
            down, up = line.bytes - line.low_bytes, line.high_bytes - line.bytes
            if narrow:
                down, up = min(below, found.spread_bytes), found.spread_bytes
            value = line.bytes + shift
            down = min(down, value)
            source = f"{line.source}; calibrated by {found.num_logs} logs of this machine ({found.date})"
            changed.append(
                line._replace(bytes=value, low_bytes=value - down, high_bytes=value + up, source=source)
            )
        else:
            changed.append(line._replace(low_bytes=line.bytes, high_bytes=line.bytes) if narrow else line)
    return tuple(changed)


def read_calibrations(path: Path) -> tuple[Seen, ...]:
    """Return what a file of calibrations holds; nothing if there is none."""
    if not path.exists():
        return ()
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8"))
        if document["schema"] != SCHEMA:
            raise ValueError(f"its schema is {document['schema']!r}")
        return tuple(_seen(row) for row in document["logs"][:MOST_LOGS])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise OomlessError(
            f"{path}: no calibrations ({str(error)[:80]})", "oomless config calibrations --remove all"
        ) from None


def _seen(row: dict[str, Any]) -> Seen:
    found = Seen(**{name: row[name] for name in Seen._fields})
    if not isinstance(found.missing_bytes, int) or not all(
        isinstance(value, str) for name, value in found._asdict().items() if name != "missing_bytes"
    ):
        raise ValueError("a row has a value of another kind")
    return found


def as_document(seen: Iterable[Seen]) -> str:
    """Return calibrations as they are stored and exported."""
    return json.dumps({"schema": SCHEMA, "logs": [each._asdict() for each in seen]}, indent=1) + "\n"


def with_new(old: tuple[Seen, ...], new: Iterable[Seen]) -> tuple[Seen, ...]:
    """Return both; a log that was read before counts once."""
    found = {(each.machine, each.model, each.source, each.missing_bytes): each for each in (*old, *new)}
    return tuple(found.values())
