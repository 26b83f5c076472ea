"""`oomless plan`."""

import json as jsonlib
from pathlib import Path
from typing import Any

import click

from .cost import price_table
from .serving import complete_gpu, complete_model

ONE_EACH: tuple[tuple[str, type, str], ...] = (
    ("--context", int, "Tokens of each sequence, prompt and output [8192, or the model's own if that is less]."),
    ("--concurrency", int, "Sequences at once [1]."),
    ("--output-len", int, "Output of each sequence, part of --context [an eighth of it]."),
    ("--max-model-len", int, "Longest sequence that the engine shall admit [--context]."),
    ("--budget-usd-per-hour", float, "No dearer rent than this."),
    ("--max-ttft-s", float, "No later first token than this."),
    ("--max-tpot-s", float, "No slower tokens than this."),
    ("--min-tokens-per-s", float, "No fewer output tokens a second than this, all sequences together."),
    ("--max-gpus", int, "No more cards than this [32]."),
    ("--host-memory", str, "Memory of the host that layers or experts may take: 256GiB [none]."),
    ("--instances", int, "Copies of the engine on each card, which divide its memory [1]."),
    ("--rows", int, "Rows to show [10]."),
)
SEVERAL: tuple[tuple[str, str], ...] = (
    ("--engine", "Engine to plan for [those that are known on the card]."),
    ("--quantization", "Form of the weights: none (as published), fp8, w4a16, q4_k_m ..."),
    ("--kv-cache-dtype", "Type of the cache [the engine's own; fp8 where that does not fit]."),
    ("--vendor", "Cards of this maker alone."),
    ("--provider", "Rents of this provider alone."),
    ("--region", "Rents of this region alone."),
)


def plan_options() -> list[click.Parameter]:
    """The options as click's."""
    from ..plan.prices import TIERS

    found: list[click.Parameter] = [
        click.Argument(["model"], required=False, shell_complete=complete_model),
        click.Option(["--for", "purpose"], type=click.Choice(["infer", "train"]), default="infer", help="What for [infer]."),
        click.Option(["--gpu"], multiple=True, help="Cards: h200 (any number), h200:8 (these). [all]", shell_complete=complete_gpu),
    ]
    found += [click.Option([name], type=kind, default=None, help=text) for name, kind, text in ONE_EACH]
    found += [click.Option([name], multiple=True, help=text) for name, text in SEVERAL]
    found += [
        click.Option(["--cheapest"], is_flag=True, help="Rank by rent [this one]."),
        click.Option(["--fastest"], is_flag=True, help="Rank by tokens a second."),
        click.Option(["--fewest"], is_flag=True, help="Rank by number of cards."),
        click.Option(["--tier"], type=click.Choice([*TIERS, "any"]), default="on-demand", help="What kind of rent [on-demand]."),
        click.Option(["--prices"], multiple=True, help="Prices of your own: a CSV in SkyPilot's schema (PROVIDER=PATH), or gpuhunt."),
        click.Option(["--front"], is_flag=True, help="Show the rows that no other beats in price, speed and headroom."),
        click.Option(["--plot"], help="Write a picture of price against speed to this .svg file."),
        click.Option(["--write"], help="Write the first row's launch files into this new folder."),
        click.Option(["--revision"], help="Revision of a hub repository."),
        click.Option(["--offline"], is_flag=True, help="Ask no network; use what is cached or in the catalogue."),
        click.Option(["--json", "as_json"], is_flag=True, help="One JSON object on stdout."),
    ]
    return found


def _plan(
    model: str | None,
    purpose: str,
    prices: tuple[str, ...],
    front: bool,
    plot: str | None,
    write: str | None,
    revision: str | None,
    offline: bool,
    as_json: bool,
    **options: Any,
) -> int:
    from ..errors import UsageError
    from ..plan.answer import plan_serving
    from ..plan.ask import wanted_from

    if model is None:
        raise UsageError("MODEL is missing", "name a model: oomless plan deepseek-r1 --for infer; `oomless models` lists them")
    if purpose == "train":
        raise UsageError("plans for training are not there yet", "ask for --for infer")
    wanted = wanted_from(options)
    table, notes = price_table(prices)
    answer = plan_serving(model, wanted, table, offline=offline, revision=revision)
    answer = answer._replace(warnings=(*answer.warnings, *notes))
    if plot:
        from ..report.plan_svg import plan_svg
        from .files import write_svg

        write_svg(plot, plan_svg(answer))
    if write and answer.rows:
        from ..plan.launch.write import write_launch

        write_launch(answer.rows[0].launch, Path(write))
    if as_json:
        click.echo(jsonlib.dumps(answer.to_json()))
    else:
        from ..report.plan_text import plan_text

        click.echo(plan_text(answer, front), nl=False)
    return 0 if answer.rows else 3


plan = click.Command(
    "plan",
    callback=_plan,
    params=plan_options(),
    help="Which cards and which setting serve MODEL, ranked; each row with the command that starts it.\n\n"
    "Every row was estimated and fits; what may not fit is marked tight and comes last.",
    epilog="\b\nExamples:\n  oomless plan deepseek-r1 --for infer --context 32768 --concurrency 64\n"
    "  oomless plan deepseek-r1 --gpu h200 --gpu b200 --fastest --max-ttft-s 5\n"
    "  oomless plan deepseek-r1-distill-qwen-32b --gpu rtx-4090:1 --write start",
)
