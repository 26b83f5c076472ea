"""`oomless plan`."""

import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .cost import price_table
from .serving import complete_gpu, complete_model

if TYPE_CHECKING:
    from ..plan.answer import Plan
    from ..plan.in_memory import InMemory
    from ..plan.training_answer import TrainingPlan

ONE_EACH: tuple[tuple[str, type, str], ...] = (
    ("--context", int, "Tokens of each sequence, prompt and output [8192, or the model's own if that is less]."),
    ("--concurrency", int, "Sequences at once [1]."),
    ("--output-len", int, "Output of each sequence, part of --context [an eighth of it]."),
    ("--seq-len", int, "Training: tokens of a sequence [4096]."),
    ("--global-batch", int, "Training: sequences of a step over all cards [one micro-batch a rank]."),
    ("--precision", str, "Training: types of weights, gradients and states [the framework's]."),
    ("--optimizer", str, "Training: optimizer [the framework's]."),
    ("--lora-rank", int, "Training: rank of the adapters [8]."),
    ("--max-model-len", int, "Longest sequence that the engine shall admit [--context]."),
    ("--budget-usd-per-hour", float, "No dearer rent than this."),
    ("--max-ttft-s", float, "No later first token than this."),
    ("--max-tpot-s", float, "No slower tokens than this."),
    ("--min-tokens-per-s", float, "No fewer output tokens a second than this, all sequences together."),
    ("--max-gpus", int, "No more cards than this [32; training 64]."),
    ("--host-memory", str, "Memory of the host that layers or experts may take: 256GiB [none]."),
    ("--instances", int, "Copies of the engine on each card, which divide its memory [1]."),
    ("--rows", int, "Rows to show [10]."),
)
SEVERAL: tuple[tuple[str, str], ...] = (
    ("--engine", "Engine to plan for [those that are known on the card]."),
    ("--quantization", "Form of the weights: none (as published), fp8, w4a16, q4_k_m ..."),
    ("--kv-cache-dtype", "Type of the cache [the engine's own; fp8 where that does not fit]."),
    ("--framework", "Training: framework to plan for [those whose launch files are known]."),
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
        click.Option(["--method"], type=click.Choice(["full", "lora", "qlora"]), help="Training: what is trained [full]."),
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
        click.Option(
            ["--weights-in-memory"], is_flag=True, help="What if the first row's weights lay in a compute-in-memory crossbar."
        ),
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
    weights_in_memory: bool,
    plot: str | None,
    write: str | None,
    revision: str | None,
    offline: bool,
    as_json: bool,
    **options: Any,
) -> int:
    from ..errors import UsageError
    from ..plan.ask import plan_for

    if model is None:
        raise UsageError("MODEL is missing", "name a model: oomless plan deepseek-r1 --for infer; `oomless models` lists them")
    table, notes = price_table(prices)
    answer = plan_for(purpose, model, options, table, offline, revision)
    answer = answer._replace(warnings=(*answer.warnings, *notes))
    what_if = in_memory_of(answer) if weights_in_memory else None
    if plot:
        from ..report.plan_svg import plan_svg
        from .files import write_svg

        write_svg(plot, plan_svg(answer))
    if write and answer.rows:
        from ..plan.launch.write import write_launch

        write_launch(answer.rows[0].launch, Path(write))
    if as_json:
        extra = {"weights_in_memory": what_if._asdict()} if what_if else {}
        click.echo(jsonlib.dumps({**answer.to_json(), **extra}))
    else:
        click.echo(text_of(answer, front), nl=False)
        if what_if:
            from ..report.plan_extra_text import in_memory_text

            click.echo("\n" + in_memory_text(what_if), nl=False)
    return 0 if answer.rows else 3


def in_memory_of(answer: "Plan | TrainingPlan") -> "InMemory | None":
    """The what-if of the first row of serving."""
    from ..errors import UsageError
    from ..plan.answer import Plan
    from ..plan.in_memory import weights_in_memory

    if not isinstance(answer, Plan):
        raise UsageError("--weights-in-memory belongs to --for infer", "a crossbar that trains has no tensors to count")
    return weights_in_memory(answer.rows[0].row.estimate) if answer.rows else None


def text_of(answer: "Plan | TrainingPlan", front: bool) -> str:
    """The answer for people."""
    from ..plan.answer import Plan

    if isinstance(answer, Plan):
        from ..report.plan_text import plan_text

        return plan_text(answer, front)
    from ..report.plan_training_text import plan_training_text

    return plan_training_text(answer, front)


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
