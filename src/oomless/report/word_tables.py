"""The tables of words under report/words."""

import csv
from functools import cache
from os.path import dirname, join

HERE = join(dirname(__file__), "words")


@cache
def rows_of(name: str) -> tuple[dict[str, str], ...]:
    """Return the rows of a table of words.

    >>> rows_of("lines")[0]["key"]
    'weights.attention'
    """
    with open(join(HERE, f"{name}.csv"), encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))
