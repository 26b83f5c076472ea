"""`oomless cost`."""

from typing import TYPE_CHECKING, Any

import click

from ..files import json_text
from .options import asking

if TYPE_CHECKING:
    from ..plan.prices import Price


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
