"""A plan as one SVG: the page's picture of price against speed as a file of its own."""

from ..plan.answer import Plan
from ..plan.training_answer import TrainingPlan
from .chart.picture import picture
from .language import spoken
from .page.plan import chart_of, question


def plan_svg(plan: Plan | TrainingPlan) -> str:
    """Return the picture. Rows without a price or a speed have no place in it."""
    words = spoken()
    chart = chart_of([*plan.rows], words)
    charts = [] if chart is None else [("", chart)]
    return picture(words("plan.picture"), charts, [question(plan, words), words("plan.points")])
