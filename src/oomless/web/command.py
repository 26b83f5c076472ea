"""`oomless web` and `oomless mcp`: the command line finds them by name, as it finds its own commands."""

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


@click.command(
    epilog="\b\nExamples:\n  oomless mcp                  # an agent starts it and talks over stdio\n"
    "  oomless mcp --http --port 8766   # at http://127.0.0.1:8766/mcp",
)
@click.option("--http", is_flag=True, help="Serve over HTTP on this machine's loopback, not over stdio.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=None, help="Port of --http; 0 takes a free one [8766]."
)
def mcp(http: bool, port: int | None) -> int:
    """Tools for agents (Model Context Protocol): infer, train, plan, tune, speed, cost, reconcile, claims,
    models, gpus, engines, typed by the table of options."""
    if port is not None and not http:
        raise UsageError("--port goes with --http", "over stdio there is no port", "port")
    need("mcp", "mcp")
    from .agents import serve_http, serve_stdio

    return serve_http(8766 if port is None else port) if http else serve_stdio()
