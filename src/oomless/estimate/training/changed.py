"""Another question about a model that does not train as asked: whether it fits, and by how much."""

from ...errors import OomlessError
from ...kept import tried
from ...run.cards import Hardware
from ...run.training import TrainingAsked
from ..serving.changes import Change
from .training_estimate import TrainingEstimate
from .whole_step import estimate_step


def change(estimate: TrainingEstimate, text: str, asked: TrainingAsked, hardware: Hardware) -> Change | None:
    """Return a change that fits and leaves more than there is now; None: it does not, or is only surer."""
    left = room(estimate, asked, hardware)
    if left is None or left <= estimate.headroom_bytes:
        return None
    return Change(text, left - estimate.headroom_bytes, left)


def room(estimate: TrainingEstimate, asked: TrainingAsked, hardware: Hardware) -> int | None:
    """Return the headroom in bytes of another question about the same model; None where it does not fit."""

    def answered() -> int | None:
        try:
            other = estimate_step(estimate.model, asked, hardware, estimate.companions)
        except OomlessError:
            return None
        return other.headroom_bytes if other.verdict == "fits" else None

    return tried((asked, hardware), answered)
