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


def _cost(
    gpu: str | None = None,
    prices: tuple[str, ...] = (),
    list_prices: bool = False,
    plot: str | None = None,
    json: bool = False,
    **options: Any,
) -> int:
    from ..api.cost import cost as cost_api
    from ..api.cost import price_table
    from ..errors import UsageError

    if list_prices:
        return show_prices(gpu, price_table(prices)[0], json)
    if gpu is None:
        raise UsageError("--gpu is missing", "say which cards: --gpu a100-80gb:8; `oomless gpus` lists them")
    answer = cost_api(gpu, prices=prices, **options)
    if plot:
        from ..report.plan_cost_svg import cost_svg
        from .files import write_svg

        write_svg(plot, cost_svg(answer))
    if json:
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
