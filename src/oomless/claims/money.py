"""Claims about prices: what dated tables say, and the arithmetic of owning against renting."""

from .. import facts
from ..estimate.serving.estimate import estimate_serving
from ..model.load import load
from ..plan.buy_or_rent import month_of_saving
from ..plan.cost import CostFlags, cost
from ..plan.crossbar import CELL_BITS, weights_in_memory
from ..plan.prices import TIERS, cheapest, known_prices, purchases
from ..run.hardware import parse_gpu
from ..run.serving import Asked, Layout
from ..speed.serving import serving_speed
from ..units import gb, mb
from . import compressed, serving
from .evidence import Evidence, Finding
from .serving import on_one_card

PRO = "profile-deepseek-pro-13b"
A100_40, A100_80 = "a100-40gb-sxm4", "a100-80gb-sxm4"


def rents(card: str, num_gpus: int) -> tuple[Finding, ...]:
    """The cheapest on-demand rent of each provider, with its date."""
    found = []
    for provider in sorted({price.provider for price in known_prices()}):
        price = cheapest(card, num_gpus, "on-demand", (provider,))
        if price is not None:
            together = (
                f", in machines of {price.gpus_per_instance}" if price.gpus_per_instance > num_gpus else ""
            )
            found.append(Finding(price.label + together, price.usd_per_gpu_hour * num_gpus, "USD/h"))
    return tuple(sorted(found, key=lambda figure: figure.value))


def c25() -> Evidence:
    """One A100 40GB: 10,000 dollars, or 3.2 an hour."""
    quotes = purchases(A100_80)
    figures = rents(A100_40, 1)
    bought = tuple(
        Finding(f"an A100 80GB, {each.date}, {end}", value, "USD")
        for each in quotes
        for end, value in (("from", each.low_usd), ("to", each.high_usd))
    )
    return Evidence(
        "depends",
        f"rents of one A100 40GB go from {figures[0].value:.2f} to "
        f"{figures[-1].value:.2f} dollars an hour on demand "
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
        Finding(f"eight cards, {each.date}, {end}", 8 * value, "USD")
        for each in quotes
        for end, value in (("from", each.low_usd), ("to", each.high_usd))
    )
    return Evidence(
        "depends",
        "80,000 dollars are eight cards without the server around them (the DGX A100 of 2020 was "
        "listed from 200,000); 25 an hour is what the "
        f"largest clouds ask on demand, others ask from {figures[0].value:.2f}",
        (*figures, *bought),
        ("oomless cost --gpu a100-80gb:8 --list-prices",),
    )


def c27() -> Evidence:
    """58 % cheaper after six months, with the guide's own prices."""
    answer = cost(CostFlags("a100-80gb:8", buy_usd=80_000.0, rent_usd_per_hour=25.0))
    words = {
        "hardware": "hardware alone",
        "power": "with electricity",
        "colocation": "with electricity and colocation",
    }
    figures = []
    for scope in answer.scopes:
        figures.append(Finding(f"saved by month six, {words[scope]}", 100 * answer.savings[scope][5], "%"))
    for scope in answer.scopes:
        figures.append(Finding(f"break-even, {words[scope]}", answer.break_even[scope] or 0.0, "months"))
        figures.append(
            Finding(
                f"58 % saved, {words[scope]}", month_of_saving(answer.question, 0.58, scope) or 0.0, "months"
            )
        )
    half = cost(CostFlags("a100-80gb:8", buy_usd=80_000.0, rent_usd_per_hour=25.0, utilization=0.5))
    server = cost(CostFlags("a100-80gb:8", buy_usd=200_000.0, rent_usd_per_hour=25.0))
    figures.append(
        Finding("break-even, used half of the time", half.break_even["colocation"] or 0.0, "months")
    )
    figures.append(
        Finding("break-even, a server of 200,000 dollars", server.break_even["colocation"] or 0.0, "months")
    )
    for tier in TIERS:
        price = cheapest(A100_80, 8, tier)
        if price is not None:
            other = cost(CostFlags("a100-80gb:8", buy_usd=80_000.0, rent_usd_per_hour=price.usd_per_hour(8)))
            month = other.break_even["colocation"]
            figures.append(
                Finding(
                    f"break-even against {price.label}" + ("" if month else ": never"), month or 0.0, "months"
                )
            )
    return Evidence(
        "does not hold",
        "with the guide's own 80,000 dollars and 25 an hour, six months save 26.7 % of the rent on "
        "hardware alone and 16.5 % with electricity and "
        "colocation; owning pays back in month 4.4 to 4.9, and saves 58 % in month 10 to 14",
        tuple(figures),
        ("oomless cost --gpu a100-80gb:8 --buy-usd 80000 --rent-usd-per-hour 25",),
    )


