"""`oomless monitor`: what a watched run left behind."""

import json
from pathlib import Path

import click

from ..errors import UsageError, did_you_mean

ACTIONS = ("show",)


@click.command(
    context_settings={"allow_interspersed_args": True},
    epilog="\b\nExamples:\n  oomless monitor show oomless_runs/20261126-101500-4242\n"
    "  oomless monitor show --compare oomless_runs/before oomless_runs/after",
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="show [RUN]")
@click.option("--plot", metavar="FILE", help="Draw the run into this SVG file.")
@click.option("--html", metavar="FILE", help="Write the run as one page.")
@click.option("--compare", nargs=2, metavar="RUN_A RUN_B", help="Two runs side by side.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def monitor(
    words: tuple[str, ...],
    plot: str | None,
    html: str | None,
    compare: tuple[str, str] | None,
    as_json: bool,
) -> int:
    """What a watched run left behind: memory by category and line, beside the prediction; what grows; what
    would have fitted. Runs are written by `oomless run` and by `oomless.monitor.watch`."""
    if compare is not None:
        return _compare(compare, as_json)
    if not words or words[0] not in ACTIONS:
        hint = did_you_mean(words[0], ACTIONS) if words else "oomless monitor show RUN"
        raise UsageError(f"monitor what: {words[0] if words else 'nothing is said'}", hint)
    if len(words) != 2:
        raise UsageError(
            "`monitor show` takes one run", "oomless monitor show RUN; two by --compare RUN_A RUN_B"
        )
    return _show(words[1], plot, html, as_json)


def _show(folder: str, plot: str | None, html: str | None, as_json: bool) -> int:
    from ..api.monitored import highest_step, show
    from ..files import write_whole
    from .files import need_place, write_svg

    need_place(plot, "--plot", ".svg")
    need_place(html, "--html")
    run = show(folder)
    if plot is not None or html is not None:
        from ..report.monitor_html import run_html
        from ..report.monitor_svg import run_svg

        course = highest_step(run.worst.run)
        if plot is not None:
            write_svg(plot, run_svg(run, course))
        if html is not None:
            write_whole(Path(html), run_html(run, course), f"--html {html}")
    if as_json:
        click.echo(json.dumps(run.to_json(), allow_nan=False))
    else:
        from ..report.monitor_text import run_text

        click.echo(run_text(run))
    return 0


def _compare(folders: tuple[str, str], as_json: bool) -> int:
    from ..api.monitored import show

    first, second = show(folders[0]), show(folders[1])
    if as_json:
        runs = [first.to_json(), second.to_json()]
        click.echo(json.dumps({"schema": "oomless/monitor-comparison/1", "runs": runs}, allow_nan=False))
        return 0
    from ..report.monitor_text import comparison_text

    click.echo(comparison_text(first, second))
    return 0
