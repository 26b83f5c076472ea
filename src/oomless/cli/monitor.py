"""`oomless monitor`: what a watched run left behind, a budget for a command, metrics for Prometheus."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import UsageError, did_you_mean
from ..files import json_text

if TYPE_CHECKING:
    from ..monitor.watched_run import WatchedRun

ACTIONS = ("show", "dashboard")
OVER = 3
"""Exit code of a command that took more than its budget."""


@click.command(
    context_settings={"ignore_unknown_options": False, "allow_interspersed_args": True},
    epilog="\b\nExamples:\n  oomless monitor show oomless_runs/20261126-101500-4242\n"
    "  oomless monitor show --compare oomless_runs/before oomless_runs/after\n"
    "  oomless monitor --budget 22GiB -- pytest tests/gpu\n"
    "  oomless monitor --exporter 127.0.0.1:9400 oomless_runs\n"
    "  oomless monitor dashboard monitoring",
)
@click.argument(
    "words", nargs=-1, type=click.UNPROCESSED, metavar="show RUN | dashboard DIR | [RUNS] | -- CMD"
)
@click.option("--plot", metavar="FILE", help="Draw the run into this SVG file.")
@click.option("--html", metavar="FILE", help="Write the run as one page.")
@click.option("--row", "rows", is_flag=True, help="Print measured rows (CSV) as validate reads them.")
@click.option("--calibrate", is_flag=True, help="Keep what the run teaches for later answers on its card.")
@click.option("--compare", nargs=2, metavar="RUN_A RUN_B", help="Two runs side by side.")
@click.option("--budget", metavar="SIZE", help="End with 3 if the command behind -- takes more memory.")
@click.option("--exporter", metavar="ADDR", help="Serve Prometheus metrics of runs at HOST:PORT.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def monitor(
    words: tuple[str, ...],
    plot: str | None,
    html: str | None,
    rows: bool,
    calibrate: bool,
    compare: tuple[str, str] | None,
    budget: str | None,
    exporter: str | None,
    as_json: bool,
) -> int:
    """What a watched run left behind: memory by category and line, beside the prediction; what grows; what
    would have fitted. Runs are written by `oomless run` and by `oomless.monitor.watch`."""
    if sum(each is not None for each in (compare, budget, exporter)) > 1:
        raise UsageError("--compare, --budget and --exporter are three questions", "ask one of them")
    if budget is not None:
        return _keep_budget(words, budget, as_json)
    if exporter is not None:
        return _export(words, exporter)
    if compare is not None:
        return _compare(compare, as_json)
    if not words or words[0] not in ACTIONS:
        hint = did_you_mean(words[0], ACTIONS) if words else "oomless monitor show RUN"
        raise UsageError(f"monitor what: {words[0] if words else 'nothing is said'}", hint)
    if words[0] == "dashboard" and len(words) == 2:
        return _write_dashboard(words[1])
    if len(words) != 2:
        hint = "oomless monitor show RUN; two by --compare RUN_A RUN_B"
        raise UsageError(f"`monitor {words[0]}` takes one folder", hint)
    from ..api.monitored import show
    from .files import need_place

    need_place(plot, "--plot", ".svg")
    need_place(html, "--html")
    run = show(words[1])
    if calibrate:
        _calibrate(run)
    return _rows(run) if rows else _show(run, plot, html, as_json)


def _calibrate(run: "WatchedRun") -> None:
    from ..api.calibrations import watched
    from .files import keep_calibrations

    needs = "a run teaches whose model and card are known by name, and which neither grew nor filled its card"
    keep_calibrations(watched(run), needs, "runs")


def _rows(run: "WatchedRun") -> int:
    from ..api.watched_rows import measured_rows
    from .files import print_rows

    print_rows(measured_rows(run))
    return 0


def _show(run: "WatchedRun", plot: str | None, html: str | None, as_json: bool) -> int:
    from ..api.monitored import highest_step
    from ..files import write_whole
    from .files import write_svg

    if plot is not None or html is not None:
        from ..report.monitor_svg import run_html, run_svg

        course = highest_step(run.worst.run)
        if plot is not None:
            write_svg(plot, run_svg(run, course))
        if html is not None:
            write_whole(Path(html), run_html(run, course), f"--html {html}")
    if as_json:
        click.echo(json_text(run.to_json()))
    else:
        from ..report.monitor_text import run_text

        click.echo(run_text(run))
    return 0


def _compare(folders: tuple[str, str], as_json: bool) -> int:
    from ..api.monitored import show

    first, second = show(folders[0]), show(folders[1])
    if as_json:
        runs = [first.to_json(), second.to_json()]
        click.echo(json_text({"schema": "oomless/monitor-comparison/1", "runs": runs}))
        return 0
    from ..report.monitor_text import comparison_text

    click.echo(comparison_text(first, second))
    return 0


def _keep_budget(words: tuple[str, ...], size: str, as_json: bool) -> int:
    from ..api.budget import kept_budget
    from ..monitor.launcher import die_like
    from ..units import parse_bytes

    budget = parse_bytes(size)
    if not words:
        raise UsageError("--budget is for a command", f"oomless monitor --budget {size} -- pytest")
    ended, found = kept_budget(words, budget)
    if as_json:
        click.echo(json_text(found.to_json()), err=True)
    else:
        from ..report.monitor_text import budget_line

        click.echo(budget_line(found), err=True)
    if ended.code or ended.signal is not None:
        return die_like(ended)
    return OVER if found.is_over else 0


def _export(words: tuple[str, ...], address: str) -> int:
    from ..errors import need
    from ..monitor.exporter import exporter
    from ..monitor.place import RUNS

    need("prometheus_client", "monitor")
    folders = [Path(word) for word in words] or [Path(RUNS)]
    server = exporter(address, folders)
    host, port = server.server_address[:2]
    click.echo(
        f"oomless: metrics of {', '.join(map(str, folders))} at http://{host!s}:{port}/metrics", err=True
    )
    try:
        server.serve_forever(poll_interval=0.5)
    except KeyboardInterrupt:
        return 0
    finally:
        server.server_close()
    return 0


def _write_dashboard(folder: str) -> int:
    from importlib.resources import files

    from ..files import write_whole

    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    for name in ("oomless-dashboard.json", "oomless-alerts.yml"):
        text = files("oomless.monitor").joinpath("grafana", name).read_text(encoding="utf-8")
        write_whole(place / name, text, name)
        click.echo(place / name)
    return 0
