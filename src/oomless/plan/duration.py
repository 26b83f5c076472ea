"""How long a whole training takes and what it costs: tokens over the rate, and what interruptions lose."""

from math import sqrt
from typing import TYPE_CHECKING, NamedTuple

from .. import facts
from ..speed.band import Figure
from ..units import GB

if TYPE_CHECKING:
    from .goals import WantedTraining
    from .training_search import TrainingRow

SECONDS_A_MINUTE, SECONDS_A_DAY, HOURS_A_DAY = 60, 86_400, 24


class Duration(NamedTuple):
    """A whole training on one row's cards."""

    days: Figure
    usd: Figure | None
    """At the row's rent; None: no price is known."""
    lost: float
    """Share of the days that interruptions and checkpoints for them take."""
    checkpoint_every_s: float | None
    """The best time between checkpoints where it is interrupted."""


def duration(row: "TrainingRow", training: "WantedTraining") -> Duration | None:
    """Return the days and dollars of a row; None where nobody says how much is trained, where its speed is
    not known, or where interruptions leave no time to train."""
    if row.speed is None or training.billion_tokens is None:
        return None
    every, lost = row.interrupted
    if lost >= 1:
        return None
    tokens = training.billion_tokens * GB
    days = row.speed.tokens_per_s.over(tokens / SECONDS_A_DAY / (1 - lost))
    rent = row.usd_per_hour
    return Duration(days, None if rent is None else days.times(rent * HOURS_A_DAY), lost, every)


def interrupted(checkpoint_bytes: float, interruptions_per_day: float) -> tuple[float | None, float]:
    """Return the best time between checkpoints in seconds and the share of time that is lost, with it, to
    `checkpoint_bytes` a machine written and to steps that are done again: sqrt(2 C M), and C / T + T / 2M +
    R / M, for a checkpoint that takes C, M between interruptions, a restart of R. Source: J. W. Young, A
    first order approximation to the optimum checkpoint interval, CACM 17(9), 1974.

    >>> interrupted(7_499 * 2**30 / 256, 0)  # DeepSeek-V3 on 256 machines
    (None, 0.0)
    >>> every, lost = interrupted(7_499 * 2**30 / 256, 1)
    >>> round(every), round(lost, 3)
    (2331, 0.034)
    """
    if not interruptions_per_day:
        return None, 0.0
    rate, restart = (facts.constant("training", name, (0,)).value for name in ("checkpoint_rate", "restart"))
    write, between = checkpoint_bytes / (rate * GB), SECONDS_A_DAY / interruptions_per_day
    every = sqrt(2 * write * between)
    return every, write / every + every / (2 * between) + restart * SECONDS_A_MINUTE / between
