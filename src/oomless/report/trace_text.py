"""A traced run for people: what it needs first, then the peak by category and by module, the phases, and
where a card runs out."""

from functools import partial
from typing import Any

from ..ledger import Compared
from ..recording.traced import ModuleNode, Traced
from ..units import format_bytes, gib
from .estimate_text import Bar, open_console, print_barred, print_lines, print_table
from .language import spoken

DEPTH = 4
SMALL_SHARE = 0.002
"""Modules below this share of the peak are left out of the tree."""


def verdict_line(traced: Traced) -> str:
    """The peak, and whether the card holds it."""
    peak, replayed = traced.peak, traced.replayed
    text = (
        f"peak {gib(peak.bytes):.3f} GiB in the {peak.phase.name}: "
        f"{gib(replayed.peak_allocated):.3f} GiB allocated, "
    )
    text += (
        f"{gib(replayed.peak_reserved):.3f} GiB reserved; runs on "
        f"{format_bytes(traced.smallest_capacity_bytes)} or more"
    )
    if traced.verdict is None:
        return text
    word = "fits" if traced.verdict == "fits" else "does not fit"
    return f"{word}: {text} ({traced.card}, {gib(traced.capacity_bytes or 0):.2f} GiB)"


def question_line(traced: Traced) -> str:
    """What was asked, in one line."""
    request, words = traced.recording.request, spoken()
    shown = [str(request.get("model"))]
    for key in ("for", "method", "precision", "optimizer", "sharding", "recompute", "dtype", "attention"):
        value = request.get(key)
        if value not in (None, "", "none"):
            shown.append(f"{words.cell(key)} {value}")
    if request.get("for") == "infer":
        shown.append(words.said(f"{request.get('concurrency')} x {request.get('context'):,} tokens"))
    elif request.get("seq_len"):
        shown.append(words.said(f"{request.get('micro_batch')} x {request.get('seq_len'):,} tokens"))
    if request.get("world_size", 1) > 1:
        shown.append(f"rank {request.get('rank')} of {request.get('world_size')}")
    if traced.settings.text():
        shown.append(traced.settings.text())
    return words("comma").join(shown)


def print_trace(
    traced: Traced, root: ModuleNode, explain: str | None, colour: bool, width: int | None
) -> None:
    """The whole answer on stdout."""
    console = open_console(colour, width)
    style = "bold red" if traced.verdict == "does_not_fit" else "bold green"
    console.print(verdict_line(traced), style=style if colour else None, soft_wrap=True)
    console.print(question_line(traced), soft_wrap=True)
    console.print(
        f"{len(traced.recording.tensors.sizes):,} tensors, {len(traced.recording.events):,} events",
        soft_wrap=True,
    )
    console.print()
    print_barred(console, partial(category_table, traced))
    print_table(console, phase_table(traced))
    print_table(console, module_table(root))
    failure = traced.limited.failure if traced.limited else None
    if failure is not None:
        tensors = traced.recording.tensors
        number = traced.recording.events[failure.event]
        console.print(
            f"runs out at event {failure.event:,}: {format_bytes(failure.size)} for "
            f"{tensors.operator_names[tensors.operators[number]]}"
            f" in {tensors.module_names[tensors.modules[number]] or 'no module'}, with "
            f"{len(failure.alive):,} tensors alive, "
            f"{gib(failure.allocated_bytes):.3f} GiB allocated and "
            f"{gib(failure.reserved_bytes):.3f} GiB reserved",
            soft_wrap=True,
        )
    for warning in traced.recording.warnings:
        console.print(f"note: {warning}", soft_wrap=True)
    if explain:
        console.print()
        print_lines(console, traced.ledger, explain)


def _table(title: str, *columns: str) -> Any:
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", no_wrap=True)
    return table


def category_table(traced: Traced, bar: Bar) -> Any:
    """What is alive at the peak, by category."""
    table = _table("alive at the peak", "category", "GiB", "share")
    for category, num_bytes in traced.by_category().items():
        table.add_row(category, f"{gib(num_bytes):.3f}", bar(num_bytes, traced.peak.bytes))
    return table


def phase_table(traced: Traced) -> Any:
    """The most bytes alive in each phase of each step."""
    table = _table("most alive in a phase", "phase", "step", "GiB")
    shown: dict[tuple[str, int], int] = {}
    for phase, num_bytes in traced.phases:
        key = (phase.name, phase.step)
        shown[key] = max(shown.get(key, 0), num_bytes)
    for (name, step), num_bytes in shown.items():
        table.add_row(name, str(step + 1), f"{gib(num_bytes):.3f}")
    return table


def module_table(root: ModuleNode) -> Any:
    """The tree of modules, with the largest category of each."""
    table = _table("alive at the peak by module", "module", "GiB", "share")
    table.add_column("mostly", no_wrap=True)

    def add(node: ModuleNode, depth: int) -> None:
        total = node.bytes * node.num
        if depth > DEPTH or not total or total < SMALL_SHARE * root.bytes:
            return
        mostly = sorted(node.by_kind.items(), key=lambda item: -item[1])[:2]
        label = f"{node.name} ({node.num} x {gib(node.bytes):.3f} GiB)" if node.num > 1 else node.name
        words = ", ".join(f"{kind} {100 * num_bytes / node.bytes:.0f} %" for kind, num_bytes in mostly)
        table.add_row(
            f"{'  ' * depth}{label}", f"{gib(total):.3f}", f"{100 * total / root.bytes:.1f} %", words
        )
        for child in node.children:
            add(child, depth + 1)

    add(root, 0)
    return table


def print_against(rows: tuple[Compared, ...], colour: bool, width: int | None) -> None:
    """Both ledgers side by side, with the difference a line."""
    console = open_console(colour, width)
    table = _table(
        "closed form against trace",
        "category",
        "closed form GiB",
        "trace GiB",
        "difference GiB",
        "of the peak",
    )
    whole = next(row.measured or 0 for row in rows if row.key == "peak")
    for row in rows:
        table.add_row(
            moment_words(row.key),
            f"{gib(row.predicted or 0):.4f}",
            f"{gib(row.measured or 0):.4f}",
            f"{gib(row.difference):+.4f}",
            f"{100 * row.difference / whole if whole else 0:+.2f} %",
        )
    print_table(console, table)


def moment_words(key: str) -> str:
    """Return what people read for the key of a comparison: a category as it is, a phase's peak in words.

    >>> moment_words("peak.backward"), moment_words("weights")
    ('most in the backward', 'weights')
    """
    return f"most in the {key.removeprefix('peak.')}" if key.startswith("peak.") else key


def print_check(rows: list[Compared], colour: bool, width: int | None) -> None:
    """What a real run on this CPU allocated, beside the trace."""
    console = open_console(colour, width)
    table = _table(
        "a real step on this CPU against its trace",
        "phase",
        "measured B",
        "traced B",
        "difference B",
        "error",
    )
    for row in rows:
        table.add_row(
            moment_words(row.key).removeprefix("most in the "),
            f"{row.measured or 0:,}",
            f"{row.predicted or 0:,}",
            f"{row.difference:+,}",
            f"{100 * (row.error or 0):+.4f} %",
        )
    print_table(console, table)
