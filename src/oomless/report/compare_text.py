"""Several estimates side by side: what they hold by category, verdicts, capacities."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ..api.screen import WORDS
from ..api.serving import ServingAnswer
from ..errors import OomlessError
from ..ledger import CATEGORIES, Category
from ..units import gib
from .estimate_text import open_console, print_comparison_table

Answer = ServingAnswer | OomlessError
"""Of one variant: what it holds, or why it cannot run."""


def print_comparison(names: list[str], answers: Sequence[Answer], width: int | None, colour: bool) -> None:
    """A table with a column for each variant, in GiB of its worst rank; below it why others cannot run."""
    console = open_console(colour, width)
    print_comparison_table(console, names, comparison_rows(answers))
    for name, answer in zip(names, answers, strict=True):
        if isinstance(answer, OomlessError):
            console.print(f"{name}: {answer.message}", style="yellow")


def variant_json(answer: Answer) -> dict[str, Any]:
    """The answer of one variant: that of `infer --json`, or its error."""
    if isinstance(answer, OomlessError):
        return {"error": {"message": answer.message, "hint": answer.hint, "exit_code": answer.code}}
    return answer.to_json()


def comparison_rows(answers: Sequence[Answer]) -> list[list[str]]:
    """The rows of the table as text."""
    estimates = [each for each in answers if not isinstance(each, OomlessError)]

    def row(title: str, value: Callable[[ServingAnswer], str]) -> list[str]:
        return [title, *("-" if isinstance(each, OomlessError) else value(each) for each in answers)]

    verdicts = ["cannot run" if isinstance(each, OomlessError) else WORDS[each.verdict] for each in answers]
    rows = [["verdict", *verdicts], row("layout", _layout)]
    for category in CATEGORIES:
        if any(category in estimate.ledger.by_category() for estimate in estimates):
            rows.append(row(category, partial(_category, category)))
    rows.append(row("total", lambda e: f"{gib(e.ledger.total_bytes):.2f}"))
    rows.append(row("capacity", lambda e: f"{gib(e.ledger.capacity_bytes):.2f}"))
    rows.append(row("headroom", lambda e: f"{gib(e.headroom_bytes):.2f}"))
    rows.append(row("cache, tokens", lambda e: f"{e.kv_cache.max_tokens:,}"))
    rows.append(row("bytes a token", lambda e: f"{e.kv_cache.bytes_per_token:,.10g}"))
    rows.append(row("sequences at once", lambda e: f"{e.kv_cache.max_concurrency:,.2f}"))
    return rows


def _category(category: Category, estimate: ServingAnswer) -> str:
    return f"{gib(estimate.ledger.by_category().get(category, 0)):.2f}"


def _layout(estimate: ServingAnswer) -> str:
    layout = estimate.request.layout
    text = (
        f"TP {layout.tp}"
        + (f", PP {layout.pp}" if layout.pp > 1 else "")
        + (f", DP {layout.dp}" if layout.dp > 1 else "")
    )
    return text + (f", x{estimate.replicas}" if estimate.replicas > 1 else "")
