"""Catalogues and this machine: models, gpus, engines, doctor, completion."""

import os
import sys
from typing import Any

import click

from .. import __version__, facts
from ..files import json_text
from ..units import format_bytes, gib


def show(rows: list[dict[str, Any]], columns: tuple[str, ...], schema: str, as_json: bool) -> int:
    """Rows as one JSON object, or as a table of the chosen columns."""
    if as_json:
        click.echo(json_text({"schema": schema, "rows": rows}))
        return 0
    widths = [max(map(len, (column, *(str(row[column] or "") for row in rows)))) for column in columns]
    click.echo("  ".join(column.ljust(width) for column, width in zip(columns, widths, strict=True)).rstrip())
    for row in rows:
        cells = (str(row[column] if row[column] is not None else "") for column in columns)
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
    return 0


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.option("--families", is_flag=True, help="The model types whose configs can be read.")
@click.argument("pattern", default="")
def models(as_json: bool, families: bool, pattern: str) -> int:
    """Models of the catalogue whose name contains PATTERN, with parameters and checkpoint size."""
    from ..errors import UnsupportedError
    from ..model.families import FAMILIES
    from ..model.load import load

    if families:
        kinds = [{"model_type": name, "reader": module} for name, module in FAMILIES.items()]
        return show(kinds, ("model_type", "reader"), "oomless/families/1", as_json)
    found = [
        row
        for row in facts.table("catalogue")
        if pattern.lower() in row["name"] or pattern.lower() in row["hub_id"].lower()
    ]
    if not found:
        from ..errors import UsageError, did_you_mean

        known = [row["name"] for row in facts.table("catalogue")]
        raise UsageError(f"no model contains {pattern!r}", did_you_mean(pattern, known, "oomless models"))
    rows: list[dict[str, Any]] = []
    for row in found:
        try:
            model = load(row["name"])
        except UnsupportedError:
            continue  # a config that is shipped before its family can be read
        rows.append(
            {
                "name": model.name,
                "hub_id": row["hub_id"] or None,
                "num_parameters": model.num_parameters,
                "checkpoint_bytes": model.checkpoint_bytes,
                "max_positions": model.max_positions,
                "stored": model.quantization or model.dtype.name,
                "source": row["source"],
                "checked": row["checked"] == "yes",
                "billions": f"{model.num_parameters / 1e9:.2f}",
                "GiB": f"{gib(model.checkpoint_bytes):.1f}",
            }
        )
    return show(
        rows, ("name", "billions", "GiB", "stored", "max_positions", "hub_id"), "oomless/models/1", as_json
    )


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.argument("pattern", default="")
def gpus(as_json: bool, pattern: str) -> int:
    """Cards whose name contains PATTERN: the memory that counts (the smallest of marketed, driver and seen
    size), bandwidth, compute capability, the lowest rent on demand."""
    from ..facts.hardware import cards_by_short_name
    from ..plan.prices import cheapest
    from ..run.cards import aliases, cards

    known = cards_by_short_name()
    others: dict[str, list[str]] = {}
    for alias, (target, _) in aliases().items():
        others.setdefault(target, []).append(alias)
    rows = [
        {
            "short_name": name,
            "also": ", ".join(others.get(name, [])),
            "name": card.name,
            "vendor": card.vendor,
            "memory_bytes": card.memory_bytes,
            "memory_source": card.memory_source,
            "gpus_per_node": card.gpus_per_node,
            "confidence": card.confidence,
            "GiB": f"{gib(card.memory_bytes):.2f}",
            "GB/s": known[name]["bw_gbs"] or None,
            "capability": card.compute_capability or None,
            "usd_per_hour": None if (price := cheapest(name, 1)) is None else price.usd_per_gpu_hour,
        }
        for name, card in cards().items()
        if any(pattern.lower() in each.lower() for each in (name, card.name, *others.get(name, [])))
    ]
    if not rows:
        from ..errors import UsageError, did_you_mean

        raise UsageError(
            f"no card contains {pattern!r}", did_you_mean(pattern, [*cards(), *aliases()], "oomless gpus")
        )
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
    return show(rows, columns, "oomless/gpus/1", as_json)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def engines(as_json: bool) -> int:
    """Serving engines and the versions whose memory rules were read; others take the rules of the version
    before."""
    from ..engines import engines as records

    rows = [
        {"engine": each.name, "versions": ", ".join(each.versions), "default": each.latest}
        for each in records()
    ]
    return show(rows, ("engine", "default", "versions"), "oomless/engines/1", as_json)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def doctor(as_json: bool) -> int:
    """What a bug report needs: versions, this machine's cards, caches, extras."""
    rows = [{"what": name, "value": value} for name, value in machine().items()]
    return show(rows, ("what", "value"), "oomless/doctor/1", as_json)


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
