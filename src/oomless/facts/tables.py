"""Reading the tables of this folder: each is read when it is first asked for, and kept."""

import csv
from functools import cache
from os.path import dirname, exists, join
from typing import Any

HERE = dirname(__file__)


@cache
def table(name: str) -> tuple[dict[str, str], ...]:
    """Return the rows of `facts/NAME.csv`, in file order, each cell as text."""
    with open(join(HERE, f"{name}.csv"), encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))


def has_model_config(name: str) -> bool:
    """Return whether the catalogue has a config of this very name."""
    return name.replace("-", "").replace(".", "").isalnum() and exists(join(HERE, "models", f"{name}.json"))


def model_config(name: str) -> dict[str, Any]:
    """Return the config of a catalogue model, as its publisher wrote it."""
    import json

    with open(join(HERE, "models", f"{name}.json"), encoding="utf-8") as file:
        config: dict[str, Any] = json.load(file)
    return config
