"""`oomless web`: the command line finds it by name, as it finds its own commands."""

import click

from ..errors import UsageError, need

NAMES = ("127.0.0.1", "localhost", "::1")


@click.command(
    epilog="\b\nExamples:\n  oomless web\n  oomless web --port 9000\n"
    "  oomless web --export site --pyodide node_modules/pyodide\n"
    "  ssh -L 8765:127.0.0.1:8765 server   # then open http://127.0.0.1:8765 here",
)
@click.option("--port", type=click.IntRange(0, 65535), default=8765, help="Port; 0 takes a free one [8765].")
@click.option("--host", default="127.0.0.1", help="A name of this machine's loopback [127.0.0.1].")
@click.option(
    "--export", "folder", default=None, help="Write the page as a static site into this new folder."
)
@click.option(
    "--pyodide",
    default=None,
    help="--export: folder of npm's package pyodide, whose loader the site takes along.",
)
def web(port: int, host: str, folder: str | None, pyodide: str | None) -> int:
    """The page in a browser, and the same answers as JSON under /api: on this machine's loopback alone."""
    if folder is not None:
        from .export import export

        if left := export(folder, pyodide):
            click.echo(left, err=True)
        return 0
    if pyodide is not None:
        raise UsageError(
            "--pyodide goes with --export", "name a folder for the site: --export site", "pyodide"
        )
    if host not in NAMES:
        raise UsageError(
            f"--host {host}: only this machine is served",
            "leave it out; from another machine: ssh -L 8765:127.0.0.1:8765 and this machine's name",
            "host",
        )
    need("uvicorn", "web")
    need("starlette", "web")
    from .server import application
    from .serving import serve

    return serve(host, port, application())
