"""What a log measured beside what is predicted for its question, with the reasons that are known."""

from typing import NamedTuple

from ...errors import OomlessError
from ...estimate.serving.estimate import Estimate, estimate_serving
from ...estimate.training.estimate import estimate_training
from ...estimate.training.megatron import estimate_megatron
from ...estimate.training.rank_group import RankGroup
from ...estimate.training.training_estimate import TrainingEstimate
from ...frameworks import framework
from ...ledger import Compared
from ..training_predict import of_group
from ..validate import of_estimate
from .log_facts import KEYS, facts_of
from .log_observed import rank_number
from .log_question import LogQuestion
from .log_row import QUANTITIES, table_word
from .logged_run import LoggedRun
from .reasons import reason_for
from .training_question import TrainingAsks


class Comparison(NamedTuple):
    """A run beside its prediction. Without an estimate the rows have one side."""

    estimate: Estimate | None
    rows: tuple[Compared, ...]
    problem: str = ""
    training: TrainingEstimate | None = None
    """What is predicted of a run that trains."""


def compare(run: LoggedRun, asked: LogQuestion) -> Comparison:
    """Return measured figures beside predicted ones: weights, profile, cache, graphs, and what is left."""
    if asked.training is not None:
        trained, problem = training_estimate(asked.training)
        return Comparison(None, training_rows(run, trained), problem, trained)
    estimate, problem = None, asked.reason
    if asked.question is not None:
        model, serving, hardware = asked.question
        try:
            estimate = estimate_serving(model, serving, hardware)
        except OomlessError as error:
            problem = error.message
    found = facts_of(run)
    rows: list[Compared] = []
    for word, quantity in QUANTITIES.items():
        measured = found.get(word)
        if not isinstance(measured, int):
            continue
        said = _predicted(estimate, quantity, run) if estimate is not None and _can(quantity, asked) else None
        value, low, high = said or (None, None, None)
        first = next(iter(run.of_ranks(word).values()), None)
        unit, place = "tokens" if word == "kv_tokens" else "B", first.source if first else ""
        row = Compared(KEYS.get(word, word), "engine", value, low, high, measured, unit, place)
        rows.append(row._replace(reason=reason_for(row, run, asked, estimate)))
    rows += _unexplained(run, rows)
    return Comparison(estimate, tuple(rows), problem)


def _can(quantity: str, asked: LogQuestion) -> bool:
    """Whether a figure can be said: not without the card, where the cache is what the card leaves, and the
    batches that have a graph follow its size."""
    return "gpu" not in asked.missing or not quantity.startswith(("kv_", "cuda_graph"))


def _predicted(estimate: Estimate, quantity: str, run: LoggedRun) -> tuple[float, float, float] | None:
    if run.names_devices:
        return _of_llama(estimate, quantity)
    try:
        value, low, high = of_estimate(estimate, quantity, table_word(run.engine))
    except LookupError:
        return None
    return value, low, high


def _of_llama(estimate: Estimate, quantity: str) -> tuple[float, float, float] | None:
    """llama.cpp's buffers: of the first card, or of the host where no card holds a layer."""
    from ...ledger import chosen, sums

    parts = {
        "weights_per_gpu": ("weights",),
        "kv_bytes_per_gpu": ("kv_cache",),
        "compute_buffer": ("activations.compute_buffer",),
    }.get(quantity)
    if parts is None:
        return None
    per_card = [sums(chosen(ledger.lines, parts)) for ledger in estimate.ledgers]
    return max(per_card) if quantity != "kv_bytes_per_gpu" else min(per_card)


def _unexplained(run: LoggedRun, rows: list[Compared]) -> list[Compared]:
    """What the engine's own budget holds beside all that the log names: a line of its own."""
    said, requested = run.first("requested_bytes"), run.figure("requested_bytes")
    measured = {row.key: row.measured for row in rows}
    if said is None or requested is None or "kv_cache.pool" not in measured:
        return []
    named = sum(
        measured.get(key) or 0
        for key in ("weights", "kv_cache.pool", "activations.profile_run", "runtime.non_torch")
    )
    if "weights" not in measured or "activations.profile_run" not in measured:
        return []
    return [
        Compared(
            "unexplained",
            None,
            0,
            0,
            0,
            round(requested - named),
            source=said.source,
            reason="what the engine's budget holds beside the lines above",
        )
    ]


TRAINED = {"peak_allocated": "peak_allocated", "peak_reserved": "peak_reserved"}
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
    for word, quantity in TRAINED.items():
        values = run.of_ranks(word)
        if not values:
            continue
        label, most = max(values.items(), key=lambda pair: pair[1].amount)
        interval = None
        if estimate is not None:
            interval = of_group(_group(run, estimate, label), quantity)
        value, low, high = interval or (None, None, None)
        found.append(Compared(word, "engine", value, low, high, round(most.amount), "B", most.source))
    return tuple(found)


def _group(run: LoggedRun, estimate: TrainingEstimate, label: str) -> RankGroup:
    """The stage of a rank: stages lie outermost. Without a rank the one whose memory the log shows."""
    number, groups = rank_number(run, label) if label else None, estimate.groups
    ranks = estimate.mesh.num_ranks
    if number is not None and 0 <= number < ranks and len(groups) > 1:
        return groups[number * len(groups) // ranks]
    if framework(estimate.request.framework).rows.logged_rank == "last":
        return groups[-1]
    return max(groups, key=lambda group: group.peaks.reserved_bytes)
