"""DeepSpeed's JSON, which lies beside a model: batch, precision, ZeRO stage, offload
(www.deepspeed.ai/docs/config-json)."""

import re
from collections.abc import Mapping
from os.path import isfile
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from ...errors import OomlessError
from ...run.text_files import content_of, flat, json_of
from ...run.training import Mesh, Sharding, TrainingAsked, recipe
from ..entries import Entries
from .zero_engine import ZeroEngine


def read(entries: Entries) -> tuple[str | None, TrainingAsked, int | None]:
    """No model: the question, and the ranks where all three batch sizes are there."""
    found = zero(entries)
    micro = entries.whole("train_micro_batch_size_per_gpu", default=1)
    accumulated = entries.whole("gradient_accumulation_steps", default=1)
    whole_batch = entries.whole("train_batch_size", default=0) if entries.has("train_batch_size") else 0
    ranks = None
    tp = entries.whole("tensor_parallel.autotp_size", default=1)
    cp = entries.whole("sequence_parallel_size", default=1)
    if whole_batch and micro > 0 and accumulated > 0 and entries.has("train_micro_batch_size_per_gpu"):
        if whole_batch % (micro * accumulated):
            raise OomlessError(
                f"{entries.path}: train_batch_size {whole_batch} is no multiple of {micro} x {accumulated}",
                "train_micro_batch_size_per_gpu x gradient_accumulation_steps must divide it",
            )
        ranks = whole_batch // (micro * accumulated) * tp * cp
    elif whole_batch:
        entries.note(
            "train_batch_size needs the number of cards to become micro-batches: give "
            "--micro-batch and --grad-accum"
        )
    asked = TrainingAsked(
        framework=entries.framework,
        mesh=Mesh(tp=tp, cp=cp),
        precision=found.precision,
        optimizer=_optimizer(entries),
        micro_batch=micro,
        grad_accum=accumulated,
        sharding=found.sharding,
        offload=found.offload,
        partition_activations=entries.switch("activation_checkpointing.partition_activations", default=False),
        **found.settings,
    )
    if entries.switch("activation_checkpointing.cpu_checkpointing", default=False):
        asked = asked._replace(offload=(*asked.offload, "activations"))
    kind = entries.text("data_types.grad_accum_dtype", "gradient_accumulation_dtype")
    if kind in ("fp32", "float32") and found.precision == "deepspeed-bf16":
        asked = asked._replace(precision="megatron-bf16")
    _note_auto(entries)
    return None, asked, ranks


def _optimizer(entries: Entries) -> str:
    """Return the optimizer: torch's own Adam where torch_adam asks for it (runtime/engine.py,
    _configure_basic_optimizer)."""
    found = entries.optimizer("optimizer.type", default="adamw")
    by_torch = entries.switch("optimizer.params.torch_adam", default=False)
    return "adamw" if by_torch and found == "adam-fused" else found


def _note_auto(entries: Entries) -> None:
    """Say what "auto" stands for in a file that no trainer reads: buckets, and all else that is counted."""
    auto = [name for name in BY_HIDDEN_SIZE if entries.values.get(f"zero_optimization.{name}") == "auto"]
    if auto:
        entries.note(
            f"{', '.join(auto)} = auto: the Trainer fills in the hidden size, DeepSpeed's defaults are "
            "counted; give --framework transformers"
        )
    sizes = {f"zero_optimization.{name}" for name in BY_HIDDEN_SIZE}
    others = [name for name in sorted(entries.asked - sizes) if entries.values.get(name) == "auto"]
    if others:
        entries.note(f"{', '.join(others)} = auto: a trainer's to fill in, the default is counted")


class Zero(NamedTuple):
    """What other files take from a DeepSpeed one."""

    sharding: Sharding
    offload: tuple[str, ...]
    precision: str
    settings: Mapping[str, Any] = MappingProxyType({})
    """Fields of the question that are settings of the engine."""


def zero(entries: Entries, prefix: str = "") -> Zero:
    """ZeRO stage, offload and precision."""
    if entries.has(f"{prefix}zero_optimization"):  # an object has no entry of its own, only those inside it
        raise OomlessError(f"{entries.path}: zero_optimization is no object", 'write {"stage": 0 to 3, ...}')
    stage = entries.whole(f"{prefix}zero_optimization.stage", default=0)
    if not 0 <= stage <= 3:
        raise OomlessError(f"{entries.path}: zero_optimization.stage is {stage}", "it is 0, 1, 2 or 3")
    away = []
    for name, device in (("optimizer", "offload_optimizer"), ("params", "offload_param")):
        place = entries.text(f"{prefix}zero_optimization.{device}.device", default="none") or "none"
        if place in ("cpu", "nvme"):
            away.append(name)
        if place == "nvme":
            entries.note(f"{device}.device = nvme: what lies on a disk is counted as host memory")
    for name, old in (("optimizer", "cpu_offload"), ("params", "cpu_offload_param")):
        if entries.switch(f"{prefix}zero_optimization.{old}", default=False):
            away.append(name)
    bf16 = entries.switch(f"{prefix}bf16.enabled", default=not entries.has(f"{prefix}fp16.enabled"))
    fp16 = entries.switch(f"{prefix}fp16.enabled", default=False)
    if bf16 and fp16:
        raise OomlessError(
            f"{entries.path}: bf16 and fp16 are both enabled, which DeepSpeed refuses", "enable one of them"
        )
    note_uncounted(entries, prefix)
    precision = "deepspeed-bf16" if bf16 else "deepspeed-fp16" if fp16 else "fp32"
    return Zero(STAGES[stage], tuple(dict.fromkeys(away)), precision, settings(entries, prefix))


