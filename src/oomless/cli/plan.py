"""`oomless plan`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..api.cost import price_table
from ..files import json_text
from .options import asking

if TYPE_CHECKING:
    from ..plan.answer import Plan
    from ..plan.prices import Price
    from ..plan.training_answer import TrainingPlan


def _plan(
    model: str | None,
    purpose: str = "infer",
    prices: tuple[str, ...] = (),
    front: bool = False,
    largest_model: bool = False,
    plot: str | None = None,
    write: str | None = None,
    revision: str | None = None,
    offline: bool = False,
    json: bool = False,
    longest_context: bool = False,
    least_quantized: bool = False,
    disaggregate: bool = False,
    weights_in_memory: bool = False,
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
        return show_largest(model, purpose, options, table, json)
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
    if json:
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


plan = asking(
    "plan",
    _plan,
    "Which cards and which setting serve MODEL, ranked; each row with the command that starts it.\n\n"
    "Every row was estimated and fits; what may not fit is marked tight and comes last.",
    "\b\nExamples:\n  oomless plan deepseek-r1 --for infer --context 32768 --concurrency 64\n"
    "  oomless plan deepseek-r1 --gpu h200 --gpu b200 --fastest --max-ttft-s 5\n"
    "  oomless plan deepseek-r1-distill-qwen-32b --gpu rtx-4090:1 --write start",
)
