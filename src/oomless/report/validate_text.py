"""The tables of `validate`: errors, one row a quantity (README's accuracy table is this text); the confusion
of verdict and outcome, wrong ones by name; and the text of `accuracy`."""

from collections.abc import Sequence

from ..api.accuracy import BLIND, TableError, VerdictCount, known_misses, table_errors, verdict_counts
from ..truth.validate import Summary
from ..truth.verdicts import JudgedCase, VerdictSummary
from .language import spoken
from .printed_tables import cells_wide

HEADER = ("quantity", "rows", "scored", "median", "p90", "max", "inside", "width")


def validate_table_text(summary: dict[str, Summary]) -> str:
    """Return the errors of each quantity as a Markdown table."""
    return table_text(HEADER, [_row(quantity, numbers) for quantity, numbers in summary.items()])


def table_text(header: tuple[str, ...], cells: Sequence[tuple[str, ...]]) -> str:
    """Return a Markdown table, readable as it is: first column to the left, numbers to the right."""
    words = spoken()
    rows = [tuple(map(words.cell, row)) for row in (header, *cells)]
    widths = [max(cells_wide(row[column]) for row in rows) for column in range(len(header))]

    def line(cells: tuple[str, ...]) -> str:
        blanks = [" " * (width - cells_wide(cell)) for cell, width in zip(cells, widths, strict=True)]
        numbers = (blank + cell for blank, cell in zip(blanks[1:], cells[1:], strict=True))
        return f"| {' | '.join((cells[0] + blanks[0], *numbers))} |"

    rule = f"|{'-' * (widths[0] + 2)}|" + "".join(f"{'-' * (width + 1)}:|" for width in widths[1:])
    return "\n".join([line(rows[0]), rule, *(line(row) for row in rows[1:])])


def _row(quantity: str, numbers: Summary) -> tuple[str, ...]:
    shares = (
        numbers.median_abs_rel_error,
        numbers.p90_abs_rel_error,
        numbers.max_abs_rel_error,
        numbers.share_inside,
        numbers.median_width,
    )
    return errors_row(quantity, (numbers.num_rows, numbers.num_scored), shares)


def errors_row(what: str, counts: tuple[int, int], shares: Sequence[float | None]) -> tuple[str, ...]:
    """Return a row of HEADER: what was predicted, how many rows and how many scored, and the shares.

    >>> errors_row("peak", (12, 10), (0.00123, 0.05, None, 1.0, 0.2))
    ('peak', '12', '10', '0.123 %', '5.00 %', '-', '100 %', '20 %')
    """
    return (what, *map(str, counts), *map(percent, shares, DIGITS))


DIGITS = (3, 2, 1, 0, 0)
"""Of the percents of HEADER."""


def percent(value: float | None, digits: int) -> str:
    """Return a share in percent; a dash where there is none."""
    return "-" if value is None else f"{100 * value:.{digits}f} %"


CONFUSION = ("kind", "cases", "firm", "right", "share", "wrong fits", "wrong no", "tight", "none")


def verdicts_text(summary: dict[str, VerdictSummary], cases: list[tuple[str, JudgedCase]]) -> str:
    """Return the table, what was wrong by name, and what has no answer with its reason."""
    rows = [
        (*confusion_row(kind, numbers), percent(numbers.median_width, 0)) for kind, numbers in summary.items()
    ]
    lines = [table_text((*CONFUSION, "width"), rows)]
    for kind, numbers in summary.items():
        lines += wrong_by_name(kind, numbers)
    lines += [f"{case.id}: {case.status}: {case.reason}" for _, case in cases if case.verdict is None]
    return "\n".join(lines)


def confusion_row(what: str, numbers: VerdictSummary | VerdictCount) -> tuple[str, ...]:
    """Return a row of CONFUSION."""
    return (
        what,
        str(numbers.num_rows),
        str(numbers.num_firm),
        str(numbers.num_right),
        percent(numbers.num_right / numbers.num_firm if numbers.num_firm else None, 0),
        str(len(numbers.wrong_fits)),
        str(len(numbers.wrong_does_not_fit)),
        str(numbers.num_tight),
        str(numbers.num_none),
    )


def wrong_by_name(kind: str, numbers: VerdictSummary | VerdictCount) -> list[str]:
    """Return the cases whose verdict was wrong, a line for each way."""
    lines = []
    if numbers.wrong_fits:
        lines.append(f"{kind}: wrong fits: {', '.join(numbers.wrong_fits)}")
    if numbers.wrong_does_not_fit:
        lines.append(f"{kind}: wrong does not fit: {', '.join(numbers.wrong_does_not_fit)}")
    return lines


def accuracy_text() -> str:
    """Return all of it."""
    errors = table_errors()
    blind = [each for each in errors if each.made.startswith(BLIND)]
    now = [each for each in errors if not each.made.startswith(BLIND)]
    chinese = 2 if spoken().language == "zh" else 0  # a miss stands in both languages
    parts = [
        "Verdicts beside what ran, as they were predicted blind and as they are now:",
        verdicts_table(),
        "\nRows that were predicted before anything was known of them:",
        errors_text(blind),
        "\nEvery table as it is predicted now:",
        errors_text(now),
        "\nKnown misses:",
        *(f"- {row[chinese]}: {row[chinese + 1]}" for row in known_misses()),
    ]
    return "\n".join(parts)


def errors_text(errors: list[TableError]) -> str:
    """Return errors as a table."""
    cells = [
        errors_row(
            f"{each.about}, {each.made}, {each.table}: {each.quantity}",
            (each.num_rows, each.num_scored),
            (each.median, each.p90, each.max, each.inside, each.width),
        )
        for each in errors
    ]
    return table_text(HEADER, cells)


def verdicts_table() -> str:
    """Return verdicts beside what ran, and by name the cases that go wrong now."""
    counts = verdict_counts()
    lines = [table_text(CONFUSION, [confusion_row(f"{each.kind}, {each.made}", each) for each in counts])]
    for each in counts:
        if not each.made.startswith(BLIND):
            lines += wrong_by_name(each.kind, each)
    return "\n".join(lines)