SIZES = {
    "reduce_bucket_size": ("reduce_bucket_size",),
    "prefetch_bucket_size": ("stage3_prefetch_bucket_size", "prefetch_bucket_size"),
    "max_live_parameters": ("stage3_max_live_parameters", "max_live_parameters"),
    "max_reuse_distance": ("stage3_max_reuse_distance", "max_reuse_distance"),
    "sub_group_size": ("sub_group_size",),
    "hpz_partition_size": ("zero_hpz_partition_size",),
}
"""Fields of the question -> entries of zero_optimization; zero/config.py takes them without stage3_ too."""
BY_HIDDEN_SIZE = ("reduce_bucket_size", "stage3_prefetch_bucket_size", "prefetch_bucket_size")
"""Entries that the Trainer fills by the hidden size where a file says "auto" (transformers,
integrations/deepspeed.py)."""


def settings(entries: Entries, prefix: str = "") -> dict[str, Any]:
    """Return the fields of the question that the entries of zero_optimization set."""
    found: dict[str, Any] = {}
    for field, names in SIZES.items():
        given = [f"{prefix}zero_optimization.{name}" for name in names]
        if entries.has(*given):
            found[field] = entries.whole(*given, default=0)
        entries.asked.update(given)
    if found.get("hpz_partition_size", 0) <= 1:
        found.pop("hpz_partition_size", None)
    overlap = f"{prefix}zero_optimization.overlap_comm"
    entries.asked.add(overlap)
    if entries.has(overlap):
        found["overlap_comm"] = entries.switch(overlap, default=False)
    if entries.has(f"{prefix}zero_optimization.contiguous_gradients") and not entries.switch(
        f"{prefix}zero_optimization.contiguous_gradients", default=True
    ):
        entries.note("contiguous_gradients = false: the buckets that are counted are not there")
    return found


