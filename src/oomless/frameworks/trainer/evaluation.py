"""What transformers' Trainer evaluates between its steps (transformers/trainer.py, evaluation_loop)."""

from ...run.training import TrainingAsked
from ..entries import Entries

WHEN = ("eval_strategy", "evaluation_strategy")
NEVER = ("no", "false")
"""What says that nothing is evaluated; YAML reads no as false."""
USUAL_BATCH = 8
"""per_device_eval_batch_size of its training_args.py, 4.0 to 5.0."""
SHORTEST = 1024
"""The least that a sample is cut to where nobody says (LLaMA-Factory to 0.9.0)."""


def note_evaluation(entries: Entries, asked: TrainingAsked) -> None:
    """Note the tokens of a batch that is evaluated during training, where it is larger than those that train:
    it runs forward, and all its logits are made. Preference and reinforcement learning are not counted."""
    strategy = entries.text(*WHEN, default="no") or "no"
    batch = entries.whole("per_device_eval_batch_size", default=USUAL_BATCH)
    if strategy.lower() in NEVER or asked.task not in ("sft", "pretrain") or batch <= asked.micro_batch:
        return
    entries.beside["score_tokens"] = batch * (asked.seq_len or SHORTEST)
    entries.note(f"evaluation runs {batch} samples at once: per_device_eval_batch_size may say fewer")
