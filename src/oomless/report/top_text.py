"""`oomless top` as text: cards with a bar each, then processes, predicted beside used, as wide as the
screen."""

import time
from typing import TYPE_CHECKING

from ..files import shown
from ..units import format_bytes

if TYPE_CHECKING:
    from ..monitor.cards import CardUse
    from ..monitor.machine_view import MachineView, ProcessView

WIDE, WIDE_BAR, NARROW_BAR, LEAST_WIDTH = 100, 20, 8, 60
FULL, EMPTY = "█", "░"
HEADS = ("pid", "user", "cards", "used", "predicted", "apart", "what")
NUMBERS = frozenset({0, 3, 4, 5})
NOTHING = "no process on a card, and none that is watched"


def top_lines(view: "MachineView", width: int, height: int | None = None) -> list[str]:
    """Return the lines of the screen, none wider than it, no more than it has; the last one says what is left
    out."""
    width = max(width, LEAST_WIDTH)
    lines = [first_line(view), *(card_line(card, width) for card in view.cards)]
    if not view.cards:
        lines.append(f"no cards: {shown(view.problem or 'none is there', width - 12)}")
    lines.append("")
    lines += process_lines(view)
    if height is not None and len(lines) > height:
        hidden = len(lines) - height + 1
        lines = [*lines[: height - 1], f"... {hidden:,} more lines; a larger screen shows them"]
    return [clipped(line, width) for line in lines]


def first_line(view: "MachineView") -> str:
    """Return the machine, its memory and the time."""
    used = view.total_bytes - view.available_bytes
    clock = time.strftime("%H:%M:%S", time.localtime(view.time))
    return (
        f"{shown(view.host_name, 40)}  {clock}  host {format_bytes(used)} of {format_bytes(view.total_bytes)}"
    )


def card_line(card: "CardUse", width: int) -> str:
    """Return a card: how full, how busy, how warm."""
    length = WIDE_BAR if width >= WIDE else NARROW_BAR
    share = card.used_bytes / card.total_bytes if card.total_bytes else 0.0
    full = min(round(length * share), length)
    busy = f"{card.busy:>3} % busy" if card.busy is not None else " " * 10
    warm = f"{card.celsius:>3} °C" if card.celsius is not None else " " * 6
    size = f"{format_bytes(card.used_bytes):>11} of {format_bytes(card.total_bytes)}"
    bar = FULL * full + EMPTY * (length - full)
    return f"{card.number:>2} {bar} {size}  {busy} {warm}  {shown(card.name, 40)}"


def process_lines(view: "MachineView") -> list[str]:
    """Return a row a process, and one more for what is known of its memory."""
    if not view.processes:
        return [NOTHING]
    rows = [HEADS, *(row_of(each) for each in view.processes)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(HEADS))]
    lines = [joined(HEADS, widths)]
    for each, row in zip(view.processes, rows[1:], strict=True):
        lines.append(joined(row, widths))
        detail = detail_of(each)
        if detail:
            lines.append(f"{' ' * widths[0]}  {detail}")
    return lines


def joined(row: tuple[str, ...], widths: list[int]) -> str:
    """Return one row."""
    cells = [
        cell.rjust(width) if at in NUMBERS else cell.ljust(width)
        for at, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()


def row_of(view: "ProcessView") -> tuple[str, ...]:
    """Return a process: where it is, what it has, what was predicted."""
    predicted, used = view.predicted_bytes, view.used_bytes
    beside = view.rank.peak_bytes if view.rank is not None and view.rank.peak_bytes else used
    apart = f"{100 * (predicted / beside - 1):+.1f} %" if predicted and beside else ""
    return (
        str(view.process.pid),
        shown(view.process.user, 12),
        ",".join(str(index) for index, _ in view.card_bytes) or "host",
        format_bytes(used),
        format_bytes(predicted) if predicted else "-",
        apart,
        what_of(view),
    )


def what_of(view: "ProcessView") -> str:
    """Return what a process does, in a few words."""
    if view.rank is not None:
        step = view.rank.step.step if view.rank.step else 0
        return f"{shown(view.rank.start.model, 40)} rank {view.rank.start.rank}, step {step:,}"
    if view.serving is not None:
        return f"{view.serving.engine} {shown(view.serving.model, 40)}".rstrip()
    return shown(view.process.name, 40)


def detail_of(view: "ProcessView") -> str:
    """Return what is known of a process's memory: categories at its peak and growth, or an engine's
    figures."""
    if view.rank is not None:
        rank, parts = view.rank, []
        if rank.sample is not None:
            largest = sorted(rank.sample.by_category.items(), key=lambda each: -each[1])
            parts.append(
                f"peak {format_bytes(rank.peak_bytes)}: "
                + ", ".join(f"{name} {format_bytes(num_bytes)}" for name, num_bytes in largest if num_bytes)
            )
        if rank.growth:
            left = f", full in {rank.steps_left:,} steps" if rank.steps_left is not None else ""
            parts.insert(0, f"grows {format_bytes(rank.growth)} a step{left}")
        return "; ".join(parts)
    if view.serving is not None:
        figures = ", ".join(f"{name.replace('_', ' ')} {value:,.4g}" for name, value in view.serving.figures)
        return figures or (
            f"not predicted: {shown(view.serving.problem, 80)}" if view.serving.problem else ""
        )
    return ""


def clipped(line: str, width: int) -> str:
    """Return a line that fits.

    >>> clipped("abcdef", 4)
    'abc…'
    """
    return line if len(line) <= width else line[: width - 1] + "…"
