"""Which of two settings is the better one, and in what it differs from what was asked."""

from math import log
from typing import Literal, NamedTuple

from ...engines import engine
from ...estimate.serving.estimate import Estimate
from ...run.option_values import text_of
from ...run.options import by_keyword
from ...run.serving import Asked, Layout
from ...speed.serving import ServingSpeed, left_out
from ..search import later
from .slo import Slo
from .space import TuneSpace

Standing = Literal["holds", "queues", "may not start"]
STANDINGS: tuple[Standing, ...] = ("holds", "queues", "may not start")
"""From best to worst: the cache has room for the whole load at once; the engine starts at either end of the
estimate's interval, and what does not fit waits; it starts by the middle of the interval alone."""
SAME = 1.02
"""Rates within this factor count as equal: the bands are wider by far, and a flag that brings less is not
worth setting."""


class TunedRow(NamedTuple):
    """A setting that was estimated."""

    asked: Asked
    estimate: Estimate
    speed: ServingSpeed | None
    """None: nothing is known of the cards' speed."""
    standing: Standing
    changed: tuple[str, ...]
    """Fields that differ from the question."""
    of_quality: tuple[str, ...]
    """Those of them that may cost quality."""
    within_promise: float | None = None
    """Requests a second within the promise, where no setting keeps it under the load and that was asked."""

    @property
    def rate(self) -> float:
        """Return the tokens a second to count on; 0.0 where nothing is known."""
        return 0.0 if self.speed is None else self.speed.tokens_per_s.counted_on

    @property
    def runs_all(self) -> bool:
        """Return whether the whole load runs at once: it has room, and no cap on sequences lets some wait."""
        return self.standing == "holds" and self.estimate.at_once >= self.estimate.concurrency

    @property
    def times(self) -> tuple[float, float]:
        """Return the seconds to the first token and between tokens to count on."""
        never = float("inf")
        return (never, never) if self.speed is None else (later(self.speed.ttft_s), later(self.speed.tpot_s))


def standing_of(estimate: Estimate) -> Standing | None:
    """Return what becomes of the load; None where the engine does not start."""
    if estimate.verdict == "fits":
        return "holds"
    if estimate.surely_starts:
        return "queues"
    return "may not start" if estimate.starts else None


def order(row: TunedRow, slo: Slo) -> tuple[object, ...]:
    """Return the key by which settings are sorted, best first: known to run, sure to start, on measured
    ground, by requests within the promise where that was asked, within the promise or missing it least,
    running the whole load at once, with every part in the figures, with graphs, by tokens a second, fewest
    changes, most room."""
    known = row.estimate.support.runs == "runs"
    is_bound = row.speed is None or row.speed.tokens_per_s.kind == "bound"
    return (
        not known,
        row.standing == "may not start",
        is_bound,
        -steps(row.within_promise or 0.0),
        steps(slo.excess(*row.times)),
        not row.runs_all,
        bool(left_out(row.estimate)),
        row.asked.enforce_eager,
        -steps(row.rate),
        len(row.of_quality),
        len(row.changed),
        -row.estimate.headroom_bytes,
        words(row),
    )


def steps(value: float) -> int:
    """Return how many steps of SAME a value is above 1, to compare what is worth telling apart.

    >>> steps(100.0) == steps(100.5), steps(100.0) < steps(110.0), steps(0.0) < steps(0.001)
    (True, True, True)
    """
    if value <= 0:
        return LEAST_STEP
    return MOST_STEP if value == float("inf") else round(log(value) / log(SAME))


LEAST_STEP, MOST_STEP = -1_000_000, 1_000_000


def changed_fields(start: Asked, asked: Asked) -> tuple[str, ...]:
    """Return the fields in which a setting differs from the question; without a layout in the question, those
    sizes that are not 1."""
    flat = [name for name in Asked._fields if name not in ("layout", *NOT_SET)]
    found = [name for name in flat if getattr(start, name) != getattr(asked, name)]
    axes = [name for name in Layout._fields if getattr(start.sizes, name) != getattr(asked.sizes, name)]
    if start.layout is None and asked.sizes == Layout():
        axes = []
    return (*axes, *found)


NOT_SET = ("context", "concurrency", "engine", "engine_version")
"""What is the question's own, and no setting."""


def flag_words(start: Asked, asked: Asked, fields: tuple[str, ...]) -> tuple[str, ...]:
    """Return the changes as flags, in the engine's own spelling where it is one of ours: what is set, and
    what is left out.

    >>> flag_words(Asked(enforce_eager=True), Asked(layout=Layout(tp=8)), ("tp", "enforce_eager"))
    ('--tp 8', 'without --enforce-eager')
    """
    table, found = by_keyword("infer"), []
    usual = Asked(asked.engine)
    for field in fields:
        option, value = table[field], asked.value(field)
        flag = option.names[0] if field in Layout._fields else option.flag_of(asked.engine)
        if value == usual.value(field) and not (field in Layout._fields and value == 1):
            found.append(f"without {flag}")
            continue
        text = text_of(option, value)
        found.append(flag if text is None else f"{flag} {text}")
    return tuple(found)


def words(row: TunedRow) -> tuple[str, ...]:
    """Return a setting as words, the same for the same setting."""
    fields = (*row.asked.changed(), *(name for name in Layout._fields))
    return tuple(f"{name}={row.asked.value(name)}" for name in dict.fromkeys(fields))


def quality_fields(space: TuneSpace, changed: tuple[str, ...]) -> tuple[str, ...]:
    """Return the changed fields that may cost quality: types of weights and of the cache."""
    narrow = dict(engine(space.start.engine).candidates.narrow_cache)
    return tuple(field for field in changed if field == "quantization" or field in narrow)
