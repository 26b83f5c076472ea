"""What transformers' Trainer evaluates between its steps (transformers/trainer.py, evaluation_loop)."""

from ...run.training import TrainingAsked
from .. import framework
from ..entries import Entries

WHEN = ("eval_strategy", "evaluation_strategy")
NEVER = ("no", "false")
"""What says that nothing is evaluated; YAML reads no as false."""
BATCH = ("per_device_eval_batch_size", "eval_batch_size")
USUAL_BATCH = 8
"""per_device_eval_batch_size of its training_args.py, 4.0 to 5.0."""
SHORTEST = 1024
"""The least that a sample is cut to where nobody says (LLaMA-Factory to 0.9.0)."""


def logits_made(name: str, version: str | None, loss: str | None) -> str | None:
    """Return which logits a forward of evaluation makes that those of training leave out: whole, or of
    answers; None: none.

    >>> [logits_made("trl", each, "fused") for each in ("trl 0.28.0", "trl 0.29.0")]
    ['whole', None]
    """
    return framework(name).habits(version).evaluation if loss == "fused" else None


def note_evaluation(
    entries: Entries, asked: TrainingAsked, usual: str = "no", usual_batch: int = USUAL_BATCH
) -> None:
    """Note the tokens of a batch that is evaluated during training, where its logits are more than those that
    train: it runs forward, and all of them are made. Preference and reinforcement learning are not counted.
    `usual`, `usual_batch`: when, and how many samples at once, where nobody says."""
    strategy = entries.text(*WHEN, default=usual) or usual
    batch = entries.whole(*BATCH, default=usual_batch)
    more = batch > asked.micro_batch or logits_made(asked.framework, entries.version, asked.loss)
    if strategy.lower() in NEVER or asked.task not in ("sft", "pretrain") or not more:
        return
    entries.beside["score_tokens"] = batch * (asked.seq_len or SHORTEST)
    entries.note(f"evaluation runs {batch} samples at once: per_device_eval_batch_size may say fewer")
