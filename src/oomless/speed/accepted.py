"""How many tokens of a step hold where the question does not say: what was published of such drafts."""

from typing import NamedTuple

from .. import facts
from ..run.speculation import Speculation


class Accepted(NamedTuple):
    """Tokens of a step that hold, the verified one among them."""

    length: float
    low: float
    high: float
    """Ends of what was published of the kind of draft, over models and texts."""
    rows: int = 0
    """Published figures behind the length; 0: it was asked for."""


def accepted(said: Speculation, model: str) -> Accepted | None:
    """Return how many tokens of a step hold: as asked, or as published of the model, else of the kind of
    draft; None: nothing was.

    A draft of more tokens than were tried counts as the most that were.

    >>> accepted(Speculation("eagle3", 3), "llama-3.1-8b")
    Accepted(length=2.6, low=2.26, high=3.08, rows=1)
    >>> (
    ...     accepted(Speculation("mtp", 1), "deepseek-v3").length,
    ...     accepted(Speculation("ngram", 3), "deepseek-r1"),
    ... )
    (1.875, None)
    """
    if said.accepted_length is not None:
        return Accepted(said.accepted_length, said.accepted_length, said.accepted_length)
    rows = [
        (row["model"], [float(length) for length in row["lengths"].split()])
        for row in facts.rows_with("accepted_lengths", f",{kind_of(said)},")
    ]
    most = max((len(lengths) for _, lengths in rows), default=0)
    tokens = min(said.tokens, most)
    long = [(name, lengths[tokens - 1]) for name, lengths in rows if len(lengths) >= tokens]
    if not long:
        return None
    all_of_them = [length for _, length in long]
    its_own = [length for name, length in long if model.startswith(name)]
    counted = its_own or all_of_them
    return Accepted(sum(counted) / len(counted), min(all_of_them), max(all_of_them), len(counted))


def kind_of(said: Speculation) -> str:
    """Return the kind of draft in the table's words."""
    if said.head:
        return said.head
    if said.own_draft:
        return "dspark" if said.method.lower() == "dspark" else "mtp"
    return said.method
