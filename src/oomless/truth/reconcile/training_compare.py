"""What a training log measured beside what is predicted for its question."""

from ...errors import OomlessError
from ...estimate.training.estimate import estimate_training
from ...estimate.training.megatron import estimate_megatron
from ...estimate.training.rank_group import RankGroup
from ...estimate.training.training_estimate import TrainingEstimate
from ...frameworks import framework
from ...ledger import Compared
from ..training_predict import of_group
from .log_observed import rank_number
from .logged_run import LoggedRun, LoggedValue
from .training_question import TrainingAsks

QUANTITIES = {"peak_allocated": "peak_allocated", "peak_reserved": "peak_reserved"}
"""Word of a log -> the quantity of a measured row."""


def training_estimate(asks: TrainingAsks) -> tuple[TrainingEstimate | None, str]:
    """Return the prediction, or why there is none."""
    if asks.question is None:
        return None, asks.reason
    model, asked, hardware, megatron, _ = asks.question
    try:
        if megatron is not None:
            return estimate_megatron(megatron, hardware), ""
        assert model is not None
        return estimate_training(model, asked, hardware), ""
    except OomlessError as error:
        return None, error.message


def training_rows(run: LoggedRun, estimate: TrainingEstimate | None) -> tuple[Compared, ...]:
    """Return the peaks that the log prints of the rank that holds most, beside those of that rank."""
    found = []
    for word, quantity in QUANTITIES.items():
        values = run.of_ranks(word)
        if not values:
            continue
        label, most = max(values.items(), key=lambda pair: _amount(pair[1]))
        interval = None
        if estimate is not None:
            interval = of_group(_group(run, estimate, label), quantity)
        value, low, high = interval or (None, None, None)
        found.append(Compared(word, "engine", value, low, high, round(_amount(most)), "B", most.source))
    return tuple(found)


def _amount(value: LoggedValue) -> float:
    return value.value if isinstance(value.value, float) else 0.0


def _group(run: LoggedRun, estimate: TrainingEstimate, label: str) -> RankGroup:
    """The stage of a rank: stages lie outermost. Without a rank the one whose memory the log shows."""
    number, groups = rank_number(run, label) if label else None, estimate.groups
    ranks = estimate.mesh.num_ranks
    if number is not None and 0 <= number < ranks and len(groups) > 1:
        return groups[number * len(groups) // ranks]
    if framework(estimate.request.framework).rows.logged_rank == "last":
        return groups[-1]
    return max(groups, key=lambda group: group.peaks.reserved_bytes)
