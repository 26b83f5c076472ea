"""`oomless claims`."""

import click

from ..files import json_text


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
