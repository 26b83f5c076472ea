"""How accurate the answers are: errors of the measured tables, what ran beside the verdicts, and where
predictions are known to be off. `make accuracy` writes the tables of facts that are read here."""

from typing import Any, NamedTuple

from .. import facts

BLIND = "blind"
"""How a round begins whose rows were predicted before anything was known of them."""


class TableError(NamedTuple):
    """How far predictions of one quantity were off in one table; shares, not percents."""

    about: str
    """What kind of run: serving, llamacpp, training, megatron, speed, files."""
    made: str
    """`blind N` as it was predicted in that round, or `now`."""
    table: str
    quantity: str
    num_rows: int
    num_scored: int
    median: float | None
    p90: float | None
    max: float | None
    inside: float | None
    width: float | None


class VerdictCount(NamedTuple):
    """Verdicts of one kind of case beside what happened."""

    made: str
    """`blind N` as they were given in that round, `blind` in all of them, or `now`."""
    kind: str
    num_rows: int
    num_firm: int
    num_right: int
    wrong_fits: tuple[str, ...]
    wrong_does_not_fit: tuple[str, ...]
    num_tight: int
    num_none: int


def table_errors() -> tuple[TableError, ...]:
    """Return the errors of every table, blind rounds first.

    >>> found = table_errors()
    >>> found[0].made, found[-1].made
    ('blind 1', 'now')
    """
    return tuple(
        TableError(
            row["about"],
            row["made"],
            row["table"],
            row["quantity"],
            int(row["num_rows"]),
            int(row["num_scored"]),
            *(
                float(row[name]) if row[name] else None
                for name in ("median", "p90", "max", "inside", "width")
            ),
        )
        for row in facts.table("accuracy")
    )


def verdict_counts() -> tuple[VerdictCount, ...]:
    """Return how many verdicts were right: in all blind rounds, now, and in each round.

    >>> found = verdict_counts()
    >>> [(each.kind, each.made) for each in found[:4]]
    [('serve', 'blind'), ('train', 'blind'), ('serve', 'now'), ('train', 'now')]
    >>> found[0].num_rows == sum(each.num_rows for each in found[4:] if each.kind == "serve")
    True
    """
    found = [
        VerdictCount(
            row["made"],
            row["kind"],
            int(row["num_rows"]),
            int(row["num_firm"]),
            int(row["num_right"]),
            tuple(row["wrong_fits"].split()),
            tuple(row["wrong_does_not_fit"].split()),
            int(row["num_tight"]),
            int(row["num_none"]),
        )
        for row in facts.table("accuracy_verdicts")
    ]
    rounds = [each for each in found if each.made.startswith(BLIND)]
    kinds = dict.fromkeys(each.kind for each in rounds)
    together = [_together([each for each in rounds if each.kind == kind]) for kind in kinds]
    return (*together, *(each for each in found if each not in rounds), *rounds)


def _together(rounds: list[VerdictCount]) -> VerdictCount:
    """Return what several rounds of one kind of case came to."""
    counts = (each[2:] for each in rounds)
    return VerdictCount(
        BLIND, rounds[0].kind, *(sum(column[1:], column[0]) for column in zip(*counts, strict=True))
    )


def known_misses() -> tuple[tuple[str, str, str, str], ...]:
    """Return where predictions are known to be off: title and text in English, then in Chinese."""
    names = ("title_en", "text_en", "title_zh", "text_zh")
    return tuple(
        (row[names[0]], row[names[1]], row[names[2]], row[names[3]]) for row in facts.table("known_misses")
    )


def accuracy_json() -> dict[str, Any]:
    """Return what `accuracy --json` prints."""
    return {
        "schema": "oomless/accuracy/1",
        "rows": [each._asdict() for each in table_errors()],
        "verdicts": [
            {
                **each._asdict(),
                "wrong_fits": [*each.wrong_fits],
                "wrong_does_not_fit": [*each.wrong_does_not_fit],
            }
            for each in verdict_counts()
        ],
        "known_misses": [{"title": title, "text": text} for title, text, _, _ in known_misses()],
    }
