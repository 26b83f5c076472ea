"""Catalogues and this machine: models, gpus, engines, doctor, completion."""

import os
import sys
from typing import Any

import click

from .. import __version__, facts
from ..api.catalogues import engine_rows, gpu_rows, model_rows, rows_json
from ..files import json_text
from ..report.columns import columns as table_lines
from ..units import format_bytes


def show(rows: list[dict[str, Any]], columns: tuple[str, ...], schema: str, as_json: bool) -> int:
    """Rows as one JSON object, or as a table of the chosen columns."""
    if as_json:
        click.echo(json_text(rows_json(schema, rows)))
        return 0
    cells = [tuple("" if row[column] is None else str(row[column]) for column in columns) for row in rows]
    click.echo("\n".join(table_lines([columns, *cells])))
    return 0


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.option("--families", is_flag=True, help="The model types whose configs can be read.")
@click.argument("pattern", default="")
def models(as_json: bool, families: bool, pattern: str) -> int:
    """Models of the catalogue whose name contains PATTERN, with parameters and checkpoint size."""
    from ..model.families import FAMILIES

    if families:
        kinds = [{"model_type": name, "reader": module} for name, module in FAMILIES.items()]
        return show(kinds, ("model_type", "reader"), "families", as_json)
    columns = ("name", "billions", "GiB", "stored", "max_positions", "hub_id")
    return show(model_rows(pattern), columns, "models", as_json)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.argument("pattern", default="")
def gpus(as_json: bool, pattern: str) -> int:
    """Cards whose name contains PATTERN: the memory that counts (the smallest of marketed, driver and seen
    size), bandwidth, compute capability, the lowest rent on demand."""
    columns = (
        "short_name",
        "GiB",
        "GB/s",
        "capability",
        "usd_per_hour",
        "confidence",
        "also",
        "memory_source",
    )
    return show(gpu_rows(pattern), columns, "gpus", as_json)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def engines(as_json: bool) -> int:
    """Serving engines and the versions whose memory rules were read; others take the rules of the version
    before."""
    return show(engine_rows(), ("engine", "default", "versions"), "engines", as_json)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def doctor(as_json: bool) -> int:
    """What a bug report needs: versions, this machine's cards, caches, extras."""
    rows = [{"what": name, "value": value} for name, value in machine().items()]
    return show(rows, ("what", "value"), "doctor", as_json)


def machine() -> dict[str, str]:
    """This machine as far as oomless cares. Nothing is imported that is not already the core's."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    def package(name: str) -> str:
        try:
            return version(name)
        except PackageNotFoundError:
            return "not installed"

    from ..run.local import query_cards

    cards = [
        f"{name} ({format_bytes(total)}, {format_bytes(used)} used)" for name, total, used, _ in query_cards()
    ]
    return {
        "oomless": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "models in the catalogue": str(len(facts.table("catalogue"))),
        "cards in the catalogue": str(len(facts.table("hardware"))),
        "GPUs here": "; ".join(cards) if cards else "none found (nvidia-smi)",
        **{name: package(name) for name in ("click", "rich", "huggingface_hub", "torch", "transformers")},
        "HF_ENDPOINT": os.environ.get("HF_ENDPOINT", "not set"),
        "HF_TOKEN": "set" if os.environ.get("HF_TOKEN") else "not set",
        "HF_HOME": os.environ.get("HF_HOME", "not set"),
    }


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> int:
    """Print the completion script of a shell: eval "$(oomless completion bash)"."""
    from click.shell_completion import get_completion_class

    from .app import app

    kind = get_completion_class(shell)
    assert kind is not None
    sys.stdout.write(kind(app, {}, "oomless", "_OOMLESS_COMPLETE").source() + "\n")
    return 0
