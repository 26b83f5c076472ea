"""The confusion of `validate` on a table of cases: verdict against outcome, wrong ones by name."""

from ..truth.verdicts import JudgedCase, VerdictSummary
from .validate_text import percent, table_text

COLUMNS = ("kind", "cases", "firm", "right", "share", "wrong fits", "wrong no", "tight", "none", "width")


def verdicts_text(summary: dict[str, VerdictSummary], cases: list[tuple[str, JudgedCase]]) -> str:
    """Return the table, what was wrong by name, and what has no answer with its reason."""
    rows = [_row(kind, numbers) for kind, numbers in summary.items()]
    lines = [table_text(COLUMNS, rows)]
    for kind, numbers in summary.items():
        if numbers.wrong_fits:
            lines.append(f"{kind}: wrong fits: {', '.join(numbers.wrong_fits)}")
        if numbers.wrong_does_not_fit:
            lines.append(f"{kind}: wrong does not fit: {', '.join(numbers.wrong_does_not_fit)}")
    lines += [f"{case.id}: {case.status}: {case.reason}" for _, case in cases if case.verdict is None]
    return "\n".join(lines)


def _row(kind: str, numbers: VerdictSummary) -> tuple[str, ...]:
    return (
        kind,
        str(numbers.num_rows),
        str(numbers.num_firm),
        str(numbers.num_right),
        percent(numbers.num_right / numbers.num_firm if numbers.num_firm else None, 0),
        str(len(numbers.wrong_fits)),
        str(len(numbers.wrong_does_not_fit)),
        str(numbers.num_tight),
        str(numbers.num_none),
        percent(numbers.median_width, 0),
    )
