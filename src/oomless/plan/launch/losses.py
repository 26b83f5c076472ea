"""Which losses the files that start a framework can say, and of which models (facts/launch_losses.csv)."""

from typing import NamedTuple

from ... import facts
from ...frameworks import framework as record
from ...model.model import Model
from ...run.training import Task


class SaidLoss(NamedTuple):
    """What a loss in a framework's files brings with it."""

    kernels: str | None = None
    """Kernels that the same entry turns on; None: none."""
    package: str = ""
    """What pip must install for it; "": nothing."""


def said_loss(framework: str, model: Model, loss: str | None, task: Task = "pretrain") -> SaidLoss | None:
    """Return how a framework's files say a loss; None where they cannot, or where a model or a comparison of
    pairs keeps its own.

    >>> from ...model.load import load
    >>> [said_loss("peft", load(name), "fused") for name in ("llama-3.1-8b", "deepseek-v3")]
    [SaidLoss(kernels='liger', package='liger-kernel'), None]
    """
    of = record(framework)
    if loss in (None, of.loss):
        return SaidLoss()
    if task == "dpo":
        return None
    for row in facts.table("launch_losses"):
        of_model = not row["families"] or model.family in row["families"].split()
        if of.launch in row["launch"].split() and loss in row["loss"].split() and of_model:
            return SaidLoss(row["kernels"] or None, row["package"])
    return None
