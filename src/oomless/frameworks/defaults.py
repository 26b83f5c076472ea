"""A question with its framework's defaults in place of what it leaves open."""

from typing import Any

from ..errors import UnsupportedError
from ..run.training import DEFAULT_SEQ_LEN, TrainingAsked, TrainingResolved
from . import framework
from .record import Framework


def resolved(asked: TrainingAsked, longest: int = DEFAULT_SEQ_LEN) -> TrainingResolved:
    """Return the question with the framework's defaults in place of None, as the releases that it names have
    them; `longest`: positions of the model.

    >>> used = resolved(TrainingAsked(framework="torchtitan"))
    >>> used.sharding, used.precision, used.recompute_modules
    ('fsdp2', 'mixed-bf16', ('ops',))
    """
    asked.check()
    of = framework(asked.framework)
    if asked.method not in of.methods:
        raise UnsupportedError(
            f"{of.name} does not run --method {asked.method}", f"it runs {', '.join(of.methods)}", "method"
        )
    for name in asked.recompute_modules:
        if of.modules and name not in of.modules:
            raise UnsupportedError(
                f"{of.name} does not know --recompute-modules {name}", f"it knows {', '.join(of.modules)}"
            )
    earlier = of.habits(asked.framework_version)
    chosen: dict[str, Any] = {}
    for name in ("optimizer", "sharding", "recompute", "attention", "loss", "kernels", "adapter_dtype"):
        if getattr(asked, name) is None:
            chosen[name] = getattr(of, name)
    if asked.seq_len is None:
        chosen["seq_len"] = min(DEFAULT_SEQ_LEN, longest)
    if asked.optimizer is None and earlier.optimizer:
        chosen["optimizer"] = earlier.optimizer
    if (asked.loss or of.loss) == "plain" and earlier.loss:
        chosen["loss"] = earlier.loss
    if of.shardings:
        chosen["sharding"] = own_sharding(asked, of)
    adapters = asked.method != "full"
    if asked.precision is None:
        chosen["precision"] = (adapters and of.precision_lora) or of.precision
    if (asked.recompute or of.recompute) == "selective" and not asked.recompute_modules:
        chosen["recompute_modules"] = of.selective
    if adapters and not asked.lora_targets:
        chosen["lora_targets"] = of.lora_targets
    return TrainingResolved._make(asked._replace(**chosen))


def own_sharding(asked: TrainingAsked, of: Framework) -> str:
    """Return what a framework with ways of its own calls the sharding that is asked for: ZeRO 1 is Megatron's
    distributed optimizer."""
    wanted = asked.sharding or of.sharding
    if wanted == "zero1" and "distopt" in of.shardings:
        return "distopt"
    if wanted not in of.shardings:
        raise UnsupportedError(
            f"{of.name} does not shard by {wanted}",
            f"it has {', '.join(of.shardings)}: give one of them as --sharding, or --zero 1",
            "sharding",
        )
    return wanted
