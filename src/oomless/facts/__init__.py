"""What the world is: tables with a source a row. No arithmetic; every table is read when first asked for."""

import csv
from functools import cache
from os.path import dirname, exists, join
from typing import Any, NamedTuple

HERE = dirname(__file__)


@cache
def table(name: str) -> tuple[dict[str, str], ...]:
    """The rows of `facts/NAME.csv`, in file order, each cell as text."""
    with open(join(HERE, f"{name}.csv"), encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))


def has_model_config(name: str) -> bool:
    """Whether the catalogue has a config of this very name."""
    return name.replace("-", "").replace(".", "").isalnum() and exists(join(HERE, "models", f"{name}.json"))


def model_config(name: str) -> dict[str, Any]:
    """The config of a catalogue model, as its publisher wrote it."""
    import json

    with open(join(HERE, "models", f"{name}.json"), encoding="utf-8") as file:
        config: dict[str, Any] = json.load(file)
    return config


class Constant(NamedTuple):
    """A measured or documented constant with its spread; `num_runs` says how many measurements stand behind
    it."""

    value: float
    low: float
    high: float
    unit: str
    num_runs: int
    source: str


@cache
def constant(engine: str, quantity: str, version: tuple[int, ...], *conditions: str) -> Constant:
    """The row of engines.csv for a version whose conditions all hold: of those the most particular, then the
    latest one.

    >>> constant("vllm", "non_torch", (0, 19, 0), "tp").value
    2.09
    """
    best: tuple[tuple[int, tuple[int, ...]], dict[str, str]] | None = None
    for row in _constants(engine, quantity):
        first, last, when = _version(row["first"]), _version(row["last"]), row["when"].split()
        if version < first or (last and version[: len(last)] > last) or not set(when) <= set(conditions):
            continue
        rank = (len(when), first)
        if best is None or rank >= best[0]:
            best = (rank, row)
    if best is None:
        raise LookupError(f"engines.csv has no {engine} {quantity} for {version} {conditions}")
    row = best[1]
    value, low, high = float(row["value"]), float(row["low"]), float(row["high"])
    return Constant(value, low, high, row["unit"], int(row["num_runs"] or 0), row["source"])


@cache
def _constants(engine: str, quantity: str) -> tuple[dict[str, str], ...]:
    return tuple(row for row in table("engines") if row["engine"] == engine and row["quantity"] == quantity)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")) if text else ()
