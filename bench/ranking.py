"""Which of two settings is faster: pairs of measured rows of one source that differ in one thing, and whether
they are predicted in the measured order.

    python -m bench.ranking tests/tables/perf*.csv
"""

import csv
import sys
from collections import Counter
from itertools import combinations
from pathlib import Path

from oomless.truth.validate import Scored, validate_table

SAME = ("source", "model", "input_len", "output_len", "concurrency_or_batch", "metric")
AXES = {
    "card": ("gpu",),
    "weight type": ("quant",),
    "layout": ("parallelism", "n_gpus"),
    "engine": ("engine",),
}
APART, TIE = 0.05, 0.01
"""Measured values further apart than this are a pair; predictions nearer than this a tie."""


def differs_in(one: dict[str, str], other: dict[str, str]) -> str:
    """Return the only axis in which two rows differ; "" for none or several."""
    axes = [axis for axis, names in AXES.items() if any(one[name] != other[name] for name in names)]
    return axes[0] if len(axes) == 1 and all(one[name] == other[name] for name in SAME) else ""


def verdict(one: Scored, other: Scored, per_card: tuple[float, float]) -> str:
    """Return right, wrong or tie; "" where the measured values are too near each other."""
    assert one.predicted
    assert other.predicted
    measured = one.measured / other.measured * per_card[1] / per_card[0]
    predicted = one.predicted / other.predicted * per_card[1] / per_card[0]
    if abs(measured - 1) < APART:
        return ""
    if abs(predicted - 1) < TIE:
        return "tie"
    return "right" if (measured > 1) == (predicted > 1) else "wrong"


def pairs(path: Path) -> Counter[tuple[str, str]]:
    """Return how many pairs of a table there are of each axis and verdict."""
    with path.open(encoding="utf-8") as file:
        cells = {row["id"]: row for row in csv.DictReader(file)}
    rows = [row for row in validate_table(path) if row.predicted and row.quantity != "memory"]
    found: Counter[tuple[str, str]] = Counter()
    for one, other in combinations(rows, 2):
        axis = differs_in(cells[one.id], cells[other.id])
        if not axis:
            continue
        rate = "tok" in one.unit and "GPU" not in one.unit
        counts = tuple(float(cells[each.id]["n_gpus"] or 1) if rate else 1.0 for each in (one, other))
        found[axis, verdict(one, other, (counts[0], counts[1]))] += 1
    return found


def main() -> None:
    """Print a line an axis."""
    found = sum((pairs(Path(name)) for name in sys.argv[1:]), Counter[tuple[str, str]]())
    for axis in (*AXES, "all"):
        mine = [
            sum(num for (of, what), num in found.items() if axis in (of, "all") and what == each)
            for each in ("right", "wrong", "tie")
        ]
        share = mine[0] / max(sum(mine), 1)
        print(f"{axis:12} right {mine[0]:4} wrong {mine[1]:4} tie {mine[2]:4}  {share:.0%}")


if __name__ == "__main__":
    main()
