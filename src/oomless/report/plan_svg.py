"""A plan as one SVG: the page's picture of price against speed as a file of its own."""

from ..plan.answer import Plan
from ..plan.training_answer import TrainingPlan
from .language import spoken
from .page.chart import PLOT_HEIGHT, PLOT_WIDTH
from .page.html import Html
from .page.plan import chart_of
from .svg import text

HEAD = 40
"""Above the picture, for its title."""
STYLE = (
    "text{font:12px sans-serif;fill:#17202a}.axis{font-size:13px;font-weight:600}"
    ".grid{stroke:#d5dbe1;fill:none}.curve{fill:none;stroke-width:2.5}"
    ".front{stroke:#1f4e79;stroke-dasharray:6 4}.best{fill:#1f4e79}"
    ".other{fill:#8a8a8a}"
)
"""The page's colours on white: what asset style.css says there."""


def plan_svg(plan: Plan | TrainingPlan) -> str:
    """The picture. Rows without a price or a speed have no place in it."""
    words = spoken()
    chart = chart_of([*plan.rows], words) or Html("")
    title = text(16, 26, f"{load_of(plan)}{words('colon')}{words('plan.picture')}", 14, "bold")
    placed = chart.replace("<svg ", f'<svg y="{HEAD}" height="{PLOT_HEIGHT:g}" ', 1)
    width, height = f"{PLOT_WIDTH:g}", f"{PLOT_HEIGHT + HEAD:g}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img">\n<style>{STYLE}</style>\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{title}\n{placed}\n</svg>\n'
    )


def load_of(plan: Plan | TrainingPlan) -> str:
    """What is served or trained, in a few words."""
    if isinstance(plan, Plan):
        return f"{plan.model.name}, {plan.wanted.concurrency} x {plan.input_len + plan.output_len:,} tokens"
    return f"{plan.model.name}, {plan.training.method} training at {plan.training.seq_len:,} tokens"
