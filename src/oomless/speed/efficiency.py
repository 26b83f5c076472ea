"""Efficiencies and latencies: rows of facts/speed.csv by class of device, engine and condition; the most
particular one counts."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import NamedTuple

from .. import facts


class Efficiency(NamedTuple):
    """A row of speed.csv."""

    id: str
    quantity: str
    device: str
    engine: str
    when: tuple[str, ...]
    value: float
    low: float
    high: float
    unit: str
    num_runs: int
    source: str
    prior: float
    """What is published elsewhere, or assumed: the value before any measured row was seen."""
    spread: float
    """Standard deviation of the prior's logarithm; 0: nothing was fitted."""


@cache
def rows() -> tuple[Efficiency, ...]:
    """All rows, in the order of the file."""
    return tuple(
        Efficiency(
            "/".join((row["quantity"], row["device"], row["engine"], row["when"])),
            row["quantity"],
            row["device"],
            row["engine"],
            tuple(row["when"].split()),
            float(row["value"]),
            float(row["low"]),
            float(row["high"]),
            row["unit"],
            int(row["num_runs"]),
            row["source"],
            float(row["prior"]),
            float(row["spread"]),
        )
        for row in facts.table("speed")
    )


_REPLACED: dict[str, float] = {}


@contextmanager
def replaced(values: dict[str, float]) -> Iterator[None]:
    """Other values for some rows, by id, as a refit without some measurements has them."""
    before = dict(_REPLACED)
    _REPLACED.update(values)
    try:
        yield
    finally:
        _REPLACED.clear()
        _REPLACED.update(before)


_RECORD: list[set[str]] = []


@contextmanager
def recorded() -> Iterator[set[str]]:
    """The ids of the rows that are asked for."""
    used: set[str] = set()
    _RECORD.append(used)
    try:
        yield used
    finally:
        _RECORD.pop()


def efficiency(
    quantity: str, device: str = "", engine: str = "", conditions: frozenset[str] = frozenset()
) -> Efficiency:
    """The row whose class and conditions all hold: of those the one that names most, then the later one.

    >>> efficiency("weights", "gddr", "llamacpp").value > efficiency("weights", "hbm", "llamacpp").value
    True
    """
    found = _chosen(quantity, device, engine, conditions)
    if _RECORD:
        _RECORD[-1].add(found.id)
    other = _REPLACED.get(found.id)
    return found if other is None else found._replace(value=other)


def value(
    quantity: str, device: str = "", engine: str = "", conditions: frozenset[str] = frozenset()
) -> float:
    """The value of the row alone."""
    return efficiency(quantity, device, engine, conditions).value


@cache
def _chosen(quantity: str, device: str, engine: str, conditions: frozenset[str]) -> Efficiency:
    best: tuple[int, Efficiency] | None = None
    for row in _of(quantity):
        if (
            row.device not in ("", device)
            or row.engine not in ("", engine)
            or not conditions.issuperset(row.when)
        ):
            continue
        rank = bool(row.device) + bool(row.engine) + len(row.when)
        if best is None or rank >= best[0]:
            best = (rank, row)
    if best is None:
        raise LookupError(f"speed.csv has no {quantity} for {device}, {engine}, {sorted(conditions)}")
    return best[1]


@cache
def _of(quantity: str) -> tuple[Efficiency, ...]:
    return tuple(row for row in rows() if row.quantity == quantity)
