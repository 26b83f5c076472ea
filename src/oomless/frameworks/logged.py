"""What a log of training says of its run, in words -> the question that it puts."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..run.training import TrainingAsked
from .megatron.run import Megatron

RANK = r"\[(?:[Rr]ank ?|RANK )(\d+)\]()"
"""The prefix by which torchrun's children tell their rank."""


class LogWords(NamedTuple):
    """What the lines of a run say."""

    program: str
    """The framework that wrote the log."""
    path: Path
    """The log, for messages."""
    said: Callable[[str], str]
    """A word of the reader -> its text; "": the log does not say it."""
    arguments: Mapping[str, str]
    """Arguments that are printed one a line."""
    configuration: Mapping[str, Any]
    """Entries of a configuration that is printed whole, under dotted names."""

    def number(self, word: str) -> int | None:
        """Return a whole number; None: the log does not say it."""
        text = self.said(word)
        return int(float(text)) if text else None


class LoggedTraining(NamedTuple):
    """The question, and what of it the log does not say."""

    model: str
    """As the log names it; "": it does not."""
    asked: TrainingAsked
    num_gpus: int | None
    assumed: tuple[str, ...] = ()
    """Fields that the framework's defaults stand in for."""
    megatron: Megatron | None = None
    """The run of an argument list, which says the model and all else."""
