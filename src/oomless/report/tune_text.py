"""A tuned answer for people: the best setting, then one line a layout."""

from ..api.tune_screen import tune_lines
from ..plan.tune.answer import TunedAnswer


def tune_text(answer: TunedAnswer) -> str:
    """Return the whole answer."""
    return "\n".join(tune_lines(answer)) + "\n"
