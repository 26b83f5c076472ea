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
            "config",
            True,
        )
    there = "" if os.path.exists(path) else " (there is none)"
    click.echo(f"config file: {path}{there}")
    if not rows:
        click.echo("nothing is set: write flags below [infer] there, or set OOMLESS_ENGINE and the like")
        return 0
    return show(rows, ("option", "set_to", "source"), "config", False)


@config.command("calibrations")
@click.option("--export", is_flag=True, help="Print them as they are stored.")
@click.option("--remove", default="", help="Remove those of an engine or card, or all.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def calibrations(export: bool, remove: str, as_json: bool) -> int:
    """What logs of this machine taught (`oomless reconcile --calibrate`), by engine, release, card and
    layout."""
    from ..api.calibrations import calibrations_path, document_without, stored
    from ..files import write_whole
    from ..truth.calibration import as_document, learned

    path = calibrations_path(os.environ)
    if remove:
        content, gone = document_without(remove, os.environ)
        if gone:
            write_whole(path, content, f"calibrations: {path}")
        click.echo(f"removed {gone}", err=True)
        return 0
    seen = stored(os.environ)
    if export:
        click.echo(as_document(seen), nl=False)
        return 0
    rows = []
    for machine in dict.fromkeys(each.machine for each in seen):
        found = learned(each for each in seen if each.machine == machine)
        if found is not None:
            names = dict(zip(("engine", "release", "card", "layout"), machine, strict=True))
            rows.append({**names, **found._asdict()})
    if not rows and not as_json:
        click.echo(f"none are stored ({path}); oomless reconcile LOG --gpu G --calibrate stores them")
        return 0
    columns = ("engine", "release", "card", "layout", "num_logs", "shift_bytes", "spread_bytes", "date")
    return show(rows, columns, "calibrations", as_json)
