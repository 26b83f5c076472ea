"""`oomless reconcile`."""

from typing import TYPE_CHECKING

import click

from ..errors import UsageError
from ..files import json_text

if TYPE_CHECKING:
    from ..truth.reconcile.reconciled import Reconciled


@click.command(
    epilog="\b\nExamples:\n  oomless reconcile server.log --gpu h200:8\n"
    "  kubectl logs pod | oomless reconcile -\n  oomless reconcile server.log --row >> rows.csv",
)
@click.argument("files", nargs=-1, required=True)
@click.option("--gpu", default="", help="The card, where the log does not name it: h200 or h200:8.")
@click.option("--model", default="", help="The model, where the log names only a path or a nickname.")
@click.option("--engine-version", default="", help="The engine's release, where the log does not name it.")
@click.option("--command", default="", help="What was run, for an out-of-memory text alone.")
@click.option("--row", "rows", is_flag=True, help="Print measured rows (CSV) as validate reads them.")
@click.option("--follow", is_flag=True, help="Go on reading a file that grows.")
@click.option("--calibrate", is_flag=True, help="Keep what the logs teach for later answers on these cards.")
@click.option("--plot", default="", help="Draw predicted and measured bars into this SVG file.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def reconcile(
    files: tuple[str, ...],
    gpu: str,
    model: str,
    engine_version: str,
    command: str,
    rows: bool,
    follow: bool,
    calibrate: bool,
    plot: str,
    as_json: bool,
) -> int:
    """What really happened, beside what was predicted: FILES are logs of engines and trainers, or
    out-of-memory texts; - is the standard input."""
    from ..api.reconcile import follow as following
    from ..api.reconcile import reconcile as answer

    if follow:
        if len(files) != 1 or files[0] == "-" or rows or command:
            raise UsageError("--follow reads one file", "name one log file, without --row and --command")
        for found in following(files[0], gpu, model, engine_version):
            _show(found, as_json)
        return 0
    found = answer(*files, gpu=gpu, model=model, engine_version=engine_version, command=command)
    if calibrate:
        _calibrate(found)
    if plot:
        from ..report.reconcile_svg import reconciled_svg
        from .files import write_svg

        write_svg(plot, reconciled_svg(found))
    if rows:
        from .files import print_rows

        print_rows(found.measured_rows())
    else:
        _show(found, as_json)
    return 0


def _show(found: "Reconciled", as_json: bool) -> None:
    if as_json:
        click.echo(json_text(found.to_json()))
        return
    from ..report.reconcile_text import reconciled_text

    click.echo(reconciled_text(found))


def _calibrate(found: "Reconciled") -> None:
    from ..api.calibrations import seen_by
    from .files import keep_calibrations

    needs = "a log needs weights, a pool and a card that is known by name"
    keep_calibrations(seen_by(found), needs, "logs")
