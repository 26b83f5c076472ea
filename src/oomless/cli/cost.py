"""`oomless cost`."""

from typing import TYPE_CHECKING, Any

import click

from ..files import json_text
from .infer import complete_gpu

if TYPE_CHECKING:
    from ..plan.prices import Price

OPTIONS: tuple[tuple[str, type, str], ...] = (
    ("--buy-usd", float, "Price of all cards together [the middle of the quotes that are known]."),
    ("--buy-usd-per-gpu", float, "Price of one card."),
    ("--server-usd", float, "Price of the machines around the cards [0]."),
    ("--network-usd", float, "Price of switches and cables [0]."),
    ("--rent-usd-per-hour", float, "Rent of all cards together [the cheapest offer that is known]."),
    ("--provider", str, "Take the rent of this provider."),
    ("--region", str, "Take the rent of this region."),
    ("--power-kw", float, "Power of the whole machine [by its maker, or by its cards]."),
    ("--pue", float, "Power of the site over that of its machines [a world average]."),
    ("--usd-per-kwh", float, "Price of electricity [of one region, named in the answer]."),
    (
        "--colocation-usd-per-kw-month",
        float,
        "Price of space, by power [of one market, named in the answer]; 0: own rooms.",
    ),
    ("--staff-usd-per-month", float, "Share of a salary that the machine takes [0]."),
    ("--utilization", float, "Share of all hours that the machine is used [1]."),
    ("--resale", float, "Share of the purchase price that a sale after a year brings [0]."),
    ("--discount-rate", float, "By how much a dollar in a year counts less [0]."),
    ("--months", int, "How far to look [36]."),
    ("--tokens-per-s", float, "What the machine serves, for the cost of a million tokens."),
    ("--spread", float, "Share by which the sensitivity moves what no table gives a range of [0.25]."),
)


def cost_options() -> list[click.Parameter]:
    """The options as click's."""
    from ..plan.prices import TIERS

    found: list[click.Parameter] = [
        click.Option(["--gpu"], help="Cards to own or to rent: a100-80gb:8.", shell_complete=complete_gpu),
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
            ["--list-prices"],
            is_flag=True,
            help="List the rents that are known (of --gpu, if given) and stop.",
        ),
        click.Option(["--plot"], help="Write a picture of the answer to this .svg file."),
        click.Option(["--json", "as_json"], is_flag=True, help="One JSON object on stdout."),
    ]
    found[1:1] = [click.Option([name], type=kind, default=None, help=text) for name, kind, text in OPTIONS]
    return found


def price_table(words: tuple[str, ...]) -> "tuple[tuple[Price, ...] | None, list[str]]":
    """The prices that count, and what was left out of the user's files; None: those of the tables."""
    if not words:
        return None, []
    from ..plan.price_files import STALE_DAYS, age_days, read_prices

    found: list[Price] = []
    notes: list[str] = []
    for word in words:
        imported = read_prices(word)
        found += imported.prices
        notes += [f"left out: {each}" for each in imported.dropped]
        if imported.unknown_cards:
            notes.append(f"{word}: cards that are not known here: {', '.join(imported.unknown_cards)}")
        age = age_days(imported.prices[0].date)
        if age is not None and age > STALE_DAYS:
            notes.append(f"{word}: the prices are {age} days old")
    return tuple(found), notes


def show_prices(gpu: str | None, table: "tuple[Price, ...] | None", as_json: bool) -> int:
    """Every rent that is known, cheapest first, card by card."""
    from ..plan.cards import short_name
    from ..plan.prices import known_prices
    from ..run.hardware import parse_gpu
    from .catalogues import show

    wanted = short_name(parse_gpu(gpu).card) if gpu else None
    prices = known_prices() if table is None else table
    rows = [each for each in prices if wanted in (None, each.card)]
    rows.sort(key=lambda each: (each.card, each.usd_per_gpu_hour, each.label))
    columns = ("card", "usd_per_gpu_hour", "provider", "region", "tier_word", "date", "sku")
    return show([each._asdict() for each in rows], columns, "oomless/prices/1", as_json)


def _cost(
    gpu: str | None,
    prices: tuple[str, ...],
    list_prices: bool,
    plot: str | None,
    as_json: bool,
    **options: Any,
) -> int:
    from ..errors import UsageError
    from ..plan.cost import Given, cost

    table, notes = price_table(prices)
    if list_prices:
        return show_prices(gpu, table, as_json)
    if gpu is None:
        raise UsageError("--gpu is missing", "say which cards: --gpu a100-80gb:8; `oomless gpus` lists them")
    answer = cost(
        Given(gpu, **{name: value for name, value in options.items() if value is not None}), table, notes
    )
    if plot:
        from ..report.plan_cost_svg import cost_svg
        from .files import write_svg

        write_svg(plot, cost_svg(answer))
    if as_json:
        click.echo(json_text(answer.to_json()))
    else:
        from ..report.plan_cost_text import cost_text

        click.echo(cost_text(answer), nl=False)
    return 0


cost = click.Command(
    "cost",
    callback=_cost,
    params=cost_options(),
    help="Buy or rent: what each has cost month by month, when owning pays back, and what that hangs on.\n\n"
    "Whatever is not given is looked up, and the answer says where and of which date.",
    epilog="\b\nExamples:\n  oomless cost --gpu a100-80gb:8 --buy-usd 80000 --rent-usd-per-hour 25\n"
    "  oomless cost --gpu h100:8 --server-usd 60000 --utilization 0.5 --provider AWS\n"
    "  oomless cost --gpu h100 --list-prices",
)
