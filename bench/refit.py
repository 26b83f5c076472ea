"""Fit facts/efficiencies.csv anew to the measured rows of tests/tables, and write it back with measured.csv:
`python -m bench.refit`, or only what one engine has of its own: `python -m bench.refit llamacpp`.

Priors, spreads and bands are written by hand and stay; value, ends, number of rows and source of what was
fitted are renewed.
"""

import csv
import sys
from collections import Counter
from math import exp
from pathlib import Path

from oomless import facts
from oomless.engines.speed_classes import class_of_word
from oomless.errors import OomlessError
from oomless.facts import conditional_row
from oomless.truth.speed_rows import question
from oomless.truth.tables import Incomplete, MeasuredRow, read_table

from .fit import fit

ROOT = Path(__file__).resolve().parent.parent
FACTS = ROOT / "src" / "oomless" / "facts"
TABLES = [ROOT / "tests" / "tables" / name for name in ("perf.csv", "perf_more.csv", "perf_fresh.csv")]
NINETY = 1.64
"""Standard deviations to either end of a band that holds nine of ten."""


def measured(table: list[MeasuredRow]) -> Counter[tuple[str, str, str]]:
    """Return how many rows there are of each class of card, engine and kind."""
    found: Counter[tuple[str, str, str]] = Counter()
    for row in table:
        try:
            asked = question(row.configuration)
        except (OomlessError, Incomplete):
            continue
        if row.quantity != "memory":
            found[asked.evidence.device, asked.evidence.engine, row.quantity] += 1
    return found


def is_of(row: MeasuredRow, only: str) -> bool:
    """Return whether a row is of a class of engines."""
    found = class_of_word(row.configuration["engine"])
    return found is not None and found.name == only


def cited(support: tuple[str, ...]) -> str:
    """Return the rows that speak for a constant, neighbours as a range: 22 24 m6 f127-f282."""
    runs: list[list[str]] = []
    for name in support:
        last = runs[-1][-1] if runs else ""
        if last[:1] == name[:1] == "f" and int(name[1:]) == int(last[1:]) + 1:
            runs[-1].append(name)
        else:
            runs.append([name])
    return (
        "fitted to rows of perf.csv: "
        f"{' '.join(run[0] if len(run) == 1 else f'{run[0]}-{run[-1]}' for run in runs)}"
    )


def write(name: str, rows: list[dict[str, str]]) -> None:
    """Write a table of facts."""
    with (FACTS / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main(only: str = "") -> None:
    """Fit, and write the tables; `only`: the constants of one class of engines, to its rows, others as they
    are."""
    table = [row for path in TABLES for row in read_table(path)]
    mine = [row for row in table if not only or is_of(row, only)]
    found = fit(mine, only)
    rows = [dict(cells) for cells in facts.table("efficiencies")]
    for row in rows:
        name = conditional_row("efficiencies", row).name
        if name not in found.values:
            continue
        value, deviation, support = found.values[name], found.deviations[name], found.support[name]
        row.update(
            value=f"{value:.4g}",
            low=f"{value * exp(-NINETY * deviation):.4g}",
            high=f"{value * exp(NINETY * deviation):.4g}",
            num_runs=str(len(support)),
            source=cited(support) if support else row["prior_source"],
        )
    write("efficiencies", rows)
    where = "perf.csv, perf_more.csv and perf_fresh.csv"
    columns = ("device", "engine", "kind", "num_rows", "source")
    counts = sorted(measured(table).items())
    write("measured", [dict(zip(columns, (*key, str(num), where), strict=True)) for key, num in counts])


if __name__ == "__main__":
    main(*sys.argv[1:])
