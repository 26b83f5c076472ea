"""The estimate of a whole step: its update, and the other moments of one that compares or generates."""

from ...model.model import Model
from ...run.cards import Hardware
from ...run.training import TrainingAsked
from .estimate import estimate_training
from .loading import beside_loading, in_step
from .post_training import PAIRS, after, asked_update
from .training_estimate import Companions, TrainingEstimate

SEVERAL_MOMENTS = ("dpo", "kto", "grpo", "ppo")
"""Tasks whose step is more than an update, whatever stands beside the policy."""


def estimate_step(
    model: Model, asked: TrainingAsked, hardware: Hardware, companions: Companions | None = None
) -> TrainingEstimate:
    """Return the estimate of a step with what stands beside the policy; None: what the task has of itself.
    The worst rank's ledger is that of its fullest moment.

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> asked = TrainingAsked(task="dpo", method="lora", seq_len=1024)
    >>> estimate_step(load("deepseek-llm-7b"), asked, parse_gpu("h100")).after.peak.name
    'score'
    """
    estimate = estimate_training(model, asked_update(asked), hardware)._replace(asked=asked)
    if asked.task in PAIRS:
        note = (
            f"--micro-batch {asked.micro_batch} counts pairs: {2 * asked.micro_batch} sequences run at once"
        )
        estimate = estimate._replace(warnings=(note, *estimate.warnings))
    if companions is None and asked.task not in SEVERAL_MOMENTS:
        return estimate
    companions = companions or Companions()
    found = beside_loading(after(in_step(estimate), companions), estimate)
    groups = list(estimate.groups)
    groups[estimate.worst_rank] = groups[estimate.worst_rank]._replace(ledger=found.ledger)
    return estimate._replace(groups=tuple(groups), after=found, companions=companions)
