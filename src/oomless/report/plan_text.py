"""A plan for people: the first row in full, then the table, the front, what was left out and why."""

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..api.screen import rate_of, seconds
from ..plan.answer import Plan
from ..plan.candidates import Candidate, Miss, PlannedRow
from ..plan.search import PlanRow
from ..speed.band import Figure
from ..units import format_bytes, gib
from .plan_cost_text import table

if TYPE_CHECKING:
    from ..plan.training_answer import TrainingPlan
    from ..plan.training_search import TrainingRow

MOST_MISSES = 5


def plan_text(plan: Plan, with_front: bool) -> str:
    """The whole answer for serving."""
    shown = (
        [first_row(plan.rows[0]), row_table(plan)]
        if plan.rows
        else ["nothing holds the load within the limits"]
    )
    names = [f"{row.gpu} {row.runner}" for row in plan.front] if with_front else []
    return whole(plan, question_line(plan), shown, names)


def whole(plan: "Plan | TrainingPlan", question: str, shown: list[str], front: list[str]) -> str:
    """The answer around the rows, whatever for; `front`: what its rows are called, where they are asked
    for."""
    blocks = [question, *shown]
    if front:
        blocks.append(front_table(plan, front))
    blocks.append(excluded_text(plan.num_candidates, plan.num_estimates, plan.excluded, plan.misses))
    notes = "\n".join(f"note: {warning}" for warning in plan.warnings)
    return "\n\n".join([*blocks, *([notes] if notes else [])]) + "\n"


def question_line(plan: Plan) -> str:
    """What was asked."""
    wanted = plan.wanted
    return (
        f"{plan.model.name}: {wanted.concurrency} sequence{'s' if wanted.concurrency > 1 else ''} of "
        f"{plan.input_len + plan.output_len:,} tokens "
        f"({plan.input_len:,} in, {plan.output_len:,} out), the {wanted.goal}"
    )


def first_row(planned: PlannedRow[PlanRow]) -> str:
    """The best row with its price, speed and the command that starts it."""
    row = planned.row
    headroom = format_bytes(row.estimate.headroom_bytes)
    lines = [
        f"{row.gpu}, {row.asked.engine} {row.estimate.request.engine_version}, {setting(row)}: "
        f"{row.estimate.verdict}, {headroom} to spare"
    ]
    lines += price_lines(row)
    if row.speed is not None:
        speed = row.speed
        most = "at most " if speed.tokens_per_s.kind == "bound" else ""
        lines.append(
            f"  {most}{rate_of(speed.tokens_per_s.value)} tokens/s ({rate_of(speed.tokens_per_s.low)} to "
            f"{rate_of(speed.tokens_per_s.high)}), "
            f"first token {seconds(speed.ttft_s.value)} ({seconds(speed.ttft_s.low)} to "
            f"{seconds(speed.ttft_s.high)}), "
            f"then {seconds(speed.tpot_s.value)} each ({seconds(speed.tpot_s.low)} to "
            f"{seconds(speed.tpot_s.high)})"
        )
    if row.usd_per_million_tokens is not None:
        lines.append(f"  {row.usd_per_million_tokens:,.2f} USD a million output tokens")
    if planned.copies > 1:
        lines.append(
            f"  one card holds {planned.copies} such engines, each with this load: --instances "
            f"{planned.copies}; they share its speed"
        )
    return "\n".join([*lines, *start_lines(planned)])


def price_lines(row: Candidate) -> list[str]:
    """Who rents it out, and for how much; nothing where nobody does."""
    return [] if row.price is None else [f"  {row.usd_per_hour:,.2f} USD an hour ({row.price.label})"]


def start_lines(planned: "PlannedRow[PlanRow] | PlannedRow[TrainingRow]") -> list[str]:
    """What starts a row, and what asks for it again."""
    files = [f"  files for --write: {', '.join(planned.launch.files)}"] if planned.launch.files else []
    return [f"  $ {planned.launch.command}", f"  $ oomless {shlex.join(planned.arguments)}", *files]


