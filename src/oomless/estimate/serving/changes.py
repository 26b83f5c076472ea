"""A change of a serving question, and the answer to one; which changes are tried is tuning's business."""

from typing import NamedTuple

from ...run.serving import Asked
from .estimate import Estimate, estimate_serving


class Change(NamedTuple):
    """A change of the question, by its flags."""

    flags: str
    saved_bytes: int
    """How much headroom the worst rank gains."""
    headroom_bytes: int
    costs_quality: bool = False
    """Whether cache or weights become narrower."""


def again(estimate: Estimate, asked: Asked) -> Estimate:
    """Return the answer to another question about the same model, cards and machine."""
    return estimate_serving(estimate.model, asked, estimate.cards or estimate.hardware, estimate.adjust)
