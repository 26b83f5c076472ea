"""`oomless guide`, and `oomless claims`, which settles the guide's numbers."""

import os
import sys
from typing import Any

import click

from ..api.command_question import guide_answer
from ..files import json_text
from ..run.options import answered_of
from .options import asking


def _guide(model: str | None, **options: Any) -> int:
    how = {option.field: options.pop(option.field, None) for option in answered_of("guide")}
    answer = guide_answer(model, options, os.environ)
    if how["json"]:
        sys.stdout.write(json_text(answer.to_json()) + "\n")
    else:
        from ..api.guide import guide_lines

        sys.stdout.write("\n".join(guide_lines(answer)) + "\n")
    return 0 if answer.holds else 3


guide = asking(
    "guide",
    _guide,
    "From MODEL's files to a server whose log was reconciled, on the cards of --gpu: compress, fit, monitor, "
    "reconcile.\n\nEach step is printed as commands with the numbers of this model on these cards; nothing "
    "is run.",
    "\b\nExamples:\n  oomless guide deepseek-r1 --gpu h200:8\n"
    "  oomless guide deepseek-r1-distill-qwen-32b --gpu rtx-4090:2 --context 16384 --concurrency 4",
)


@click.command()
@click.argument("claim_id", metavar="[ID]", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def claims(claim_id: str | None, as_json: bool) -> int:
    """The guide's numbers: all of them in a line each, or one with its evidence."""
    from ..claims import claim
    from ..claims import claims as all_claims

    chosen = (claim(claim_id),) if claim_id else all_claims()
    if as_json:
        from ..api.catalogues import claims_json

        click.echo(json_text(claims_json(chosen)))
        return 0
    if claim_id is None:
        lines = (f"{one.id}  {one.evidence.verdict:<13}  {one.statement}" for one in chosen)
        click.echo("\n".join(lines))  # at once: a table is aligned as a whole
        return 0
    for one in chosen:
        click.echo(f'{one.id} ({one.subject}): "{one.statement}"')
        click.echo(f"{one.evidence.verdict}: {one.evidence.because}")
        for figure in one.evidence.figures:
            click.echo(f"  {figure.what}: {figure.value:,.6g} {figure.unit}".rstrip())
        for command in one.evidence.commands:
            click.echo(f"  $ {command}")
        if one.evidence.verdict == "not settled":
            click.echo(f"  first reading: {one.first_reading}\n  it would take: {one.how_to_settle}")
    return 0
