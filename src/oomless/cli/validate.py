"""`oomless validate`."""

from pathlib import Path

import click

from ..files import json_text


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.option("--confidence", default=None, help="Only rows of this confidence (A, B or C).")
def validate(file: Path, as_json: bool, confidence: str | None) -> int:
    """Predict each row of FILE from its configuration and compare with what was measured."""
    from ..truth.validate import summarize, validate_table

    rows = validate_table(file, confidence)
    summary = summarize(rows)
    if as_json:
        document = {
            "schema": "oomless/validate/1",
            "rows": [row.to_json() for row in rows],
            "summary": {quantity: numbers._asdict() for quantity, numbers in summary.items()},
        }
        click.echo(json_text(document))
        return 0
    from ..report.validate_text import validate_table_text

    click.echo(validate_table_text(summary))
    return 0
