"""One bad cell costs its row and no table: every column of every kind of table of measured rows, with values
that are empty, no numbers, beyond all sizes, or made of marks."""

import csv
import io
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from oomless.files import json_text
from oomless.truth.validate import INTERNAL, Scored, validate_table

TABLES = Path(__file__).parents[1] / "tables"
KINDS = ("inference", "training", "perf", "perf_more", "gguf_sizes")
CELLS = (
    "",
    " ",
    "0",
    "-1",
    "nan",
    "1e400",
    "9" * 30,
    "1/0",
    "a,b",
    "..bpw",
    "1.2.3bpw (4.5.6)",
    "TP0 PP0 DP0 EP0",
    "²",
    "\x1b[31m",
    "x\ny",
    "0+0",
    "16384+512",
)


def spoilt(kind: str) -> Iterator[dict[str, str]]:
    """Rows of one table, each with one cell that is another: each column, each value, rows from all of it."""
    with (TABLES / f"{kind}.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for step in range(3):
        for at, column in enumerate(rows[0]):
            for number, cell in enumerate(CELLS):
                row = rows[(step * 97 + at * 13 + number * 29) % len(rows)]
                if column != "id":
                    yield row | {column: cell, "id": f"{row['id']} {column} {cell!r}"}


def validated(rows: list[dict[str, str]], path: Path) -> tuple[Scored, ...]:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8", newline="")
    return validate_table(path)


def check(rows: list[dict[str, str]], path: Path) -> None:
    scored = validated(rows, path)
    assert len(scored) == len(rows)
    assert [f"{row.id}: {row.reason}" for row in scored if INTERNAL in row.reason] == []
    # what an engine prints as available is less than nothing where the weights pass the card; no pool is
    around = [row for row in scored if row.low is not None and (row.predicted or 0) >= 0]
    assert not [row.id for row in around if (row.low or 0) < 0 < row.measured]
    json_text([row.to_json() for row in scored])  # which no NaN passes


@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_cell_costs_its_row_alone(kind: str, tmp_path: Path) -> None:
    check(random.Random(kind).sample(list(spoilt(kind)), 60), tmp_path / f"{kind}.csv")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_column_with_every_bad_cell(kind: str, tmp_path: Path) -> None:
    check(list(spoilt(kind)), tmp_path / f"{kind}.csv")
