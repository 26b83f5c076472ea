"""The error table of `validate`: one row a quantity. README's accuracy table is this text."""

from collections.abc import Sequence

from ..truth.validate import Summary
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
    return (
        quantity,
        str(numbers.num_rows),
        str(numbers.num_scored),
        percent(numbers.median_abs_rel_error, 3),
        percent(numbers.p90_abs_rel_error, 2),
        percent(numbers.max_abs_rel_error, 1),
        percent(numbers.share_inside, 0),
        percent(numbers.median_width, 0),
    )


def percent(value: float | None, digits: int) -> str:
    """Return a share in percent; a dash where there is none."""
    return "-" if value is None else f"{100 * value:.{digits}f} %"