def as_the_trainer_reads(entries: Entries, found: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a file that the Trainer reads: "auto" follows the hidden size, and what is not
    there is DeepSpeed's default."""
    usual = ZeroEngine(3)
    whole = {"reduce_bucket_size": usual.reduce_bucket, "prefetch_bucket_size": usual.prefetch_bucket}
    for field, size in whole.items():
        names = [f"zero_optimization.{name}" for name in SIZES[field]]
        if field not in found and not any(entries.values.get(name) == "auto" for name in names):
            found[field] = size
    return found


def beside(entries: Entries, name: str) -> Zero | None:
    """What the DeepSpeed entry of another framework's file asks for: a file beside it, a mapping inside, or a
    file by its usual name; one that is nowhere is missing unless flags beside the file say its stage."""
    if any(each.startswith(f"{name}.") for each in entries.values):
        inside = {
            each.removeprefix(f"{name}."): value
            for each, value in entries.values.items()
            if each.startswith(f"{name}.")
        }
        entries.asked.update(f"{name}.{each}" for each in inside)
        return _zero_of(entries, Entries(entries.path, "deepspeed", inside))
    word = entries.text(name)
    if word is None:
        return None
    path = Path(word)
    for place in (entries.path.parent / path.name, entries.path.parent / path):
        if not path.is_absolute() and ".." not in path.parts and isfile(place):
            return _zero_of(
                entries, Entries(place, "deepspeed", flat(json_of(content_of(place), place), place))
            )
    found = by_name(path.name)
    if found is None:
        entries.missing = OomlessError(
            f"{entries.path}: {name} is {word}, which is not beside it",
            "put the DeepSpeed file beside this one, or give --zero and --offload beside it",
        )
        entries.note(f"{word} is not beside the file: what else than --zero and --offload it says is open")
        return Zero("ddp", (), "deepspeed-bf16")
    offload = " with offload" if found.offload else ""
    entries.note(f"{word} is not beside the file: its name says ZeRO {STAGES.index(found.sharding)}{offload}")
    return found


STAGES: tuple[Sharding, ...] = ("ddp", "zero1", "zero2", "zero3")


def by_name(name: str) -> Zero | None:
    """Return what the usual names of DeepSpeed's files say; None: nothing.

    >>> by_name("ds_z3_offload_config.json").offload, by_name("zero2").sharding, by_name("mine.json")
    (('optimizer', 'params'), 'zero2', None)
    >>> [by_name(f"{name}.json").sharding for name in ("ds_config_3", "ds_config_v7_stage2", "ds3")]
    ['zero3', 'zero2', 'zero3']
    """
    stage = re.search(r"(?:z|zero|stage|config|ds|_s)[_-]?([0-3])(?![0-9])", name)
    if stage is None:
        return None
    away = ("optimizer", "params") if stage[1] == "3" else ("optimizer",)
    return Zero(STAGES[int(stage[1])], away if offloads(name) else (), "deepspeed-bf16")


def offloads(name: str) -> bool:
    """Whether the name of a file says that it offloads.

    >>> [offloads(name) for name in ("zero3_offload", "ds_zero2_no_offload", "z2-without-offload", "z2")]
    [True, False, False, False]
    """
    return re.search(r"(?<!no)(?<!no[_-])(?<!without[_-])offload", name) is not None


def recipe_of(deep: Zero | None, found: str | None) -> str | None:
    """Return the recipe of a run whose own file asks for `found`: where a DeepSpeed file has stage 0, that of
    the engine, which no stage of the question says.

    >>> [recipe_of(by_name(f"zero{stage}"), "amp-fp16") for stage in (0, 2)]
    ['deepspeed-fp16', 'amp-fp16']
    """
    without_stage = deep is not None and deep.sharding == STAGES[0]
    return recipe(found or "bf16").zero if without_stage else found


BY_THE_TRAINER = (
    "train_batch_size",
    "train_micro_batch_size_per_gpu",
    "gradient_accumulation_steps",
    "optimizer.type",
)
"""Entries of a DeepSpeed file that must be what the other framework's file says."""


def _zero_of(entries: Entries, other: Entries) -> Zero:
    found = zero(other)
    found = found._replace(settings=as_the_trainer_reads(other, dict(found.settings)))
    other.asked.update(BY_THE_TRAINER)
    entries.read += [f"{other.path.name}: {each}" for each in other.read]
    entries.notes += [f"{other.path.name}: {each}" for each in other.warnings()]
    return found


USUAL: dict[str, object] = {
    "zero_optimization.offload_optimizer.ratio": 1,
    "zero_optimization.mics_shard_size": -1,
    "zero_optimization.stage3_param_persistence_threshold": 100_000,
    "zero_optimization.param_persistence_threshold": 100_000,
    "zero_optimization.stage3_module_granularity_threshold": 0,
    "zero_optimization.module_granularity_threshold": 0,
    "zero_optimization.use_multi_rank_bucket_allreduce": True,
    "zero_optimization.override_module_apply": True,
    "gradient_allreduce_op": "mean",
}
"""Values that are DeepSpeed's own (runtime/zero/config.py, offload_config.py)."""
OFF = {
    "zero_optimization.memory_efficient_linear": "a Linear keeps its gathered weight until its backward",
    "optimizer.params.fp32_optimizer_states": "moments of 16 bits on the host",
}
"""Switches that are on by themselves, and what is so where they are off (runtime/zero/linear.py;
ops/adam/cpu_adam.py)."""
ON = {
    "aio.use_gds": "the buffers of parameters on a disk lie on the card",
    "data_efficiency.data_routing.random_ltd.enabled": "its layers run on a part of the tokens",
    "data_efficiency.data_sampling.curriculum_learning.enabled": "the first steps have shorter sequences",
}
"""Switches inside of blocks whose other keys change nothing (swap_tensor/partitioned_param_swapper.py;
runtime/data_pipeline)."""


def note_uncounted(entries: Entries, prefix: str = "") -> None:
    """Note the switches that change memory and are not counted, and pass over what is DeepSpeed's default.

    >>> from pathlib import Path
    >>> entries = Entries(Path("ds.json"), "deepspeed", {"zero_optimization.memory_efficient_linear": False})
    >>> note_uncounted(entries)
    >>> entries.notes
    ['memory_efficient_linear = false: a Linear keeps its gathered weight until its backward; not counted']
    """
    for name, usual in USUAL.items():
        value = entries.values.get(prefix + name)
        if value == usual and isinstance(value, bool) == isinstance(usual, bool):
            entries.asked.add(prefix + name)
    for counted, reasons in ((True, OFF), (False, ON)):
        for name, why in reasons.items():
            if not entries.has(prefix + name):
                continue
            value = entries.switch(prefix + name, default=counted)
            if value != counted:
                word = name.removeprefix("zero_optimization.")
                entries.note(f"{word} = {str(value).lower()}: {why}; not counted")
