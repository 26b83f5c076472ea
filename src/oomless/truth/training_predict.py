"""What a training row's configuration gives for its quantity, with an interval. What each framework's log
counts stands here."""

import re
from typing import NamedTuple

from .. import facts
from ..errors import OomlessError, UnsupportedError
from ..estimate.training.estimate import estimate_training
from ..estimate.training.rank_group import RankGroup
from ..estimate.training.reserved import allocated_lines
from ..estimate.training.states import degrees
from ..estimate.training.training_estimate import TrainingEstimate
from ..frameworks import framework
from ..run.training import Sharding, recipe
from .tables import Incomplete
from .training_ops import is_operation, operation_bytes
from .training_rows import STATES, TrainingQuestion, question, unit_factor
from .training_state_words import precision, sharding
from .training_words import bound, framework_of, length, unsaid

OPERATION_SPREAD = {"OP:rms_norm": 0.6}
"""Kernels' own buffers, which are not in the graphs: column sums of small operations weigh most; 0.15
elsewhere."""


UNSAID_LOW, UNSAID_HIGH = 0.65, 0.35
"""What Megatron-Bridge rows lie below and above the run that their model implies, as shares of what comes and
goes (10 rows)."""


class Interval(NamedTuple):
    """What a row's quantity is predicted to take, in bytes."""

    value: float
    low: float
    high: float


def predict_training(row: dict[str, str], quantity: str, unit: str) -> tuple[float, float, float]:
    """(predicted, low, high) in the row's unit."""
    factor = unit_factor(unit, row["model"])
    if is_operation(row["model"]):
        value = operation_bytes(row)
        spread = OPERATION_SPREAD.get(row["model"], 0.15)
        return value / factor, value * (1 - spread) / factor, value * (1 + spread) / factor
    found = with_doubt(interval(row, quantity), unsaid(row, quantity))
    return found.value / factor, found.low / factor, found.high / factor


def interval(row: dict[str, str], quantity: str) -> Interval:
    """The interval of a quantity; its lower end is that of shorter samples where a length is only bounded,
    and of one micro-batch where their number is not said."""
    if quantity not in QUANTITIES:
        raise UnsupportedError(
            f"{quantity} is not predicted: sources differ in which layers and micro-batches they count"
        )
    try:
        asked = question(row, quantity)
    except UnsupportedError:
        if quantity == STATES and (found := states_of_count(row)):
            return found
        raise
    answer = estimate(asked)
    group = group_of(answer, asked)
    found = of_group(group, quantity)
    if (
        answer.megatron is not None
    ):  # a model's name says less than an argument list: kernels, fusions, buffers are assumed
        passing = max(0, group.peaks.allocated_bytes - group.steady_bytes)
        found = found._replace(low=found.low - UNSAID_LOW * passing, high=found.high + UNSAID_HIGH * passing)
    beside = 2 * asked.beside
    found = Interval(found.value + beside, found.low + beside, found.high + beside)
    if not row["grad_accum"] and asked.asked.grad_accum > 1 and asked.asked.mesh.pp == 1:
        alone = asked.asked._replace(grad_accum=1)
        once = of_group(group_of(estimate_training(asked.model, alone, asked.hardware), asked), quantity)
        found = found._replace(low=min(found.low, once.low + beside))
    if row["seq_len"] and length(row["seq_len"], 1, 1).most and asked.asked.seq_len:
        share = facts.constant("training", "length_share", (0,), *bound(row["seq_len"])).low
        shorter = asked.asked._replace(seq_len=max(1, int(share * asked.asked.seq_len)))
        less = of_group(group_of(estimate_training(asked.model, shorter, asked.hardware), asked), quantity)
        return found._replace(low=min(found.low, less.low + beside))
    return found


def with_doubt(found: Interval, left_open: tuple[str, ...]) -> Interval:
    """Return the interval of a row that leaves something open: wider by what rows that leave the same open
    lie beyond theirs (facts/engines.csv, unsaid_share).

    >>> with_doubt(Interval(100, 90, 110), ("run",))
    Interval(value=100, low=78.0, high=131.0)
    """
    doubt = facts.constant("training", "unsaid_share", (0,), *left_open)
    return found._replace(
        low=found.low - (1 - doubt.low) * found.value, high=found.high + (doubt.high - 1) * found.value
    )


