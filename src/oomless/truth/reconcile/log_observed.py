"""Every measured value of a run with its place: rank by rank, drafts apart, each point of a training run."""

from ...ledger import Observed, Owner
from .log_facts import KEYS
from .logged_run import LoggedRun
from .rank_numbers import rank_number

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
