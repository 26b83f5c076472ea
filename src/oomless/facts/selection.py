"""Selecting a row of a table whose rows hold under conditions: the most particular one that applies counts.

A row says where it holds in three ways. Its key columns (`KEYS`) name an engine, a quantity, a class of
cards; an empty cell holds for all. `first` and `last` are releases, both included. `when` lists conditions
that must hold, or with a "!" before them must not: `tp no_link`, `pp !tp`. The words are a closed list,
conditions.csv, which says what each means, what it implies and what it excludes.

Of the rows that apply, the one counts that names most: filled key columns and conditions together, those with
a "!" aside. Of two that name equally much it is the one that fills the earlier key column, then one of an
overlay, then the one with the later first release. Two rows that are still equal are a fault of the table;
tests/facts/test_selection.py looks for one over all sets of words that can hold together.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from itertools import product

from ..errors import OomlessError
from ..records import Record
from .tables import table

KEYS = {
    "engines": ("engine", "quantity"),
    "efficiencies": ("quantity", "engine", "device"),
    "kernels": ("engine", "block"),
    "bands": ("kind",),
}
"""The key columns of each table whose rows hold under conditions."""

Version = tuple[int, ...]


class Constant(Record):
    """A measured or documented constant with its spread; `num_runs` says how many measurements stand behind
    it."""

    value: float
    low: float
    high: float
    unit: str
    num_runs: int
    source: str


class ConditionalRow(Record):
    """A row of a table of `KEYS`: where it holds, and the constant that holds there."""

    table: str
    where: tuple[str, ...]
    first: Version
    last: Version
    when: frozenset[str]
    unless: frozenset[str]
    constant: Constant
    from_overlay: bool = False
    """The row is a user's own measurement or of a refit, not of the tables that come with oomless."""

    def holds(self, where: tuple[str, ...], conditions: frozenset[str], version: Version) -> bool:
        """Return whether the row applies."""
        return (
            all(mine in ("", asked) for mine, asked in zip(self.where, where, strict=True))
            and version >= self.first
            and not (self.last and version[: len(self.last)] > self.last)
            and self.when <= conditions
            and not self.unless & conditions
        )

    @property
    def rank(self) -> tuple[int, tuple[bool, ...], bool, Version]:
        """Return how particular the row is: of two that apply the greater rank counts."""
        filled = tuple(bool(cell) for cell in self.where)
        return sum(filled) + len(self.when), filled, self.from_overlay, self.first

    @property
    def name(self) -> str:
        """Return the row's key and conditions as one word, unique in its table but for releases."""
        words = [*sorted(self.when), *(f"!{word}" for word in sorted(self.unless))]
        return "/".join((*self.where, " ".join(words)))


def conditional_row(name: str, cells: Mapping[str, str], from_overlay: bool = False) -> ConditionalRow:
    """Return the row of table `name` that these cells are, of the table itself or of a file with the same
    columns.

    >>> cells = {"engine": "vllm", "quantity": "non_torch", "when": "pp !tp", "value": "0.07", "low": "0.06"}
    >>> conditional_row("engines", {**cells, "high": "0.1", "unit": "GiB", "source": "0.19 PP2"}).name
    'vllm/non_torch/pp !tp'
    """
    words = cells["when"].split()
    return ConditionalRow(
        name,
        tuple(cells[column] for column in KEYS[name]),
        _version(cells.get("first") or ""),
        _version(cells.get("last") or ""),
        frozenset(word for word in words if not word.startswith("!")),
        frozenset(word[1:] for word in words if word.startswith("!")),
        Constant(
            float(cells["value"]),
            float(cells["low"]),
            float(cells["high"]),
            cells["unit"],
            int(cells.get("num_runs") or 0),
            cells["source"],
        ),
        from_overlay,
    )


@cache
def conditional_rows(name: str) -> tuple[ConditionalRow, ...]:
    """Return all rows of a table of `KEYS`, in file order."""
    return tuple(conditional_row(name, cells) for cells in table(name))


def select(
    name: str,
    where: tuple[str, ...],
    conditions: Iterable[str] = (),
    version: Version = (),
    overlay: tuple[ConditionalRow, ...] = (),
) -> ConditionalRow:
    """Return the row of table `name` that applies to `where` (a cell for each key column), `conditions` and
    `version`: of those the most particular. Rows of `overlay` count before equally particular ones of the
    table.

    >>> select("engines", ("vllm", "non_torch"), ("tp",), (0, 19, 0)).constant.value
    2.09
    """
    words = frozenset(conditions)
    shipped = _shipped(name, where, words, version)
    own = [row for row in overlay if row.table == name and row.holds(where, words, version)]
    if own:
        return most_particular([*shipped, *own])
    if not shipped:
        raise LookupError(f"{name}.csv has no row for {', '.join(where)}, {version}, {sorted(words)}")
    return shipped[0]


def most_particular(applying: list[ConditionalRow]) -> ConditionalRow:
    """Return the row of greatest rank; two of them are a fault of the table, never a matter of its order."""
    best = max(row.rank for row in applying)
    found = [row for row in applying if row.rank == best]
    if len(found) > 1:
        raise OomlessError(
            f"facts: {found[0].table}.csv has two rows that hold alike, {found[0].name} and {found[1].name}",
            "this is a defect of oomless or of your calibration: one row must say when it does not hold",
        )
    return found[0]


@cache
def _shipped(
    name: str, where: tuple[str, ...], words: frozenset[str], version: Version
) -> tuple[ConditionalRow, ...]:
    """Return the row of the table itself, or nothing."""
    applying = [row for row in _rows_for(name, where) if row.holds(where, words, version)]
    return (most_particular(applying),) if applying else ()


@cache
def _rows_for(name: str, where: tuple[str, ...]) -> tuple[ConditionalRow, ...]:
    """Return the rows whose key columns allow `where`; a table is long, and few of its rows are parsed."""
    keys = product(*(dict.fromkeys(("", asked)) for asked in where))
    return tuple(conditional_row(name, cells) for key in keys for cells in _rows_by_key(name).get(key, ()))


@cache
def _rows_by_key(name: str) -> dict[tuple[str, ...], list[dict[str, str]]]:
    """Return the cells of each row under those of its key columns."""
    found: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for cells in table(name):
        found.setdefault(tuple(cells[column] for column in KEYS[name]), []).append(cells)
    return found


@cache
def constant(
    engine: str,
    quantity: str,
    version: Version,
    *conditions: str,
    overlay: tuple[ConditionalRow, ...] = (),
) -> Constant:
    """Return the constant of engines.csv for an engine's release under these conditions.

    >>> constant("vllm", "non_torch", (0, 19, 0), "tp").value
    2.09
    """
    return select("engines", (engine, quantity), conditions, version, overlay).constant


def _version(text: str) -> Version:
    return tuple(int(part) for part in text.split(".")) if text else ()
