"""Which optimizers the files that start a framework can say (facts/optimizer_words.csv)."""

from ... import facts
from ...errors import UnsupportedError
from ...frameworks import framework as record
from ...frameworks.defaults import resolved
from ...run.training import TrainingAsked

TRAINER_WORDS = ("accelerate_script", "factory_yaml", "axolotl_yaml")
"""Files that take transformers' words."""
MORE_TO_SAY = ("galore", "galore-8bit", "muon")
"""Optimizers that need modules or arguments beside their word."""
OWN = {"fsdp_script": ("adamw", "adamw-loop")}
"""What other files say beside their framework's own."""


def said_optimizer(asked: TrainingAsked) -> str:
    """Return the optimizer in the words of a framework's files; refused where they cannot say it.

    >>> [said_optimizer(TrainingAsked(framework=name, optimizer="paged-adamw-8bit")) for name in ("peft",)]
    ['paged_adamw_8bit']
    >>> said_optimizer(TrainingAsked(framework="deepspeed"))
    'adamw_torch_fused'
    """
    of, name = record(asked.framework), str(resolved(asked).optimizer)
    if asked.optimizer is None or name in (of.optimizer, *OWN.get(of.launch or "", ())):
        return USUAL
    if of.launch in TRAINER_WORDS and name not in MORE_TO_SAY:
        for row in facts.table("optimizer_words"):
            if row["framework"] in ("", of.name) and row["optimizer"] == name:
                return row["word"]
    raise UnsupportedError(
        f"no launch file of {of.name} says --optimizer {name}", "leave it out, or take another framework"
    )


USUAL = "adamw_torch_fused"
"""What transformers takes where nothing is said."""
