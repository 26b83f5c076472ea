"""`oomless config show`: the defaults that hold here, and who says each."""

import os

import click

from ..run.settings import config_path, read_settings
from .catalogues import show


@click.group()
def config() -> None:
    """The user's own defaults: a config file and OOMLESS_* variables."""


@config.command("show")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def show_config(as_json: bool) -> int:
    """Every default that is set, and who sets it; variables come before the file."""
    rows = [
        {
            "option": each.flag,
            "value": each.value,
            "source": each.source,
            "set_to": str(each.value),
        }
        for each in read_settings(os.environ)
    ]
    path = config_path(os.environ)
    if as_json:
        return show(
            [{name: row[name] for name in ("option", "value", "source")} for row in rows],
            (),
            "oomless/config/1",
            True,
        )
    there = "" if os.path.exists(path) else " (there is none)"
    click.echo(f"config file: {path}{there}")
    if not rows:
        click.echo("nothing is set: write flags below [infer] there, or set OOMLESS_ENGINE and the like")
        return 0
    return show(rows, ("option", "set_to", "source"), "oomless/config/1", False)
