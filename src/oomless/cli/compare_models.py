"""`oomless compare-models`: checkpoints beside each other on one text, and the memory of equal quality."""

from pathlib import Path

import click

from ..errors import UsageError
from ..files import json_text


@click.command("compare-models")
@click.argument("models", nargs=-1, metavar="MODEL OTHER ...")
@click.option("--text", metavar="FILE", help="The text that all of them are judged on [the shipped sample].")
@click.option(
    "--within",
    type=click.FloatRange(0, 100),
    default=1.0,
    metavar="PERCENT",
    help="How many percent more bits a byte count as equal quality [1].",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def compare_models(models: tuple[str, ...], text: str | None, within: float, as_json: bool) -> int:
    """Which of these checkpoints writes as well in less memory: each runs on one text, layer by layer, and a
    byte of the text is what counts, so that tokens may differ."""
    from ..compress.checkpoint.source import read_source
    from ..compress.quality.side_by_side import least_memory, side_by_side
    from ..compress.request import text_of
    from ..report.compress_text import side_by_side_text

    if len(models) < 2:
        raise UsageError(
            "compare-models needs two models or more",
            "oomless compare-models ./DeepSeek-V2-Lite ./DeepSeek-V2-Lite-int4",
        )
    sources = [(Path(model).resolve().name, read_source(model)) for model in models]
    found = side_by_side(sources, text_of(text))
    least = [least_memory(each, found, within / 100) for each in found]
    if as_json:
        rows = [
            {**each.to_json(), "equal_quality": {"model": one.name, "num_bytes": one.num_bytes}}
            for each, one in zip(found, least, strict=True)
        ]
        click.echo(
            json_text({"schema": "oomless/compared-models/1", "within_percent": within, "models": rows})
        )
    else:
        click.echo(side_by_side_text(found, least), nl=False)
    return 0
