"""`oomless plan`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..files import json_text
from .cost import price_table
from .infer import complete_gpu, complete_model

if TYPE_CHECKING:
    from ..plan.answer import Plan
    from ..plan.prices import Price
    from ..plan.training_answer import TrainingPlan

ONE_EACH: tuple[tuple[str, type, str], ...] = (
    (
        "--context",
        int,
        "Tokens of each sequence, prompt and output [8192, or the model's own if that is less].",
    ),
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
    ("--host", str, "Kind of machine around the cards: epyc-9004, xeon-4th ... [the slowest that holds it]."),
    ("--instances", int, "Copies of the engine on each card, which divide its memory [1]."),
    ("--rows", int, "Rows to show [10]."),
)
ALSO = {"--host-memory": ("--host-ram", "host_memory")}
"""Other spellings of an option, and the name that it keeps."""
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
        click.Option(
            ["--for", "purpose"],
            type=click.Choice(["infer", "train"]),
            default="infer",
            help="What for [infer].",
        ),
        click.Option(
            ["--method"],
            type=click.Choice(["full", "lora", "qlora"]),
            help="Training: what is trained [full].",
        ),
        click.Option(
            ["--gpu"],
            multiple=True,
            help="Cards: h200 (any number), h200:8 (these). [all]",
            shell_complete=complete_gpu,
        ),
    ]
    found += [
        click.Option([name, *ALSO.get(name, ())], type=kind, default=None, help=text)
        for name, kind, text in ONE_EACH
    ]
    found += [click.Option([name], multiple=True, help=text) for name, text in SEVERAL]
    found += [
        click.Option(["--cheapest"], is_flag=True, help="Rank by rent [this one]."),
        click.Option(["--fastest"], is_flag=True, help="Rank by tokens a second."),
        click.Option(["--fewest"], is_flag=True, help="Rank by number of cards."),
        click.Option(
            ["--tier"],
            type=click.Choice([*TIERS, "any"]),
            default="on-demand",
            help="What kind of rent [on-demand].",
        ),
        click.Option(
            ["--prices"],
            multiple=True,
            help="Prices of your own: a CSV in SkyPilot's schema (PROVIDER=PATH), or gpuhunt.",
        ),
        click.Option(
            ["--weights-in-memory"],
            is_flag=True,
            help="What if the first row's weights lay in a compute-in-memory crossbar.",
        ),
        click.Option(
            ["--largest-model"],
            is_flag=True,
            help="In place of MODEL: the catalogue's largest models that the cards of --gpu hold.",
        ),
        click.Option(
            ["--longest-context"], is_flag=True, help="The longest sequences that the cards of --gpu hold."
        ),
        click.Option(
            ["--least-quantized"], is_flag=True, help="Put the rows with the most bits a weight first."
        ),
        click.Option(
            ["--disaggregate"],
            is_flag=True,
            help="Prefill and decode on machines of their own: how many of each.",
        ),
        click.Option(
            ["--front"], is_flag=True, help="Show the rows that no other beats in price, speed and headroom."
        ),
        click.Option(["--plot"], help="Write a picture of price against speed to this .svg file."),
        click.Option(["--write"], help="Write the first row's launch files into this new folder."),
        click.Option(["--revision"], help="Revision of a hub repository."),
        click.Option(
            ["--offline"], is_flag=True, help="Ask no network; use what is cached or in the catalogue."
        ),
        click.Option(["--json", "as_json"], is_flag=True, help="One JSON object on stdout."),
    ]
    return found


def _plan(
    model: str | None,
    purpose: str,
    prices: tuple[str, ...],
    front: bool,
    largest_model: bool,
    plot: str | None,
    write: str | None,
    revision: str | None,
    offline: bool,
    as_json: bool,
    longest_context: bool,
    least_quantized: bool,
    disaggregate: bool,
    weights_in_memory: bool,
    **options: Any,
) -> int:
    from ..errors import UsageError
    from ..files import need_new_folder
    from ..plan.request import plan_for
    from .files import need_place

    need_place(plot, "--plot", ".svg")
    if write:
        need_new_folder(write, f"--write {write}")
    table, notes = price_table(prices)
    if largest_model:
        return show_largest(model, purpose, options, table, as_json)
    if model is None:
        raise UsageError(
            "MODEL is missing",
            "name a model: oomless plan deepseek-r1; --largest-model asks which models the cards hold",
        )
    more = [
        name
        for name, asked in (("--longest-context", longest_context), ("--disaggregate", disaggregate))
        if asked
    ]
    more += [
        name
        for name, asked in (
            ("--least-quantized", least_quantized),
            ("--weights-in-memory", weights_in_memory),
        )
        if asked
    ]
    if more and purpose == "train":
        raise UsageError(f"{more[0]} belongs to --for infer", "leave it out, or ask for that")
    answer = (
        longest(model, options, table, offline, revision)
        if longest_context
        else plan_for(purpose, model, options, table, offline, revision)
    )
    if least_quantized:
        answer = least(answer)
    answer = answer._replace(warnings=(*answer.warnings, *notes))
    extras = extras_of(answer, disaggregate, weights_in_memory)
    if plot:
        from ..report.plan_svg import plan_svg
        from .files import write_svg

        write_svg(plot, plan_svg(answer))
    if write and answer.rows:
        from ..plan.launch.write import write_launch

        write_launch(answer.rows[0].launch, Path(write))
    if as_json:
        click.echo(json_text({**answer.to_json(), **{name: found for name, _, found in extras}}))
    else:
        click.echo("\n".join([text_of(answer, front), *(text for _, text, _ in extras)]), nl=False)
    return 0 if answer.rows else 3


def show_largest(
    model: str | None, purpose: str, options: dict[str, Any], table: "tuple[Price, ...] | None", as_json: bool
) -> int:
    """The reverse question: which models the cards hold."""
    from ..errors import UsageError
    from ..plan.inverse import largest_models
    from ..plan.request import wanted_from
    from ..report.plan_extra_text import largest_json, largest_text

    if model is not None or purpose != "infer":
        raise UsageError(
            "--largest-model stands in place of MODEL, and is for serving", "leave one of them out"
        )
    found = largest_models(wanted_from(options), table)
    if as_json:
        click.echo(json_text(largest_json(found)))
    else:
        click.echo(largest_text(found) if found else "no model of the catalogue fits\n", nl=False)
    return 0 if found else 3


def longest(
    model: str,
    options: dict[str, Any],
    table: "tuple[Price, ...] | None",
    offline: bool,
    revision: str | None,
) -> "Plan | TrainingPlan":
    """The reverse question: how long sequences may be; the plan of one short step if not even that fits."""
    from ..plan.answer import plan_serving
    from ..plan.inverse import STEP, longest_context
    from ..plan.request import wanted_from

    wanted = wanted_from(options)
    found = longest_context(model, wanted, table, offline=offline, revision=revision)
    return found or plan_serving(
        model, wanted._replace(context=STEP), table, offline=offline, revision=revision
    )


def least(answer: "Plan | TrainingPlan") -> "Plan | TrainingPlan":
    from ..plan.answer import Plan
    from ..plan.inverse import least_quantized

    return least_quantized(answer) if isinstance(answer, Plan) else answer


def extras_of(
    answer: "Plan | TrainingPlan", disaggregate: bool, weights_in_memory: bool
) -> list[tuple[str, str, Any]]:
    """(JSON key, text, JSON) of what is asked beside the rows."""
    from ..plan.answer import Plan

    if not isinstance(answer, Plan) or not answer.rows:
        return []
    found: list[tuple[str, str, Any]] = []
    if disaggregate and answer.search is not None:
        from ..plan import disaggregate as apart
        from ..report.plan_extra_text import disaggregated_json, disaggregated_text

        both = apart.disaggregate(answer.search, answer.all_rows)
        found.append(("disaggregated", disaggregated_text(both), disaggregated_json(both)))
    if weights_in_memory:
        from ..plan import crossbar as in_memory
        from ..report.plan_extra_text import in_memory_text

        what_if = in_memory.weights_in_memory(answer.rows[0].row.estimate)
        found.append(("weights_in_memory", in_memory_text(what_if), what_if._asdict()))
    return found


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
