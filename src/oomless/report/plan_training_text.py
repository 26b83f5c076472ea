"""A plan for training for people: the first row in full, the table, what was left out."""

from ..api.screen import seconds
from ..plan.candidates import NO_LAUNCH
from ..plan.duration import Duration
from ..plan.training_answer import TrainingPlan
from ..plan.training_search import TrainingRow
from ..units import format_bytes
from .plan_text import cells, framed, price_lines, start_lines, whole


def plan_training_text(plan: TrainingPlan, with_front: bool) -> str:
    """The whole answer."""
    training = plan.training
    batch = f", {training.global_batch} sequences a step" if training.global_batch else ""
    question = (
        f"{plan.model.name}: {training.method} training at {training.seq_len:,} "
        f"tokens{batch}, the {plan.wanted.goal}"
    )
    none = (
        "nothing that a launch file can say holds the step within the limits"
        if plan.excluded.get(NO_LAUNCH)
        else "nothing holds the step within the limits"
    )
    shown = [first_row(plan), row_table(plan)] if plan.rows else [none]
    names = [f"{row.gpu} {row.runner} {setting(row)}" for row in plan.front] if with_front else []
    return whole(plan, question, shown, names)


def first_row(plan: TrainingPlan) -> str:
    """The best row with its price, speed and the command that starts it."""
    planned = plan.rows[0]
    row = planned.row
    lines = [
        f"{row.gpu}, {row.runner}, {setting(row)}: {row.estimate.verdict}, "
        f"{format_bytes(row.headroom_bytes)} to spare"
    ]
    lines += price_lines(row)
    if row.speed is not None:
        speed = row.speed
        lines.append(
            f"  {speed.tokens_per_s.value:,.0f} tokens/s ({speed.tokens_per_s.low:,.0f} to "
            f"{speed.tokens_per_s.high:,.0f}), "
            f"a step {seconds(speed.step_s.value)}, {speed.mfu.value:.0%} of the peak"
        )
    if row.cost is not None:
        lines.append(f"  {row.cost:,.3f} USD a million trained tokens")
    lines += whole_lines(plan, row)
    return "\n".join([*lines, *start_lines(planned)])


def whole_lines(plan: TrainingPlan, row: TrainingRow) -> list[str]:
    """How long the whole training takes and what it costs, where it is asked."""
    found = plan.whole(row)
    if found is None:
        return []
    days, usd = found.days, found.usd
    paid = "" if usd is None else f", {usd.value:,.0f} USD ({usd.low:,.0f} to {usd.high:,.0f})"
    lines = [
        f"  {plan.training.billion_tokens:,g} billion tokens: {days.value:,.2f} days "
        f"({days.low:,.2f} to {days.high:,.2f}){paid}"
    ]
    if found.checkpoint_every_s is not None:
        lines.append(
            f"  interruptions take {found.lost:.1%} of it, with a checkpoint of "
            f"{format_bytes(row.estimate.disk_bytes)} every {seconds(found.checkpoint_every_s)}"
        )
    return lines


def setting(row: TrainingRow) -> str:
    """Mesh, recomputation and batch in a few words."""
    request = row.estimate.request
    away = f", {' and '.join(request.offload)} on the host" if request.offload else ""
    return (
        f"{row.layout_words}, recompute {request.recompute}, {row.asked.micro_batch} x "
        f"{request.grad_accum} a rank{away}"
    )


def row_table(plan: TrainingPlan) -> str:
    """One line a row."""
    rows: list[tuple[str, ...]] = [
        (
            "",
            "cards",
            "framework",
            "setting",
            "GiB to spare",
            "tokens/s",
            "step",
            "of peak",
            *(("days", "USD") if plan.training.billion_tokens else ()),
            "USD/h",
            "USD/M",
            "price of",
            "lost by",
        )
    ]
    for number, planned in enumerate(plan.rows, 1):
        row, speed = planned.row, planned.row.speed
        own: tuple[str, ...] = ("?", "?")
        if speed is not None:
            own = seconds(speed.step_s.value), f"{speed.mfu.value:.0%}"
        own += whole_cells(plan.whole(row)) if plan.training.billion_tokens else ()
        rows.append(cells(number, planned, row, setting(row), own, 3))
    return framed(rows, plan)


def whole_cells(found: Duration | None) -> tuple[str, ...]:
    """Days and dollars of the whole training."""
    if found is None:
        return "?", "?"
    return f"{found.days.value:,.2f}", "?" if found.usd is None else f"{found.usd.value:,.0f}"