def rate_text(rate: Figure) -> str:
    """A rate; of hardware of which nothing was measured, what it is at most."""
    return f"< {rate_of(rate.value)}" if rate.kind == "bound" else rate_of(rate.value)


def setting(row: PlanRow) -> str:
    """Layout and precision in a few words."""
    replicas = f", {row.replicas} replicas" if row.replicas > 1 else ""
    host = f", {row.asked.n_cpu_moe} layers' experts on the host" if row.asked.n_cpu_moe else ""
    return f"{row.layout_words}{replicas}, {row.weights} weights, {row.estimate.kv_cache.dtype} cache{host}"


def row_table(plan: Plan) -> str:
    """One line a row."""
    rows: list[tuple[str, ...]] = [
        (
            "",
            "cards",
            "engine",
            "setting",
            "GiB to spare",
            "tokens/s",
            "first",
            "each",
            "USD/h",
            "USD/M",
            "price of",
            "lost by",
        )
    ]
    for number, planned in enumerate(plan.rows, 1):
        row, speed = planned.row, planned.row.speed
        times = ("?", "?") if speed is None else (seconds(speed.ttft_s.value), seconds(speed.tpot_s.value))
        rows.append(cells(number, planned, row, setting(row), times, 2))
    return framed(rows, plan)


def cells(
    number: int,
    planned: "PlannedRow[PlanRow] | PlannedRow[TrainingRow]",
    row: Candidate,
    how: str,
    own: tuple[str, ...],
    digits: int,
) -> tuple[str, ...]:
    """One line of a table; `own` are the figures that are another purpose's business, `digits` those of a
    million tokens' price."""
    each = row.usd_per_million_tokens
    return (
        f"{number}{'*' if planned.on_front else ''}",
        row.gpu,
        row.runner,
        how,
        f"{gib(row.headroom_bytes):.1f}{'' if row.fits else ' (tight)'}",
        "?" if row.speed is None else rate_text(row.speed.tokens_per_s),
        *own,
        "?" if row.usd_per_hour is None else f"{row.usd_per_hour:,.2f}",
        "?" if each is None else f"{each:,.{digits}f}",
        "-" if row.price is None else row.price.label,
        planned.why,
    )


def framed(rows: list[tuple[str, ...]], plan: "Plan | TrainingPlan") -> str:
    """The table with what its marks mean."""
    more = f"\n{plan.num_more} more rows: --rows" if plan.num_more else ""
    return table(rows) + "\n* no other row is cheaper, faster and roomier" + more


def front_table(plan: "Plan | TrainingPlan", names: list[str]) -> str:
    """The front by rising price."""
    rows = [("on the front", "USD/h", "tokens/s", "GiB to spare")]
    front: Sequence[Candidate] = plan.front
    for name, row in zip(names, front, strict=True):
        rate = "?" if row.speed is None else rate_text(row.speed.tokens_per_s)
        rows.append((name, f"{row.usd_per_hour:,.2f}", rate, f"{gib(row.headroom_bytes):.1f}"))
    return table(rows)


def excluded_text(
    num_candidates: int, num_estimates: int, excluded: dict[str, int], misses: tuple[Miss, ...]
) -> str:
    """What was left out, how often, and the nearest misses."""
    counted = f"{num_candidates:,} candidates, {num_estimates:,} estimated; left out:"
    lines = [counted if excluded else counted.replace("left out:", "none was left out")]
    lines += [
        f"  {count:,}: {reason}" for reason, count in sorted(excluded.items(), key=lambda each: -each[1])
    ]
    for miss in misses[:MOST_MISSES]:
        lines.append(
            f"  nearest miss: {miss.gpu}, {miss.engine}, {miss.what}: "
            f"{format_bytes(miss.missing_bytes)} too much on a card"
        )
    return "\n".join(lines)
