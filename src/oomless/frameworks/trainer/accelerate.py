"""What accelerate is told: its file, and the words of `accelerate launch` (accelerate/commands/launch.py)."""

import re
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import OomlessError
from ...run.text_files import content_of, flat, yaml_of
from ...run.training import Sharding
from ..deepspeed.configuration import Zero, beside
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
    entries.missing = own.missing or entries.missing
    return found


def by_name(entries: Entries, word: str) -> dict[str, Any]:
    """Return what the name of a file says that is not there, as TRL and others call theirs."""
    name = Path(word).stem.lower()
    stage, fsdp = re.search(r"z(?:ero)?[_-]?([0-3])", name), re.search(r"fsdp(2?)", name)
    if stage is not None:
        entries.note(f"{word} is not on this machine: its name says ZeRO {stage[1]}")
        return {"distributed_type": "DEEPSPEED", "deepspeed_config.zero_stage": int(stage[1])}
    if fsdp is not None:
        entries.note(f"{word} is not on this machine: its name says FSDP{fsdp[1]}")
        return {"distributed_type": "FSDP", "fsdp_config.fsdp_version": int(fsdp[1] or 1)}
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
        return Launcher(
            "fsdp2" if version == 2 else "fsdp1", ("params",) if away else (), None, mixed, again, ranks
        )
    return Launcher(mixed_precision=mixed, num_ranks=ranks)


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
