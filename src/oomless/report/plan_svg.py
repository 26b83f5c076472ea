"""A plan and a cost answer as one SVG each: price against speed, what owning and renting have cost month by
month, and the tornado of what that hangs on."""

from ..plan.answer import Plan
from ..plan.cost import Cost
from ..plan.training_answer import TrainingPlan
from .chart.axes import Axis, Chart
from .chart.bars import Bar, BarGroup, BarPart, bars
from .chart.picture import picture
from .language import Phrases, spoken
from .page.cost import curves_of, price, verdict
from .page.plan import chart_of, question
from .plan_cost_text import amount


def plan_svg(plan: Plan | TrainingPlan) -> str:
    """Return the picture. Rows without a price or a speed have no place in it."""
    words = spoken()
    chart = chart_of([*plan.rows], words)
    charts = [] if chart is None else [("", chart)]
    return picture(words("plan.picture"), charts, [question(plan, words), words("plan.points")])


def cost_svg(answer: Cost) -> str:
    """Return the picture."""
    words = spoken()
    charts = [(words("cost.picture"), curves_of(answer, words))]
    if answer.swings:
        charts.append((words("cost.hangs"), tornado(answer, words)))
    return picture(verdict(answer, words), charts, [price(answer, words)])


def tornado(answer: Cost, words: Phrases) -> Chart:
    """Return one bar an input, from the saving at one end of its range to that at the other."""
    rows = []
    for swing in answer.swings:
        first, second = sorted((swing.saving_at_low, swing.saving_at_high))
        name = words.known(f"input.{swing.what}", swing.what)
        label = f"{name} {amount(swing.low)} – {amount(swing.high)}"
        parts = (BarPart("predicted", 100 * (second - first), label),)
        rows.append(Bar(label, parts, f"{first:.0%} … {second:.0%}".replace("-", "−"), start=100 * first))
    ends = [100 * share for swing in answer.swings for share in (swing.saving_at_low, swing.saving_at_high)]
    axis = Axis(words("cost.axis_saved", month=answer.swing_month), max(ends), min(ends))
    return bars([BarGroup("", tuple(rows))], axis, words("cost.hangs"))
