"""DeepSpeed's JSON, which lies beside a model: batch, precision, ZeRO stage, offload
(www.deepspeed.ai/docs/config-json)."""

import re
from pathlib import Path
from typing import NamedTuple

from ...errors import OomlessError
from ..training import Mesh, Sharding, TrainingAsked
from .keys import Keys
from .text import content_of, flat, json_of


def read(keys: Keys) -> tuple[str | None, TrainingAsked, int | None]:
    """No model: the question, and the ranks where all three batch sizes are there."""
    found = zero(keys)
    micro = keys.whole("train_micro_batch_size_per_gpu", default=1)
    accumulated = keys.whole("gradient_accumulation_steps", default=1)
    whole_batch = keys.whole("train_batch_size", default=0) if keys.has("train_batch_size") else 0
    ranks = None
    tp = keys.whole("tensor_parallel.autotp_size", default=1)
    cp = keys.whole("sequence_parallel_size", default=1)
    if whole_batch and micro > 0 and accumulated > 0 and keys.has("train_micro_batch_size_per_gpu"):
        if whole_batch % (micro * accumulated):
            raise OomlessError(
                f"{keys.path}: train_batch_size {whole_batch} is no multiple of {micro} x {accumulated}",
                "train_micro_batch_size_per_gpu x gradient_accumulation_steps must divide it",
            )
        ranks = whole_batch // (micro * accumulated) * tp * cp
    elif whole_batch:
        keys.note(
            "train_batch_size needs the number of cards to become micro-batches: give "
            "--micro-batch and --grad-accum"
        )
    asked = TrainingAsked(
        framework="deepspeed",
        mesh=Mesh(tp=tp, cp=cp),
        precision=found.precision,
        optimizer=keys.optimizer("optimizer.type", default="adamw"),
        micro_batch=micro,
        grad_accum=accumulated,
        sharding=found.sharding,
        offload=found.offload,
        partition_activations=keys.switch("activation_checkpointing.partition_activations", default=False),
    )
    if keys.switch("activation_checkpointing.cpu_checkpointing", default=False):
        asked = asked._replace(offload=(*asked.offload, "activations"))
    if keys.has("gradient_accumulation_dtype", "data_types.grad_accum_dtype"):
        kind = keys.text("data_types.grad_accum_dtype", "gradient_accumulation_dtype")
        if kind in ("fp32", "float32") and found.precision == "deepspeed-bf16":
            asked = asked._replace(precision="megatron-bf16")
    return None, asked, ranks


class Zero(NamedTuple):
    """What other files take from a DeepSpeed one."""

    sharding: Sharding
    offload: tuple[str, ...]
    precision: str


def zero(keys: Keys, prefix: str = "") -> Zero:
    """ZeRO stage, offload and precision."""
    if keys.has(f"{prefix}zero_optimization"):  # an object has no entry of its own, only those inside it
        raise OomlessError(f"{keys.path}: zero_optimization is no object", 'write {"stage": 0 to 3, ...}')
    stage = keys.whole(f"{prefix}zero_optimization.stage", default=0)
    if not 0 <= stage <= 3:
        raise OomlessError(f"{keys.path}: zero_optimization.stage is {stage}", "it is 0, 1, 2 or 3")
    away = []
    for name, device in (("optimizer", "offload_optimizer"), ("params", "offload_param")):
        if (keys.text(f"{prefix}zero_optimization.{device}.device", default="none") or "none") in (
            "cpu",
            "nvme",
        ):
            away.append(name)
    if keys.has(f"{prefix}zero_optimization.cpu_offload") and keys.switch(
        f"{prefix}zero_optimization.cpu_offload", default=False
    ):
        away.append("optimizer")
    bf16 = keys.switch(f"{prefix}bf16.enabled", default=not keys.has(f"{prefix}fp16.enabled"))
    fp16 = keys.switch(f"{prefix}fp16.enabled", default=False)
    sharding: Sharding = ("ddp", "zero1", "zero2", "zero3")[stage]
    precision = "deepspeed-bf16" if bf16 else "deepspeed-fp16" if fp16 else "fp32"
    return Zero(sharding, tuple(dict.fromkeys(away)), precision)


def beside(keys: Keys, name: str) -> Zero | None:
    """What the DeepSpeed entry of another framework's file asks for: a file beside it, a mapping inside, or a
    file by its usual name."""
    if any(each.startswith(f"{name}.") for each in keys.entries):
        inside = {
            each.removeprefix(f"{name}."): value
            for each, value in keys.entries.items()
            if each.startswith(f"{name}.")
        }
        keys._asked.update(f"{name}.{each}" for each in inside)
        return _zero_of(keys, Keys(keys.path, "deepspeed", inside))
    word = keys.text(name)
    if word is None:
        return None
    path = Path(word)
    for place in (keys.path.parent / path.name, keys.path.parent / path):
        if not path.is_absolute() and ".." not in path.parts and place.is_file():
            return _zero_of(keys, Keys(place, "deepspeed", flat(json_of(content_of(place), place), place)))
    stage = re.search(r"z(?:ero)?[_-]?([0-3])", path.name)
    if stage is None:
        raise OomlessError(
            f"{keys.path}: {name} is {word}, which lies not beside it",
            "put the DeepSpeed file beside this one",
        )
    keys.note(
        f"{word} lies not beside the file: its name says ZeRO "
        f"{stage[1]}{' with offload' if 'offload' in word else ''}"
    )
    sharding: Sharding = ("ddp", "zero1", "zero2", "zero3")[int(stage[1])]
    away = (
        ("optimizer", "params")
        if "offload" in word and stage[1] == "3"
        else ("optimizer",)
        if "offload" in word
        else ()
    )
    return Zero(sharding, away, "deepspeed-bf16")


def _zero_of(keys: Keys, other: Keys) -> Zero:
    found = zero(other)
    keys.read += [f"{other.path.name}: {each}" for each in other.read]
    return found
