"""`oomless validate`, and `oomless accuracy`, which prints what it found."""

import json as jsonlib
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import click

from ..files import json_text


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.option("--confidence", default=None, help="Only rows of this confidence (A, B or C).")
@click.option("--replay", default=None, metavar="ID", help="Print the command behind the row of this id.")
def validate(file: Path, as_json: bool, confidence: str | None, replay: str | None) -> int:
    """Predict each row of FILE from its configuration and compare with what was measured. Of a table of
    cases (what ran, what ran out of memory) the verdicts are compared."""
    if replay is not None:
        from ..truth.replay import replay as replayed

        click.echo(replayed(file, replay))
        return 0
    from ..truth.validate import summarize, validate_table
    from ..truth.verdicts import is_verdict_table

    if file.is_file() and is_verdict_table(file):
        return verdicts(file, as_json, confidence)
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
    for row in [row for row in rows if row.status == "unreadable"][:MOST_FAULTS]:
        reason = row.reason.removeprefix(f"{row.id}: ")
        click.echo(f"{row.id}: {row.status}: {reason}")
    return 0


MOST_FAULTS = 10
"""Rows that cannot be read, by name, below the table; --json has all."""


def verdicts(file: Path, as_json: bool, confidence: str | None) -> int:
    """Ask each case of a table as the command line does, and print verdicts beside outcomes."""
    from ..report.validate_text import verdicts_text
    from ..truth.verdicts import judge_table, summarize_verdicts, verdicts_json

    cases = list(judge_table(file, answered, confidence))
    if as_json:
        click.echo(json_text(verdicts_json(cases)))
    else:
        click.echo(verdicts_text(summarize_verdicts(cases), cases))
    return 0


def answered(arguments: list[str]) -> dict[str, Any]:
    """Return the JSON of the answer to a command line, asked within this process."""
    from .app import run

    out = StringIO()
    with redirect_stdout(out), redirect_stderr(StringIO()):
        run([*(word for word in arguments if word != "--json"), "--json"])
    found: dict[str, Any] = jsonlib.loads(out.getvalue())
    return found


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def accuracy(as_json: bool) -> int:
    """How far predictions were off when this release was made: rounds of rows that were predicted blind,
    every table as predicted now, what ran beside the verdicts, and where answers are known to be off."""
    if as_json:
        from ..api.accuracy import accuracy_json

        click.echo(json_text(accuracy_json()))
        return 0
    from ..report.validate_text import accuracy_text

    click.echo(accuracy_text())
    return 0
