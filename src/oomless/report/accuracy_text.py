"""The text of `oomless accuracy`: blind rounds first, then every table as it is predicted now."""

from ..api.accuracy import BLIND, TableError, VerdictCount, known_misses, table_errors, verdict_counts
from .language import spoken
from .validate_text import HEADER, errors_row, table_text


def accuracy_text() -> str:
    """Return all of it."""
    errors = table_errors()
    blind = [each for each in errors if each.made.startswith(BLIND)]
    now = [each for each in errors if not each.made.startswith(BLIND)]
    chinese = 2 if spoken().language == "zh" else 0  # a miss stands in both languages
    parts = [
        "Predicted before anything was known of the rows:",
        errors_text(blind),
        "\nEvery table as it is predicted now:",
        errors_text(now),
        "\nVerdicts beside what ran:",
        *map(verdict_text, verdict_counts()),
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


def verdict_text(each: VerdictCount) -> str:
    """Return the verdicts of one kind of case in a sentence."""
    wrong = f"; wrong fits: {', '.join(each.wrong_fits)}" if each.wrong_fits else "; no wrong fits"
    return (
        f"{each.kind}, {each.made}: {each.num_rows} cases, {each.num_firm} firm, "
        f"{each.num_right} of them right, {each.num_tight} tight, {each.num_none} without an answer{wrong}"
    )
