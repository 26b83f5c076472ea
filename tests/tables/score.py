"""Measured rows beside predicted ones: the errors of a table, and budgets that hold them."""

import csv
from collections.abc import Iterable, Sequence
from math import inf
from pathlib import Path
from statistics import median
from typing import NamedTuple

from oomless.truth.validate import Scored, is_inside, ninth_decile

TABLES = Path(__file__).parent


class Budget(NamedTuple):
    """The most that errors |predicted / measured - 1| may be, in the median, at the ninth decile and at all;
    the least share of rows that must be scored, and of those inside their interval; the most above it.
    Budgets only shrink."""

    median: float = inf
    p90: float = inf
    scored: float = 0.0
    inside: float = 0.0
    above: float = 1.0
    worst: float = inf


def errors(rows: Iterable[Scored], *quantities: str) -> list[float]:
    """The sizes of the errors of scored rows, of some quantities or of all, least first."""
    return sorted(
        abs(row.rel_error)
        for row in rows
        if row.rel_error is not None and (not quantities or row.quantity in quantities)
    )


def check(rows: Sequence[Scored], budget: Budget, what: str = "") -> None:
    """The rows keep the budget; `what` names them where they do not."""
    found, scored = errors(rows), [row for row in rows if row.predicted is not None]
    assert len(scored) >= budget.scored * len(rows), (what, len(scored), len(rows))
    check_errors(found, budget, what)
    inside = sum(map(is_inside, scored)) / len(scored)
    above = sum(row.measured > (row.high or 0) for row in scored) / len(scored)
    assert inside >= budget.inside, (what, inside)
    assert above <= budget.above, (what, above)


def check_errors(found: Sequence[float], budget: Budget, what: str = "") -> None:
    """These sizes of errors keep the budget's median, ninth decile and worst."""
    assert found, what
    assert median(found) <= budget.median, (what, median(found))
    assert ninth_decile(list(found)) <= budget.p90, (what, ninth_decile(list(found)))
    assert max(found) <= budget.worst, (what, max(found))


def records(table: Path) -> list[dict[str, str]]:
    """All cells of a CSV table, the measured ones too."""
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_records(path: Path, rows: Sequence[dict[str, str]]) -> Path:
    """A CSV table of these rows."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path