def quotes(card: str) -> tuple[Finding, ...]:
    """What is asked for a card, from and to, with the date of each quote."""
    return tuple(
        Finding(
            f"{each.what}, {each.date} ({each.source.split()[0]}), {end}", value / each.num_gpus, "USD a card"
        )
        for each in purchases(card)
        for end, value in (("from", each.low_usd), ("to", each.high_usd))
        if end == "from" or each.high_usd != each.low_usd
    )


def c28() -> Evidence:
    """A Jetson AGX Orin at 1,599 dollars for the 0.7B version."""
    fits = serving.c28()
    listed = [row for row in facts.table("prices") if row["kind"] == "buy" and "AGX Orin" in row["gpu"]]
    figures = tuple(
        Finding(f"{row['gpu']}, {row['source'].split(' (')[0].lower()}", float(row["price"]), row["unit"])
        for row in listed
    )
    return Evidence(
        "depends",
        "the module suits the model: it fits with room to spare; the price names no module: the only "
        "figure known here, of no date and not verified, "
        "puts 1,599 dollars to the 64 GB module; none is known of the 32 GB one, which suits it too",
        (*fits.figures, *figures),
        fits.commands,
    )


def c29() -> Evidence:
    """An H100 SXM5 at 32,000 dollars, with 2.3 times the throughput of an A100."""
    figures = list(quotes("h100-80gb-sxm5"))
    asked = [figure.value for figure in figures]
    ratios = []
    for concurrency in (1, 16, 64):
        before = rate(A100_80, None, concurrency)
        for word, quantization in (("BF16", None), ("FP8", "fp8")):
            after = rate("h100-80gb-sxm5", quantization, concurrency)
            ratios.append(after / before)
            figures.append(
                Finding(
                    f"13B, {concurrency} x 1,280 tokens, {word} on H100 over BF16 on A100", ratios[-1], "x"
                )
            )
    return Evidence(
        "depends",
        f"32,000 dollars lies among the quotes, {min(asked):,.0f} to {max(asked):,.0f}; "
        f"predicted throughput is {min(ratios):.1f} to {max(ratios):.1f} times that of an A100: "
        "less at equal precision, where bandwidth decides, more with FP8; 2.3 is one point between",
        tuple(figures),
        (
            "oomless plan profile-deepseek-pro-13b --gpu a100-80gb:1 --gpu h100:1 --engine vllm "
            "--context 1280 --output-len 256 "
            "--concurrency 16 --fastest",
        ),
    )


def rate(card: str, quantization: str | None, concurrency: int) -> float:
    """Tokens a second of the 13B profile on one card, prompts of 1,024 and answers of 256 tokens."""
    asked = Asked(quantization=quantization, max_model_len=4096, context=1280, concurrency=concurrency)
    speed = serving_speed(
        on_one_card(PRO, card, asked), input_len=1024, output_len=256, concurrency=concurrency
    )
    return speed.tokens_per_s.value


def c30() -> Evidence:
    """An L40 at 8,000 dollars, INT8 with less than 3 % loss."""
    holds = compressed.c30()
    return Evidence(
        "depends",
        "8,000 dollars is inside the quotes of the L40S, its successor; of the L40 none is known here. "
        "In INT8 it holds 13B easily and 32B just so; "
        "the loss is one of quality, which neither bytes nor prices show",
        (*holds.figures, *quotes("l40s")),
        holds.commands,
    )


def c33() -> Evidence:
    """A compute-in-memory accelerator that keeps activations inside the compute unit."""
    figures = []
    for name, gpu, tp in ((PRO, "h100", 1), ("deepseek-v3", "h200:8", 8)):
        asked = Asked(layout=Layout(tp=tp), max_model_len=4096)
        answer = estimate_serving(load(name), asked, parse_gpu(gpu))
        found = weights_in_memory(answer)
        figures += [
            Finding(f"{name}: weights that leave each card", gb(found.freed_bytes), "GB"),
            Finding(
                f"{name}: weights that stay (embedding, norms, routers)",
                gb(found.weight_bytes - found.freed_bytes),
                "GB",
            ),
            Finding(f"{name}: cells of {CELL_BITS} bits", found.num_cells, ""),
            Finding(f"{name}: weights that a token reads now", gb(found.read_now_bytes), "GB"),
            Finding(f"{name}: activations that pass converters for it", mb(found.converted_bytes), "MB"),
        ]
    return Evidence(
        "does not hold",
        "it is the other way round: a crossbar holds the weights and never moves them; activations pass "
        "converters into and out of every tile, "
        "and with the cache, norms and routers they stay outside. Less data moves, since a token's "
        "activations are hundreds to thousands of "
        "times less than its weights",
        tuple(figures),
        (f"oomless plan {PRO} --gpu h100:1 --weights-in-memory",),
    )


SETTLERS = {"C25": c25, "C26": c26, "C27": c27, "C28": c28, "C29": c29, "C30": c30, "C33": c33}
"""Claims that prices, and what-ifs of the planner, settle."""
