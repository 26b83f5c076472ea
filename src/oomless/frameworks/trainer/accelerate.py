"""What accelerate is told: its file, and the words of `accelerate launch` (accelerate/commands/launch.py)."""

import re
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import OomlessError
from ...run.text_files import content_of, flat, yaml_of
from ...run.training import Sharding
from ..deepspeed.configuration import Zero, beside, offloads
from ..entries import Entries

PREFIX = "accelerate."
"""How entries begin that are accelerate's among those of a command."""


class Launcher(NamedTuple):
    """How ranks are started; nothing is said where there is no such file."""

    sharding: Sharding | None = None
    offload: tuple[str, ...] = ()
    deep: Zero | None = None
    mixed_precision: str = ""
    recompute: bool = False
    num_ranks: int | None = None


def launcher(entries: Entries) -> Launcher:
    """Return what the file says that `accelerate launch --config_file` names, or TRL's own command, or the
    words behind it."""
    word = entries.text("accelerate.config_file", "accelerate_config")
    inside = {
        name.removeprefix(PREFIX): value for name, value in entries.values.items() if name.startswith(PREFIX)
    }
    entries.asked.update(PREFIX + name for name in inside)
    if word is not None:
        place = entries.path.parent / word
        named = flat(yaml_of(content_of(place), place), place) if place.is_file() else by_name(entries, word)
        inside = named | inside
    own = Entries(Path(word) if word else entries.path, "accelerate", inside)
    found = _launcher(own)
    entries.read += [f"accelerate: {each}" for each in own.read]
    entries.notes += own.notes
    entries.keeps_gathered |= own.keeps_gathered
    entries.missing = own.missing or entries.missing
    return found


def by_name(entries: Entries, word: str) -> dict[str, Any]:
    """Return what the name of a file says that is not there, as TRL and others call theirs."""
    name = Path(word).stem.lower()
    stage, fsdp = re.search(r"z(?:ero)?[_-]?([0-3])", name), re.search(r"fsdp(2?)", name)
    away = offloads(name)
    end = " with offload" if away else ""
    if stage is not None:
        entries.note(f"{word} is not on this machine: its name says ZeRO {stage[1]}{end}")
        place = "cpu" if away else "none"
        inside = {f"deepspeed_config.offload_{each}_device": place for each in ("optimizer", "param")}
        if int(stage[1]) < 3:  # weights leave the card with ZeRO 3 alone
            del inside["deepspeed_config.offload_param_device"]
        return {"distributed_type": "DEEPSPEED", "deepspeed_config.zero_stage": int(stage[1]), **inside}
    if fsdp is not None:
        entries.note(f"{word} is not on this machine: its name says FSDP{fsdp[1]}{end}")
        version = int(fsdp[1] or 1)
        return {
            "distributed_type": "FSDP",
            "fsdp_config.fsdp_version": version,
            "fsdp_config.fsdp_offload_params": away,
        }
    if re.search(r"(?:multi|single)_gpu|ddp", name):
        return {}
    raise OomlessError(f"{word}: not on this machine", "put accelerate's file beside the command")


def _launcher(own: Entries) -> Launcher:
    ranks = own.whole("num_processes", default=0) or None
    kind = (own.text("distributed_type", default="") or "").upper()
    mixed = own.text("mixed_precision", default="") or ""
    if kind == "DEEPSPEED" or own.switch("use_deepspeed", default=False):
        return Launcher(deep=_deep(own), mixed_precision=mixed, num_ranks=ranks)
    if kind == "FSDP" or own.switch("use_fsdp", default=False):
        version = own.whole("fsdp_config.fsdp_version", "fsdp_version", default=1)
        away = own.switch("fsdp_config.fsdp_offload_params", "fsdp_offload_params", default=False)
        again = own.switch(
            "fsdp_config.fsdp_activation_checkpointing", "fsdp_activation_checkpointing", default=False
        )
        whole = strategy(own, "fsdp_config.fsdp_", "fsdp_")
        sharding: Sharding = "ddp" if whole else "fsdp2" if version == 2 else "fsdp1"
        return Launcher(sharding, ("params",) if away else (), None, mixed, again, ranks)
    return Launcher(mixed_precision=mixed, num_ranks=ranks)


def strategy(entries: Entries, *prefixes: str) -> bool:
    """Return whether each rank holds all (NO_SHARD); weights that stay gathered from the forward to the
    backward are noted (utils/constants.py, FSDP_SHARDING_STRATEGY; FSDP2 has reshard_after_forward,
    whose word may be a strategy, too).

    >>> told = Entries(Path("x"), "accelerate", {"fsdp_sharding_strategy": 2})
    >>> strategy(told, "fsdp_"), told.keeps_gathered
    (False, True)
    """
    for name in ("sharding_strategy", "reshard_after_forward"):
        for said in [prefix + name for prefix in prefixes if entries.has(prefix + name)]:
            word = (entries.text(said) or "").upper()
            if word in ("NO_SHARD", "3"):
                return True
            if word in ("SHARD_GRAD_OP", "2", "FALSE"):
                entries.keeps_gathered = True
    return False


def by_trainer(entries: Entries, usual: Sharding = "fsdp1") -> tuple[Sharding | None, tuple[str, ...]]:
    """Return (sharding, offload) of the words that --fsdp of transformers' Trainer takes
    (trainer_utils.py, FSDPOption).

    >>> by_trainer(Entries(Path("x"), "trl", {"fsdp": "no_shard offload"}))
    ('ddp', ('params',))
    """
    if not entries.has("fsdp"):
        return None, ()
    words = " ".join(entries.words("fsdp")).split()
    if "shard_grad_op" in words:
        entries.keeps_gathered = True
    return "ddp" if "no_shard" in words else usual, ("params",) if "offload" in words else ()


def _deep(own: Entries) -> Zero | None:
    """What its file says of DeepSpeed: a file of DeepSpeed's, or the stage and what is offloaded."""
    for name in ("deepspeed_config.deepspeed_config_file", "deepspeed_config_file"):
        if own.has(name):
            return beside(own, name)
    stage = own.whole("deepspeed_config.zero_stage", "zero_stage", default=2)
    inside: dict[str, Any] = {"zero_optimization.stage": stage}
    for device in ("offload_optimizer", "offload_param"):
        place = own.text(f"deepspeed_config.{device}_device", f"{device}_device", default="none")
        inside[f"zero_optimization.{device}.device"] = place
    return beside(Entries(own.path, own.framework, {f"zero.{name}": inside[name] for name in inside}), "zero")