FORMULAS = ("DeepSpeed", "formula")
"""Frameworks whose rows without a model are outputs of a formula over a number of parameters."""


def states_of_count(row: dict[str, str]) -> Interval | None:
    """States of a model of which a row says the parameters alone: values x bytes, divided as its sharding
    divides them.

    The ZeRO paper's 7.5e9 parameters over 64 ranks at stage 2: 2 + 14 / 64 B each (arXiv 1910.02054, figure
    1: 16.6 GB).

    >>> row = {
    ...     "params": "7.5B",
    ...     "framework": "DeepSpeed",
    ...     "precision": "fp16 AMP, K=12",
    ...     "dp": "64",
    ...     "tp": "1",
    ...     "pp": "1",
    ... }
    >>> round(
    ...     states_of_count(row | {"zero_stage_or_fsdp": "ZeRO-2 (Pos+g)", "offload": "none"}).value / 1e9, 1
    ... )
    16.6
    """
    counted = re.fullmatch(r"(\d+(?:\.\d+)?)B", row["params"])
    ranks = [row[name] for name in ("dp", "tp", "pp")]
    if (
        row["framework"] not in FORMULAS
        or not counted
        or row["offload"] != "none"
        or not all(each.isdecimal() for each in ranks)
    ):
        return None
    name = framework_of(row["framework"])
    form = recipe(precision(row["precision"], name).recipe)
    dp, tp, pp = (int(each) for each in ranks)
    way: Sharding = sharding(row["zero_stage_or_fsdp"], name) or "none"  # type: ignore[assignment]
    over = degrees(way, dp)
    each = (
        form.weight / over.weights
        + form.gradient / over.gradients
        + (form.master + 2 * form.moment) / over.optimizer
    )
    whole, _, rest = counted[1].partition(".")
    value = int(whole + rest.ljust(9, "0")) * each / (tp * pp)
    return Interval(value, value * 0.95, value * 1.2)


def estimate(asked: TrainingQuestion) -> TrainingEstimate:
    """The estimate: of Megatron's runs by Megatron's own rules, as far as its arguments describe the
    model."""
    request = asked.asked
    if framework(request.framework).megatron_core and request.method == "full":
        from ..estimate.training.megatron import estimate_megatron
        from ..frameworks.megatron.models import counts_all, run_of_model

        try:
            run = run_of_model(asked.model, request, request.mesh)
            if request.mtp_layers or counts_all(run, asked.model):
                return estimate_megatron(run, asked.hardware)
        except OomlessError:
            pass  # a model or a division that Megatron's arguments do not describe
    return estimate_training(asked.model, request, asked.hardware)


def group_of(estimate: TrainingEstimate, asked: TrainingQuestion) -> RankGroup:
    """The rank that the row is of: the one it names, the last one, or the one that holds most."""
    if asked.rank is not None:
        if asked.rank >= len(estimate.groups):
            raise Incomplete(f"rank {asked.rank} of {len(estimate.groups)} stages")
        return estimate.groups[asked.rank]
    if framework(asked.asked.framework).rows.logged_rank == "last":
        return estimate.groups[-1]
    return max(estimate.groups, key=lambda group: group.peaks.reserved_bytes)


QUANTITIES = ("peak_allocated", "peak_reserved", "nvidia_smi", "unspecified", "model_states")


def of_group(group: RankGroup, quantity: str) -> Interval:
    """One of the three numbers that are called memory, or what lies between steps. What a source does not
    name is what nvidia-smi shows."""
    peaks = group.peaks
    lines = group.ledger.lines
    inside = allocated_lines(group.ledger)
    allocated = Interval(
        peaks.allocated_bytes, sum(x.low_bytes for x in inside), sum(x.high_bytes for x in inside)
    )
    match quantity:
        case "peak_allocated":
            return allocated
        case "peak_reserved":
            low = sum(line.low_bytes for line in lines if line.category == "fragmentation")
            return Interval(peaks.reserved_bytes, allocated.low + low, peaks.reserved_most)
        case "nvidia_smi" | "unspecified":
            return Interval(
                peaks.device_bytes, sum(x.low_bytes for x in lines), sum(x.high_bytes for x in lines)
            )
    return Interval(group.steady_bytes, group.steady_bytes * 0.98, group.steady_bytes * 1.05)
