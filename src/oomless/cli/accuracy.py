"""`oomless accuracy`."""

import click

from ..files import json_text


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def accuracy(as_json: bool) -> int:
    """How far predictions were off when this release was made: rounds of rows that were predicted blind,
    every table as predicted now, what ran beside the verdicts, and where answers are known to be off."""
    if as_json:
        from ..api.accuracy import accuracy_json

        click.echo(json_text(accuracy_json()))
        return 0
    from ..report.accuracy_text import accuracy_text

    click.echo(accuracy_text())
    return 0
