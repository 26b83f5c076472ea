"""`oomless compress`: options -> a compressed checkpoint, and what it holds on stdout; `oomless compare-
models`: checkpoints beside each other on one text."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from ..files import json_text

if TYPE_CHECKING:
    from ..compress.compressed import Compressed

SHOWN_EVERY_S = 0.2


def progress_line() -> Any:
    """Return a function that renews a line on stderr; None unless it is a terminal."""
    if not sys.stderr.isatty():
        return None
    shown = [0.0]

    def show(progress: Any) -> None:
        now = time.monotonic()
        if now - shown[0] < SHOWN_EVERY_S and progress.done_bytes < progress.total_bytes:
            return
        shown[0] = now
        from ..units import format_bytes

        rate = progress.done_bytes / max(progress.elapsed_s, 0.001)
        left_s = (progress.total_bytes - progress.done_bytes) / rate if rate else 0
        print(
            f"\r{format_bytes(progress.done_bytes)} of {format_bytes(progress.total_bytes)}, "
            f"{format_bytes(int(rate))}/s, {left_s:,.0f} s left    ",
            end="\n" if progress.done_bytes >= progress.total_bytes else "",
            file=sys.stderr,
            flush=True,
        )

    return show


def _formats(given: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    found = []
    for text in given:
        pattern, equals, word = text.rpartition("=")
        if not (equals and pattern and word):
            raise UsageError(
                f"--format {text[:60]}", "write PATTERN=FORMAT: --format '*.down_proj=int8-g128'"
            )
        found.append((pattern, word))
    return tuple(found)


@click.command()
@click.argument("model", required=False)
@click.option(
    "--to",
    metavar="FORMAT",
    help="int8, int4, fp8, nvfp4, mxfp4, nf4, bf16, q8_0 ...; docs/en/compress.md lists all.",
)
@click.option(
    "--out", metavar="DIR", help="Folder to write; without it the bytes are predicted and nothing is written."
)
@click.option(
    "--keep", metavar="PATTERN", multiple=True, help="Modules that stay as they are: '*.layers.0.*'."
)
@click.option(
    "--skip", metavar="PATTERN", multiple=True, help="Weights that the result leaves out: draft layers."
)
@click.option(
    "--format", "formats", metavar="PATTERN=FORMAT", multiple=True, help="Another format for some modules."
)
@click.option("--part", metavar="I/N", help="Do one of N parts of the work; any order, any machine.")
@click.option("--parts", type=click.IntRange(2, 99999), metavar="N", help="How many parts --write plans.")
@click.option("--write", metavar="DIR", help="Write files that run --parts on Slurm, Kubernetes or Ray.")
@click.option("--join", "joined", metavar="DIR", help="Check that all parts are done, and finish the folder.")
@click.option(
    "--threads", type=click.IntRange(1, 256), metavar="N", help="Threads [one a processor, at most 4]."
)
@click.option(
    "--force", is_flag=True, help="Write into a folder that is not empty, and throw away an unfinished run."
)
@click.option("--measure", is_flag=True, help="Read the result again and give the error of each weight.")
@click.option(
    "--calibrate",
    type=click.Choice(["diagonal", "gptq", "wanda", "sparsegpt"]),
    metavar="diagonal|gptq|wanda|sparsegpt",
    help="Choose 4-bit codes, or what 2:4 keeps, by what layers are fed with on a text.",
)
@click.option("--budget", metavar="SIZE", help="Find a mix of formats whose tensor data is no larger: 12GiB.")
@click.option("--quality", is_flag=True, help="Run both models on a text: perplexity, KL, agreement.")
@click.option("--text", metavar="FILE", help="The text for all three [a sample that oomless brings].")
@click.option(
    "--compare", is_flag=True, help="All ways to keep activations on a small model: memory, time, loss."
)
@click.option(
    "--recipe",
    metavar="TOOL",
    help="Write this mix as files for llmcompressor, gptqmodel, autoround, modelopt or llama-quantize.",
)
@click.option("--report", metavar="FILE", help="Write a report: .html with plots, .json or .txt.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def compress(
    model: str | None,
    to: str | None,
    out: str | None,
    keep: tuple[str, ...],
    skip: tuple[str, ...],
    formats: tuple[str, ...],
    part: str | None,
    parts: int | None,
    write: str | None,
    joined: str | None,
    threads: int | None,
    force: bool,
    measure: bool,
    calibrate: str | None,
    budget: str | None,
    quality: bool,
    text: str | None,
    compare: bool,
    recipe: str | None,
    report: str | None,
    as_json: bool,
) -> int:
    """Compress MODEL's checkpoint for real: a folder of safetensors becomes another, or a GGUF file, in row
    blocks, at the speed of the disk."""
    from ..compress import request as api

    if compare:
        return ways(model, as_json)
    if joined is not None:
        if model is not None or to is not None:
            raise UsageError("--join takes no MODEL and no --to", "the folder's journals say what was asked")
        show(api.join(joined), report, as_json)
        return 0
    if model is None or (to is None) == (budget is None):
        raise UsageError(
            "MODEL and either --to or --budget are needed",
            "oomless compress ./DeepSeek-V2-Lite --to int4 --out ./DeepSeek-V2-Lite-int4",
        )
    asked = (model, to or "", keep, skip, _formats(formats))
    if recipe is not None:
        return write_recipe((*asked, calibrate or ""), recipe, out, as_json)
    if write is not None or parts is not None:
        return cluster_files(asked, out, parts, write)
    more: dict[str, Any] = {"calibrate": calibrate or "", "budget": budget, "quality": quality, "text": text}
    more |= {"part": part, "threads": threads, "force": force, "progress": progress_line()}
    more["measure"] = measure or as_json or report is not None
    answer = api.compress(*asked[:2], out, keep=keep, skip=skip, formats=asked[-1], **more)
    show(answer, report, as_json)
    return 0


def show(answer: "Compressed", report: str | None, as_json: bool) -> None:
    """Write the report that is asked for, then print the answer."""
    if report is not None:
        from ..files import write_whole
        from ..report.compress_report import compress_report

        write_whole(report, compress_report(answer, report), "a report")
    if as_json:
        sys.stdout.write(json_text(answer.to_json()) + "\n")
        return
    from ..report.compress_text import compress_text

    click.echo(compress_text(answer), nl=False)


def ways(model: str | None, as_json: bool) -> int:
    """Print all ways to keep activations beside each other."""
    from ..compress.backward.compare import compare
    from ..compress.backward.printed_snippet import faults
    from ..compress.backward.small_network import small_network
    from ..report.compress_text import kept_text

    if model is not None:
        raise UsageError(
            "--compare takes no MODEL",
            "for a model of your own: oomless.compress.backward.compare.compare(model, loss_of)",
        )
    found, wrong = compare(*small_network()), faults()
    if as_json:
        document = {
            "schema": "oomless/kept/1",
            "ways": [way._asdict() for way in found],
            "snippet": [fault._asdict() for fault in wrong],
        }
        click.echo(json_text(document))
    else:
        click.echo(kept_text(found, wrong), nl=False)
    return 0


def cluster_files(asked: Any, out: str | None, parts: int | None, write: str | None) -> int:
    """Write the files that run a request's parts, once the request is known to be sound."""
    from ..compress.part_files import part_files
    from ..compress.weights import CompressRequest, plan
    from ..files import write_folder

    if out is None or parts is None or write is None or not asked[1]:
        raise UsageError(
            "--write needs --to, --out and --parts", "--to int4 --out ./out --parts 16 --write ./jobs"
        )
    request = CompressRequest(*asked)
    plan(request)
    files = part_files(request, out, parts)
    write_folder(write, files, "files of a cluster")
    click.echo(f"{write}: {', '.join(sorted(files))}")
    return 0


def write_recipe(asked: Any, tool: str, out: str | None, as_json: bool) -> int:
    """Write the files of another tool's recipe, or print them, and say what their run needs."""
    from ..compress.recipe import recipe
    from ..compress.weights import CompressRequest
    from ..files import write_folder
    from ..report.compress_text import needs_line, recipe_text

    if not asked[1]:
        raise UsageError("--recipe needs --to", "--to int4 --recipe llmcompressor --out ./recipe")
    found = recipe(CompressRequest(*asked), tool)
    if out is not None:
        write_folder(out, found.files, "a recipe")
    if as_json:
        click.echo(json_text(found.to_json()))
    elif out is not None:
        click.echo(f"{out}: {', '.join(sorted(found.files))}\n{needs_line(found)}")
    else:
        click.echo(recipe_text(found), nl=False)
    return 0


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
