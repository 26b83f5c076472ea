"""Reading the tables of this folder: each is read when it is first asked for, and kept."""

import csv
from functools import cache
from os.path import dirname, join
from typing import Any

HERE = dirname(__file__)


@cache
def table(name: str) -> tuple[dict[str, str], ...]:
    """Return the rows of `facts/NAME.csv`, in file order, each cell as text; every row has every column."""
    return tuple(rows_with(name, ""))


def rows_with(name: str, word: str) -> list[dict[str, str]]:
    """Return the rows of `facts/NAME.csv` in which a word occurs, in any cell. The others are not parsed,
    which costs more than many an answer.

    >>> [row["card"] for row in rows_with("gpu_aliases", "h100-pcie")]
    ['h100-80gb-pcie']
    """
    head, *lines = _lines(name)
    columns, *rows = csv.reader([head, *(line for line in lines if word in line)])
    return [dict(zip(columns, row, strict=True)) for row in rows]


@cache
def _lines(name: str) -> list[str]:
    """The lines of a table, a row each: a test holds that no cell is of several."""
    with open(join(HERE, f"{name}.csv"), encoding="utf-8") as file:
        return file.readlines()


@cache
def _configs() -> str:
    with open(join(HERE, "models.jsonl"), encoding="utf-8") as file:
        return file.read()


def _place(name: str) -> int:
    """Return where the line of a model begins; -1 without one. The others are not parsed."""
    head = f'{{"model": "{name}", '
    return 0 if _configs().startswith(head) else _configs().find(f"\n{head}")


def config_names() -> tuple[str, ...]:
    """Return the models whose configs the catalogue has.

    >>> "deepseek-v3" in config_names()
    True
    """
    return tuple(line.split('"', 4)[3] for line in _configs().splitlines())


def has_model_config(name: str) -> bool:
    """Return whether the catalogue has a config of this very name."""
    return name.replace("-", "").replace(".", "").isalnum() and _place(name) >= 0


def stored_config(name: str) -> dict[str, Any]:
    """Return the config of a model as it is stored: where its keys are those of another, and perhaps a few
    more as of its quantised checkpoint, it names that one under `like` and holds what differs."""
    import json

    content, begin = _configs(), _place(name)
    if begin < 0:
        raise FileNotFoundError(name)
    begin += content[begin] == "\n"
    line = content[begin : content.find("\n", begin)]
    config: dict[str, Any] = json.loads(line)["config"]
    return config


def model_config(name: str) -> dict[str, Any]:
    """Return the config of a catalogue model, as its publisher wrote it.

    >>> model_config("qwen3-8b-fp8")["hidden_size"]
    4096
    """
    config = stored_config(name)
    like = config.pop("like", None)
    return model_config(like) | config if like else config
