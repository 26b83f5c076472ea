"""A plan for training for people: the first row in full, the table, what was left out."""

from ..plan.training import TrainingRow, mesh_text
from ..plan.training_answer import PlannedTraining, TrainingPlan
from ..units import format_bytes, gib
from .plan_cost_text import table
from .plan_text import excluded_text, rate_text, seconds


def plan_training_text(plan: TrainingPlan, with_front: bool) -> str:
    """The whole answer."""
    training = plan.training
    batch = f", {training.global_batch} sequences a step" if training.global_batch else ""
    blocks = [f"{plan.model.name}: {training.method} training at {training.seq_len:,} tokens{batch}, the {plan.wanted.goal}"]
    if plan.rows:
        blocks += [first_row(plan.rows[0]), row_table(plan)]
        if with_front:
            blocks.append(front_table(plan))
    else:
        blocks.append("nothing holds the step within the limits")
    blocks.append(excluded_text(plan.num_candidates, plan.num_estimates, plan.excluded, plan.misses))
    notes = "\n".join(f"note: {warning}" for warning in plan.warnings)
    return "\n\n".join([*blocks, *([notes] if notes else [])]) + "\n"


def first_row(planned: PlannedTraining) -> str:
    """The best row with its price, speed and the command that starts it."""
    row = planned.row
    lines = [f"{row.gpu}, {row.runner}, {setting(row)}: {row.estimate.verdict}, {format_bytes(row.headroom_bytes)} to spare"]
    if row.price is not None:
        lines.append(f"  {row.usd_per_hour:,.2f} USD an hour ({row.price.label})")
    if row.speed is not None:
        speed = row.speed
        lines.append(
            f"  {speed.tokens_per_s.value:,.0f} tokens/s ({speed.tokens_per_s.low:,.0f} to {speed.tokens_per_s.high:,.0f}), "
            f"a step {seconds(speed.step_s.value)}, {speed.mfu.value:.0%} of the peak"
        )
    if row.cost is not None:
        lines.append(f"  {row.cost:,.3f} USD a million trained tokens")
    lines += [f"  $ {planned.launch.command}", f"  $ oomless {' '.join(planned.arguments)}"]
    if planned.launch.files:
        lines.append(f"  files for --write: {', '.join(planned.launch.files)}")
    return "\n".join(lines)


def setting(row: TrainingRow) -> str:
    """Mesh, recomputation and batch in a few words."""
    request = row.estimate.request
    away = f", {' and '.join(request.offload)} on the host" if request.offload else ""
    return f"{mesh_text(row.estimate)}, recompute {request.recompute}, {request.micro_batch} x {request.grad_accum} a rank{away}"


def row_table(plan: TrainingPlan) -> str:
    """One line a row."""
    rows = [
        ("", "cards", "framework", "setting", "GiB to spare", "tokens/s", "step", "of peak", "USD/h", "USD/M", "price of", "lost by")
    ]
    for number, planned in enumerate(plan.rows, 1):
        row = planned.row
        speed = row.speed
        tight = "" if row.fits else " (tight)"
        rows.append(
            (
                f"{number}{'*' if planned.on_front else ''}",
                row.gpu,
                row.runner,
                setting(row),
                f"{gib(row.headroom_bytes):.1f}{tight}",
                "?" if speed is None else rate_text(speed.tokens_per_s),
                "?" if speed is None else seconds(speed.step_s.value),
                "?" if speed is None else f"{speed.mfu.value:.0%}",
                "?" if row.usd_per_hour is None else f"{row.usd_per_hour:,.2f}",
                "?" if row.cost is None else f"{row.cost:,.3f}",
                "-" if row.price is None else row.price.label,
                planned.why,
            )
        )
    more = f"\n{plan.num_more} more rows: --rows" if plan.num_more else ""
    return table(rows) + "\n* no other row is cheaper, faster and roomier" + more


def front_table(plan: TrainingPlan) -> str:
    """The front by rising price."""
    rows = [("on the front", "USD/h", "tokens/s", "GiB to spare")]
    for row in plan.front:
        rate = "?" if row.rate is None else f"{row.rate:,.0f}"
        rows.append((f"{row.gpu} {row.runner} {setting(row)}", f"{row.usd_per_hour:,.2f}", rate, f"{gib(row.headroom_bytes):.1f}"))
    return table(rows)
