"""Several estimates side by side: what they hold by category, verdicts, capacities."""

from typing import Any

from ..estimate.serving import Estimate
from ..ledger import CATEGORIES
from ..units import gib
from .estimate_text import WORDS, open_console


def print_comparison(names: list[str], estimates: list[Estimate], width: int | None, colour: bool) -> None:
    """A table with a column for each variant, in GiB of its worst rank."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("worst rank, GiB")
    for name in names:
        table.add_column(name, justify="right")
    for row in comparison_rows(estimates):
        table.add_row(*row)
    open_console(colour, width).print(table)


def comparison_rows(estimates: list[Estimate]) -> list[list[str]]:
    """The rows of the table as text."""

    def row(title: str, value: Any) -> list[str]:
        return [title, *(value(estimate) for estimate in estimates)]

    rows = [row("verdict", lambda e: WORDS[e.verdict])]
    rows.append(row("layout", _layout))
    for category in CATEGORIES:
        if any(category in estimate.ledger.by_category() for estimate in estimates):
            rows.append(row(category, lambda e, c=category: f"{gib(e.ledger.by_category().get(c, 0)):.2f}"))
    rows.append(row("total", lambda e: f"{gib(e.ledger.total_bytes):.2f}"))
    rows.append(row("capacity", lambda e: f"{gib(e.ledger.capacity_bytes):.2f}"))
    rows.append(row("headroom", lambda e: f"{gib(e.headroom_bytes):.2f}"))
    rows.append(row("cache, tokens", lambda e: f"{e.kv_cache.max_tokens:,}"))
    rows.append(row("bytes a token", lambda e: f"{e.kv_cache.bytes_per_token:,.10g}"))
    rows.append(row("sequences at once", lambda e: f"{e.kv_cache.max_concurrency:,.2f}"))
    return rows


def _layout(estimate: Estimate) -> str:
    layout = estimate.request.layout
    assert layout is not None
    text = f"TP {layout.tp}" + (f", PP {layout.pp}" if layout.pp > 1 else "") + (f", DP {layout.dp}" if layout.dp > 1 else "")
    return text + (f", x{estimate.replicas}" if estimate.replicas > 1 else "")
