"""The text of `oomless accuracy`: verdicts, then errors of blind rounds and of every table as it is predicted
now."""

from ..api.accuracy import BLIND, TableError, known_misses, table_errors, verdict_counts
from .language import spoken
from .validate_text import CONFUSION, HEADER, confusion_row, errors_row, table_text, wrong_by_name


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
