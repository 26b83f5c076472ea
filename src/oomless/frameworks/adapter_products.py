"""Where a frozen matrix and its LoRA run as one function."""

from ..run.training import TrainingAsked
from .record import Framework
from .releases import Habits

BY_REWARDS = ("dpo", "kto", "grpo", "ppo")


def supervised(asked: TrainingAsked) -> bool:
    """Return whether Axolotl takes its functions by itself: not for what its `rl` asks, LoRA on weights of 8
    bits, or FSDP1 (utils/schemas/config.py, check_auto_enable_lora_kernels)."""
    return asked.task not in BY_REWARDS and asked.quantization != "int8" and asked.sharding != "fsdp1"


def products_of(asked: TrainingAsked, of: Framework, earlier: Habits) -> str:
    """Return what a question means that does not say: fused, or apart.

    >>> from . import framework
    >>> axolotl = framework("axolotl")
    >>> def found(release="transformers 5.14", **more):
    ...     asked = TrainingAsked(framework="axolotl", method="lora", task="sft")._replace(**more)
    ...     return products_of(asked, axolotl, axolotl.habits(release))
    >>> found(), found(task="dpo"), found(sharding="fsdp1"), found("transformers 5.0")
    ('fused', 'apart', 'apart', 'apart')
    """
    if asked.method == "full" or of.fuses_adapters == "apart":
        return "apart"
    if of.fuses_adapters == "supervised" and (earlier.adapter_products or not supervised(asked)):
        return "apart"
    return "fused"
