"""`oomless mcp`: the command line finds it by name, as it finds its own commands."""

import click

from ..errors import UsageError, need


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
