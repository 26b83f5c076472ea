"""Every measured value of a run with its place: rank by rank, drafts apart, each point of a training run."""

from ...ledger import Observed, Owner
from .log_facts import KEYS, facts_of
from .logged_run import Label, LoggedRun

MOST_POINTS = 10_000


def _points(run: LoggedRun) -> tuple[Observed, ...]:
    """Every figure of a training log in the order of its lines: a point of the run each."""
    found = []
    for word, values in run.values.items():
        for value in values[:MOST_POINTS]:
            if isinstance(value.value, float) and value.unit in ("GiB", "MiB", "KiB", "B"):
                rank = rank_number(run, value.label)
                found.append(
                    Observed(word.removesuffix("_bytes"), round(value.value), value.source, None, rank)
                )
    return tuple(sorted(found, key=lambda each: int(each.source.rpartition(":")[2])))


def observed_of(run: LoggedRun) -> tuple[Observed, ...]:
    """Return every measured value with its place, rank by rank, drafts included."""
    if run.reader is not None and run.reader.is_training:
        return _points(run)
    found = []
    owners: tuple[Owner, ...] = ("engine", "draft")
    for word in run.values:
        for owner in owners:
            for label, value in run.of_ranks(word, owner).items():
                if not isinstance(value.value, float) or value.owner != owner:
                    continue
                is_bytes = value.unit in ("GiB", "MiB", "KiB", "B", "size", "printed")
                key = KEYS.get(word, word.removesuffix("_bytes"))
                found.append(
                    Observed(
                        key,
                        round(value.value) if is_bytes else value.value,
                        value.source,
                        "draft" if word == "draft_graph_bytes" else owner,
                        rank_number(run, label),
                        unit="B" if is_bytes else value.unit,
                    )
                )
    return tuple(found)


def rank_number(run: LoggedRun, label: str) -> int | None:
    """Return the rank of a process; None if its name says none (a device of llama.cpp is its number).

    Tensor ranks lie closest together, pipeline stages around them, data-parallel engines outermost.
    """
    axes = Label(label).axes()
    if "rank" in axes:
        return axes["rank"]
    if not axes:
        digits = label.rstrip("0123456789")
        return int(label[len(digits) :]) if digits and digits != label and len(label) < 16 else None
    if run.rules.tp_counts_dp:
        return axes.get("TP", axes.get("DP", 0))
    found = facts_of(run)
    tp, pp = int(found.get("tp", 1)), int(found.get("pp", 1))
    return (axes.get("DP", 0) * pp + axes.get("PP", 0)) * tp + axes.get("TP", 0)
