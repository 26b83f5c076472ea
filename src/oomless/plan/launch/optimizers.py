"""Which optimizers and losses the files that start a framework can say (facts/optimizer_words.csv:
transformers' words; facts/launch_optimizers.csv and launch_losses.csv: those of other files)."""

from typing import NamedTuple

from ... import facts
from ...errors import UnsupportedError
from ...frameworks import framework as record
from ...frameworks.defaults import resolved
from ...model.model import Model
from ...run.training import Task, TrainingAsked

TRAINER_WORDS = ("accelerate_script", "zero_script", "factory_yaml", "axolotl_yaml", "trl_yaml")
"""Files that take transformers' words. Its Trainer allows what DeepSpeed has not tested (transformers 5.24,
integrations/deepspeed.py, deepspeed_optim_sched)."""
MORE_TO_SAY = ("galore", "galore-8bit", "apollo", "muon")
"""Optimizers that need modules or arguments beside their word."""


class SaidOptimizer(NamedTuple):
    """An optimizer in the words of a framework's files."""

    word: str
    package: str = ""
    """What pip must install for it; "": nothing."""
    own: bool = False
    """The word is DeepSpeed's, in its own file, and not the trainer's."""

    @property
    def settings(self) -> dict[str, bool | float]:
        """Settings of a class of torch behind its name.

        >>> SaidOptimizer("torch.optim.SGD momentum=0.9").settings
        {'momentum': 0.9}
        """
        pairs = (each.split("=") for each in self.word.split()[1:])
        return {name: float(value) if value[0].isdigit() else value == "True" for name, value in pairs}


def said_optimizer(asked: TrainingAsked) -> SaidOptimizer:
    """Return the optimizer in the words of a framework's files; refused where they cannot say it.

    >>> said_optimizer(TrainingAsked(framework="peft", optimizer="paged-adamw-8bit")).word
    'paged_adamw_8bit'
    >>> said_optimizer(TrainingAsked(framework="fsdp", optimizer="adamw-fused"))
    SaidOptimizer(word='torch.optim.AdamW fused=True', package='', own=False)
    """
    of, name = record(asked.framework), str(resolved(asked).optimizer)
    trainer = of.launch in TRAINER_WORDS
    if trainer and (asked.optimizer is None or name == of.optimizer):
        return SaidOptimizer(USUAL)
    adam_alone = of.launch == "megatron_args" and asked.sharding == "distopt" and name == "sgd"
    for row in facts.table("launch_optimizers"):
        if of.launch == row["launch"] and name in row["optimizer"].split() and not adam_alone:
            return SaidOptimizer(row["word"], row["package"], trainer)
    if trainer and name not in MORE_TO_SAY:
        for row in facts.table("optimizer_words"):
            cut = asked.sharding == "fsdp2" and not WHOLE.isdisjoint((row["word"], row["package"]))
            if row["framework"] in ("", of.name) and row["optimizer"] == name and not cut:
                return SaidOptimizer(row["word"], "torchao" if row["package"] == "torchao" else "")
    raise UnsupportedError(
        f"no launch file of {of.name} says --optimizer {name}", "leave it out, or take another framework"
    )


WHOLE = frozenset(("bitsandbytes", "adafactor"))
"""Packages and words of optimizers that step no distributed tensor, as torchao's and torch's do (axolotl 0.19,
check_fsdp2_w_8bit_optimizer; transformers 5.24's Adafactor mixes them with plain ones)."""
USUAL = "adamw_torch_fused"
"""What transformers takes where nothing is said."""


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
