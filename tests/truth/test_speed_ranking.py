"""What is faster, by how tables of one source measured it: a plan is bought on its first row."""

from collections import defaultdict
from functools import cache

from oomless.truth.tables import MeasuredRow, read_table
from oomless.truth.validate import Scored, score
from tables.score import TABLES, records

NAMES = (
    "perf.csv",
    "perf_more.csv",
    "perf_fresh.csv",
    "perf_held_out.csv",
    "perf_round3.csv",
    "perf_round4.csv",
    "perf_round5.csv",
)
SAME = ("model", "input_len", "output_len", "concurrency_or_batch", "metric")
DIFFERS = ("gpu", "n_gpus", "quant", "parallelism", "engine")
APART = 0.05
"""A measured winner is ahead by so much."""
FIRST = 0.85
"""Least share of comparisons whose measured winner is predicted to win: 10 of 12 and more."""


def per_card(row: MeasuredRow, rate: float) -> float:
    """Return a rate for a card: tables give that of all cards, or of one."""
    return rate if "GPU" in row.unit else rate / float(row.configuration["n_gpus"] or 1)


@cache
def comparisons() -> tuple[tuple[tuple[MeasuredRow, Scored], ...], ...]:
    """Return the groups of rows of one page, model and load that differ in card, type, layout or engine, the
    fastest first, where it is ahead."""
    groups: dict[tuple[str, ...], list[tuple[MeasuredRow, Scored]]] = defaultdict(list)
    for name in NAMES:
        source = {cells["id"]: cells["source"] for cells in records(TABLES / name)}
        for row in read_table(TABLES / name):
            if row.quantity == "throughput" and (found := score(row)).predicted:
                groups[source[row.id], *(row.configuration[cell] for cell in SAME)].append((row, found))
    ranked = []
    for rows in groups.values():
        if len({tuple(row.configuration[cell] for cell in DIFFERS) for row, _ in rows}) < 2:
            continue
        rows.sort(key=lambda each: -per_card(each[0], each[0].value))
        (first, _), (second, _) = rows[:2]
        if per_card(first, first.value) > (1 + APART) * per_card(second, second.value):
            ranked.append(tuple(rows))
    return tuple(ranked)


def test_the_measured_winner_is_predicted_to_win() -> None:
    found = [
        max(rows, key=lambda each: per_card(each[0], each[1].predicted or 0.0)) is rows[0]
        for rows in comparisons()
    ]
    assert len(found) >= 36
    assert sum(found) >= FIRST * len(found)
