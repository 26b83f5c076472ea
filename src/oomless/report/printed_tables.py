"""Tables among printed lines, put into another language cell by cell: what a cell says changes, where its
column begins and ends follows the widest cell."""

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import NamedTuple

BETWEEN_COLUMNS = "  "
CELL = re.compile(r"\S+(?: \S+)*")
"""Words one blank apart; columns lie two apart."""
NO_TABLE = ("$ ", "= ", "{", "}", "[", "]", '"', "|")
"""What commands, formulas and JSON begin with."""


class Cell(NamedTuple):
    """A text with the columns of a terminal that it takes."""

    begin: int
    end: int
    text: str


def cells_wide(text: str) -> int:
    """Return how many columns of a terminal a text takes: two for each wide character.

    >>> cells_wide("KV cache"), cells_wide("KV 缓存")
    (8, 7)
    """
    if text.isascii():
        return len(text)
    return len(text) + sum(unicodedata.east_asian_width(each) in "WF" for each in text)


def is_tabular(line: str) -> bool:
    """Return whether a line has columns.

    >>> is_tabular("total  12.00"), is_tabular("  a sentence"), is_tabular("  $ run  this")
    (True, False, False)
    """
    said = line.strip(" ")
    return BETWEEN_COLUMNS in said and not said.startswith(NO_TABLE)


def cells_of(line: str) -> list[Cell]:
    """Return what stands between gaps of two blanks and more."""
    found = []
    for match in CELL.finditer(line):
        begin = cells_wide(line[: match.start()])
        found.append(Cell(begin, begin + cells_wide(match[0]), match[0]))
    return found


def columns_of(rows: Sequence[Sequence[Cell]]) -> list[tuple[int, int]]:
    """Return where columns begin and end: between them every line is blank.

    >>> columns_of([cells_of("a    1.00  x"), cells_of("all  9.00")])
    [(0, 3), (5, 9), (11, 12)]
    """
    found: list[tuple[int, int]] = []
    for cell in sorted(cell for row in rows for cell in row):
        if found and cell.begin < found[-1][1] + len(BETWEEN_COLUMNS):
            found[-1] = found[-1][0], max(found[-1][1], cell.end)
        else:
            found.append((cell.begin, cell.end))
    return found


def tables_said(lines: Sequence[str], said: Callable[[str], str]) -> list[str]:
    """Return the lines of a table with each cell said; the same lines where no cell changes.

    >>> tables_said(["weights  1.00", "total    9.00"], {"weights": "权重", "total": "合计"}.get)
    ['权重  1.00', '合计  9.00']
    """
    rows = [cells_of(line) for line in lines]
    columns = columns_of(rows)
    table: list[list[list[Cell]]] = [
        [[cell for cell in row if begin <= cell.begin < end] for begin, end in columns] for row in rows
    ]
    shown = [[[said(cell.text) or cell.text for cell in cells] for cells in row] for row in table]
    if shown == [[[cell.text for cell in cells] for cells in row] for row in table]:
        return list(lines)
    texts = [[BETWEEN_COLUMNS.join(cells) for cells in row] for row in shown]
    sides = [_side([row[at] for row in table], column) for at, column in enumerate(columns)]
    widths = [max(cells_wide(row[at]) for row in texts) for at in range(len(columns))]
    indent = " " * (columns[0][0] if sides[0] == "left" else 0)
    return [(indent + BETWEEN_COLUMNS.join(map(_padded, row, widths, sides))).rstrip() for row in texts]


def _side(cells: Sequence[Sequence[Cell]], column: tuple[int, int]) -> str:
    """Return on which side the cells of a column are flush; numbers stand at the right."""
    there = [each for each in cells if each]
    flush_right = all(each[-1].end == column[1] for each in there)
    flush_left = all(each[0].begin == column[0] for each in there)
    return "right" if flush_right and not flush_left else "left"


def _padded(text: str, width: int, side: str) -> str:
    blanks = " " * (width - cells_wide(text))
    return blanks + text if side == "right" else text + blanks
