"""`oomless plan`, and `oomless cost`: buy or rent what was planned."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..api.plan import OF_THE_ANSWER
from ..files import json_text
from .options import asking

if TYPE_CHECKING:
    from ..api.plan import LargestModels, PlanAnswer
    from ..plan.answer import Plan
    from ..plan.prices import Price
    from ..plan.training_answer import TrainingPlan


def _plan(model: str | None, **options: Any) -> int:
    from ..api.plan import LargestModels, plan_answer
    from ..files import need_new_folder
    from .files import need_place

    how = {name: options.pop(name, None) for name in OF_THE_ANSWER}
    need_place(how["plot"], "--plot", ".svg")
    if how["write"]:
        need_new_folder(how["write"], f"--write {how['write']}")
    found = plan_answer(model, options)
    if isinstance(found, LargestModels):
        return show_largest(found, bool(how["json"]))
    answer = found.plan
    if how["plot"]:
        from ..report.plan_svg import plan_svg
        from .files import write_svg

        write_svg(how["plot"], plan_svg(answer))
    if how["write"] and answer.rows:
        from ..plan.launch.shell import launch_files, write_files

        pair = found.disaggregated
        files = launch_files(answer.rows[0].launch) if pair is None else pair.launch.files
        paths = write_files(files, Path(how["write"]))
        click.echo(f"written: {', '.join(map(str, paths))}", err=True)
    if how["json"]:
        click.echo(json_text(found.to_json()))
    else:
        click.echo("\n".join([text_of(answer, bool(how["front"])), *extras_of(found)]), nl=False)
    return 0 if answer.rows else 3


def show_largest(answer: "LargestModels", as_json: bool) -> int:
    """The reverse question: which models the cards hold."""
    from ..report.plan_extra_text import largest_text

    found = answer.found
    if as_json:
        click.echo(json_text(answer.to_json()))
    else:
        click.echo(largest_text(found) if found else "no model of the catalogue fits\n", nl=False)
    return 0 if found else 3


def extras_of(answer: "PlanAnswer") -> list[str]:
    """The text of what is asked beside the rows."""
    from ..report.plan_extra_text import disaggregated_text, in_memory_text

    found = []
    if answer.disaggregated is not None:
        found.append(disaggregated_text(answer.disaggregated))
    if answer.in_memory is not None:
        found.append(in_memory_text(answer.in_memory))
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


def show_prices(gpu: str | None, table: "tuple[Price, ...] | None", as_json: bool) -> int:
    """Every rent that is known, cheapest first, card by card."""
    from ..api.catalogues import price_rows
    from .catalogues import show

    columns = ("card", "usd_per_gpu_hour", "provider", "region", "tier_word", "date", "sku")
    return show(price_rows(gpu, table), columns, "prices", as_json)


def _cost(**options: Any) -> int:
    from ..api.command_question import cost_answer
    from ..api.cost import price_table

    plot, as_json = options.pop("plot", None), bool(options.pop("json", False))
    if options.pop("list_prices", False):
        return show_prices(options.get("gpu"), price_table(options.get("prices", ()))[0], as_json)
    answer = cost_answer(options)
    if plot:
        from ..report.plan_svg import cost_svg
        from .files import write_svg

        write_svg(plot, cost_svg(answer))
    if as_json:
        click.echo(json_text(answer.to_json()))
    else:
        from ..report.plan_cost_text import cost_text

        click.echo(cost_text(answer), nl=False)
    return 0


cost = asking(
    "cost",
    _cost,
    "Buy or rent: what each has cost month by month, when owning pays back, and what that hangs on.\n\n"
    "Whatever is not given is looked up, and the answer says where and of which date.",
    "\b\nExamples:\n  oomless cost --gpu a100-80gb:8 --buy-usd 80000 --rent-usd-per-hour 25\n"
    "  oomless cost --gpu h100:8 --server-usd 60000 --utilization 0.5 --provider AWS\n"
    "  oomless cost --gpu h100 --list-prices",
    takes_model=False,
)
