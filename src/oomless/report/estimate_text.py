"""A serving estimate for people: verdict first, then where the memory goes, then what the cache holds;
several side by side; and the measured runs nearest to one."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ..api.nearest_runs import MeasuredRun, Neighbour, RunFigure
from ..api.screen import WORDS, cache_lines, doubt_of, question_line, verdict_line
from ..api.serving import ServingAnswer
from ..errors import OomlessError
from ..estimate.serving.changes import Change
from ..ledger import CATEGORIES, Category, Ledger
from ..units import format_bytes, gib
from .language import spoken

BAR_WIDTH = 24
Bar = Callable[[int, int], str]
"""(bytes, capacity) -> how the share is shown."""


def print_estimate(answer: ServingAnswer, explain: str | None, colour: bool, width: int | None) -> None:
    """The whole answer on stdout; `explain` is a category, or "all", whose lines are shown with formula and
    source."""
    console = open_console(colour, width)
    style = {"fits": "bold green", "tight": "bold yellow", "does_not_fit": "bold red"}[answer.verdict]
    console.print(verdict_line(answer), style=style if colour else None, soft_wrap=True)
    for line in filter(None, (doubt_of(answer), question_line(answer), *answer.settled)):
        console.print(line, soft_wrap=True)
    console.print()
    for index, ledger in enumerate(answer.ledgers):
        mark = "  <- the worst" if len(answer.ledgers) > 1 and index == answer.worst_rank else ""
        print_barred(console, partial(rank_table, ledger, mark))
    console.print(cache_lines(answer), soft_wrap=True)
    if answer.ram_bytes:
        where = "of the same memory" if answer.hardware.card.shared_bytes else "beside the cards"
        console.print(f"host memory: {format_bytes(answer.ram_bytes)} {where}", soft_wrap=True)
    for change in answer.changes:
        console.print(f"would fit with {change.flags}: {difference(change)}", soft_wrap=True)
    for warning in answer.warnings[len(answer.settled) :]:
        console.print(f"note: {warning}", soft_wrap=True)
    if explain:
        console.print()
        print_lines(console, answer.ledger, explain)


def difference(change: Change) -> str:
    """Return how much room a change gives: a smaller pool leaves less of it, and more of the card beside it.

    >>> difference(Change("--gpu-memory-utilization 0.87", -1 << 20, 0))
    '1.00 MiB less headroom, and all of it within the card'
    """
    cost = ", at some cost of quality" if change.costs_quality else ""
    if change.saved_bytes < 0:
        return f"{format_bytes(-change.saved_bytes)} less headroom, and all of it within the card{cost}"
    return f"{format_bytes(change.saved_bytes)} more headroom{cost}"


def open_console(colour: bool, width: int | None) -> Any:
    """A rich console on stdout; only a person's answer pays for rich."""
    from rich.console import Console

    class Quiet(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # rich would exit with 1; cli.main knows better

    # Without colour there is no escape at all; what users call their files is text, not markup.
    system: Any = "auto" if colour else None
    return Quiet(
        color_system=system, highlight=False, markup=False, emoji=False, width=width, soft_wrap=False
    )


def print_comparison_table(console: Any, names: list[str], rows: list[list[str]]) -> None:
    """Print a table with a column for each variant, in GiB of its worst rank."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("worst rank, GiB")
    for name in names:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*row)
    print_table(console, table)


def print_table(console: Any, table: Any) -> None:
    """A table as wide as it must be: the lines of a narrow terminal break, but no name and no number is
    cut."""
    shown = console.width
    said(table)
    console.width = max(shown, columns_of(console, table))
    console.print(table)
    console.width = shown


def said(table: Any) -> Any:
    """Put a table's title, heads and cells into the language of the terminal, before its columns are
    measured."""
    words = spoken()
    table.title = table.title and words.printed(words.cell(table.title))
    for column in table.columns:
        column.header = words.cell(column.header)
        column._cells = [words.cell(cell) if isinstance(cell, str) else cell for cell in column._cells]
    return table


def print_barred(console: Any, build: Callable[[Bar], Any]) -> None:
    """A table with the longest bars that there is room for, with percentages alone in a narrow terminal."""
    for how in (bar, partial(bar, columns=BAR_WIDTH // 2), percent):
        table = said(build(how))
        if columns_of(console, table) <= console.width:
            break
    print_table(console, table)


def columns_of(console: Any, table: Any) -> int:
    """How wide a table is if nothing of it is cut."""
    from rich.measure import Measurement

    columns: int = Measurement.get(console, console.options.update(max_width=MOST_COLUMNS), table).maximum
    return columns


MOST_COLUMNS = 2000


def rank_table(ledger: Ledger, mark: str, bar: Bar) -> Any:
    """One group of ranks: a row a category, in GiB, with a bar of its share of the capacity."""
    from rich.table import Table

    room = f"{format_bytes(ledger.capacity_bytes)} each"
    if ledger.overrun_bytes:
        room += " beside a pool that is taken whole"
    title = f"{ledger.group}, {ledger.num_ranks} of them, {room}{mark}"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("category")
    table.add_column("GiB", justify="right")
    table.add_column("from", justify="right")
    table.add_column("to", justify="right")
    table.add_column("share of capacity", no_wrap=True)
    table.add_column("known")
    for category in CATEGORIES:
        lines = [line for line in ledger.lines if line.category == category]
        if not lines:
            continue
        kinds = [kind for kind in ("exact", "fitted", "assumed") if any(line.kind == kind for line in lines)]
        sums = (
            sum(x.bytes for x in lines),
            sum(x.low_bytes for x in lines),
            sum(x.high_bytes for x in lines),
        )
        table.add_row(category, *_row(sums), bar(sums[0], ledger.capacity_bytes), "+".join(kinds))
    totals = (ledger.total_bytes, ledger.low_bytes, ledger.high_bytes)
    table.add_row("total", *_row(totals), bar(totals[0], ledger.capacity_bytes), "", style="bold")
    return table


def _row(sums: tuple[int, int, int]) -> tuple[str, str, str]:
    value, low, high = sums
    if low == value == high:
        return f"{gib(value):.2f}", "", ""
    return f"{gib(value):.2f}", f"{gib(low):.2f}", f"{gib(high):.2f}"


def percent(num_bytes: int, capacity_bytes: int) -> str:
    """The share of the capacity in percent."""
    return f"{100 * num_bytes / capacity_bytes if capacity_bytes else 0.0:5.1f} %"


def bar(num_bytes: int, capacity_bytes: int, columns: int = BAR_WIDTH) -> str:
    """A bar of the share of the capacity, with the share in percent."""
    share = num_bytes / capacity_bytes if capacity_bytes else 0.0
    filled = min(max(round(share * columns), 1 if share > 0.002 else 0), columns)
    return f"{'#' * filled}{'.' * (columns - filled)} {percent(num_bytes, capacity_bytes)}"


def print_lines(console: Any, ledger: Ledger, category: str) -> None:
    """Each line of a rank with its formula, the numbers put in, and its source."""
    words = spoken()
    for line in ledger.lines:
        if category not in ("all", line.category):
            continue
        spread = (
            ""
            if line.low_bytes == line.high_bytes
            else f" ({gib(line.low_bytes):.3f} to {gib(line.high_bytes):.3f})"
        )
        console.print(
            f"{words.said(line.category)}: {words.line(line.key, line.what)}  "
            f"{gib(line.bytes):.4f} GiB{spread}, {line.kind}",
            soft_wrap=True,
        )
        console.print(f"    = {line.formula}", soft_wrap=True)
        console.print(f"    source: {line.source}", soft_wrap=True)


def evidence_text(found: tuple[Neighbour, ...]) -> str:
    """Return the runs, the nearest first: what ran, what it had otherwise, its figures, its source."""
    if not found:
        return "no measured run is near: another model on another card at the most"
    lines = ["measured runs nearest to it, of which nothing goes into the answer:"]
    for each in found:
        lines.append(f"  {ran(each.run)}")
        lines.append(f"    differs in {', '.join(each.differs)}" if each.differs else "    the same setting")
        lines += [f"    {figure_text(figure)}" for figure in each.run.figures]
        lines.append(f"    source: {each.run.source}")
    return "\n".join(lines)


def ran(run: MeasuredRun) -> str:
    """Return what ran, in a line."""
    sizes = [f"{axis} {size}" for axis, size in (("TP", run.tp), ("PP", run.pp)) if size not in ("", "1")]
    parts = (run.model, run.stored, f"{run.engine} {run.engine_version}".strip(), run.card, *sizes)
    length = f"{int(run.length):,} tokens" if run.length.isdecimal() else run.length
    return ", ".join(filter(None, (*parts, length)))


def figure_text(figure: RunFigure) -> str:
    """Return a quantity: measured, predicted with its interval, how far off."""
    words = figure.quantity.replace("_", " ")
    values = (figure.measured, figure.predicted, figure.low, figure.high)
    whole = figure.unit in ("tokens", "bytes")
    measured, predicted, low, high = (f"{value:,.0f}" if whole else f"{value:,.2f}" for value in values)
    off = f"{round(100 * figure.error, 1) or 0.0:+.1f} %"
    return f"{words}: measured {measured} {figure.unit}, predicted {predicted} ({low} to {high}), {off}"


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
    axes = {"TP": 1} | estimate.request.worked.axes
    text = ", ".join(f"{axis} {size}" for axis, size in axes.items())
    return text + (f", x{estimate.replicas}" if estimate.replicas > 1 else "")
