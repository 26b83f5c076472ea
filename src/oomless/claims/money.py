"""Claims about prices: what dated tables say, and the arithmetic of owning against renting."""

from ..plan.cost import Given, cost
from ..plan.money import month_of_saving
from ..plan.prices import TIERS, cheapest, known_prices, purchases
from . import Evidence, Figure

A100_40, A100_80 = "a100-40gb-sxm4", "a100-80gb-sxm4"


def rents(card: str, num_gpus: int) -> tuple[Figure, ...]:
    """The cheapest on-demand rent of each provider, with its date."""
    found = []
    for provider in sorted({price.provider for price in known_prices()}):
        price = cheapest(card, num_gpus, "on-demand", (provider,))
        if price is not None:
            together = f", in machines of {price.gpus_per_instance}" if price.gpus_per_instance > num_gpus else ""
            found.append(Figure(price.label + together, price.usd_per_gpu_hour * num_gpus, "USD/h"))
    return tuple(sorted(found, key=lambda figure: figure.value))


def c25() -> Evidence:
    """One A100 40GB: 10,000 dollars, or 3.2 an hour."""
    quotes = purchases(A100_80)
    figures = rents(A100_40, 1)
    bought = tuple(
        Figure(f"an A100 80GB, {each.date}, {end}", value, "USD")
        for each in quotes
        for end, value in (("from", each.low_usd), ("to", each.high_usd))
    )
    return Evidence(
        "depends",
        f"rents of one A100 40GB go from {figures[0].value:.2f} to {figures[-1].value:.2f} dollars an hour on demand "
        "(provider and date below): 3.2 was a large cloud's price before 2025; "
        "10,000 dollars is inside the quotes of the 80 GB card, the 40 GB one is no longer sold new",
        (*figures, *bought),
        ("oomless cost --gpu a100-40gb --list-prices",),
    )


def c26() -> Evidence:
    """Eight A100 80GB: 80,000 dollars, or 25 an hour."""
    figures = rents(A100_80, 8)
    quotes = purchases(A100_80)
    bought = tuple(
        Figure(f"eight cards, {each.date}, {end}", 8 * value, "USD")
        for each in quotes
        for end, value in (("from", each.low_usd), ("to", each.high_usd))
    )
    return Evidence(
        "depends",
        "80,000 dollars are eight cards without the server around them (the DGX A100 of 2020 was listed from 200,000); 25 an hour is what the "
        f"largest clouds ask on demand, others ask from {figures[0].value:.2f}",
        (*figures, *bought),
        ("oomless cost --gpu a100-80gb:8 --list-prices",),
    )


def c27() -> Evidence:
    """58 % cheaper after six months, with the guide's own prices."""
    answer = cost(Given("a100-80gb:8", buy_usd=80_000.0, rent_usd_per_hour=25.0))
    words = {"hardware": "hardware alone", "power": "with electricity", "colocation": "with electricity and colocation"}
    figures = []
    for scope in answer.scopes:
        figures.append(Figure(f"saved by month six, {words[scope]}", 100 * answer.savings[scope][5], "%"))
    for scope in answer.scopes:
        figures.append(Figure(f"break-even, {words[scope]}", answer.break_even[scope] or 0.0, "months"))
        figures.append(Figure(f"58 % saved, {words[scope]}", month_of_saving(answer.question, 0.58, scope) or 0.0, "months"))
    half = cost(Given("a100-80gb:8", buy_usd=80_000.0, rent_usd_per_hour=25.0, utilization=0.5))
    server = cost(Given("a100-80gb:8", buy_usd=200_000.0, rent_usd_per_hour=25.0))
    figures.append(Figure("break-even, used half of the time", half.break_even["colocation"] or 0.0, "months"))
    figures.append(Figure("break-even, a server of 200,000 dollars", server.break_even["colocation"] or 0.0, "months"))
    for tier in TIERS:
        price = cheapest(A100_80, 8, tier)
        if price is not None:
            other = cost(Given("a100-80gb:8", buy_usd=80_000.0, rent_usd_per_hour=price.usd_per_hour(8)))
            month = other.break_even["colocation"]
            figures.append(Figure(f"break-even against {price.label}" + ("" if month else ": never"), month or 0.0, "months"))
    return Evidence(
        "does not hold",
        "with the guide's own 80,000 dollars and 25 an hour, six months save 26.7 % of the rent on hardware alone and 16.5 % with electricity and "
        "colocation; owning pays back in month 4.4 to 4.9, and saves 58 % in month 10 to 14",
        tuple(figures),
        ("oomless cost --gpu a100-80gb:8 --buy-usd 80000 --rent-usd-per-hour 25",),
    )


SETTLERS = {"C25": c25, "C26": c26, "C27": c27}
"""Claims that dated prices settle."""
