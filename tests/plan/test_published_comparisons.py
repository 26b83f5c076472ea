"""`plan` puts first what a published page measured as fastest: 12 pages that compare cards or engines.

The load is the page's; where it asks for more at once than the smallest of its machines holds, as much as
that holds. A row names its page and what it measured; `plan` sees neither.
"""

import json

from command import call
from tables.score import TABLES, records

RIGHT = 10
"""Of the 12 comparisons at least."""


def first_of(cells: dict[str, str]) -> str:
    """Return the card and engine of the first row by tokens a second."""
    load = {"--context": "context", "--output-len": "output_len", "--concurrency": "concurrency"}
    words = [each for flag, cell in load.items() for each in (flag, cells[cell])]
    for flag, cell in (("--gpu", "gpus"), ("--engine", "engines"), ("--quantization", "quantizations")):
        words += [each for value in cells[cell].split() for each in (flag, value)]
    rows = json.loads(call("plan", cells["model"], "--fastest", "--json", *words).out)["rows"]
    return f"{rows[0]['gpu']} {rows[0]['engine']}" if rows else ""


def test_what_was_measured_as_fastest_comes_first() -> None:
    cases = records(TABLES / "comparisons.csv")
    assert len(cases) == 12
    assert all(each["source"].startswith("https://") for each in cases)
    found = {each["id"]: first_of(each) for each in cases}
    assert all(found.values()), found
    right = [each["id"] for each in cases if is_named(each["first"], found[each["id"]])]
    assert len(right) >= RIGHT, found


def is_named(first: str, found: str) -> bool:
    """Return whether a row is of the card or the engine that was first."""
    card, engine = found.split()
    words = set(card.split("-"))
    return engine == first or set(first.split("-")) <= words
