"""The Python interface of training; apart from api.py, so that a serving answer does not load it."""

from pathlib import Path
from typing import Any

from ..engines import DEFAULT
from ..errors import UsageError, did_you_mean
from ..estimate.training.estimate import estimate_training
from ..estimate.training.training_estimate import Origin, TrainingEstimate
from ..model.load import catalogue_name, load
from ..model.model import Model
from ..run.cards import Hardware
from ..run.hardware import parse_gpu
from ..run.training import BESIDE, Mesh, Training
from ..run.typed import need_types, own_names

SPELLINGS = {
    **dict.fromkeys(("micro_batch_size", "per_device_train_batch_size"), "micro_batch"),
    **dict.fromkeys(("seq_length", "max_length"), "seq_len"),
    "gradient_accumulation_steps": "grad_accum",
    "global_batch_size": "global_batch",
    "data_parallel_size": "dp",
    **dict.fromkeys(("tensor_parallel_size", "tensor_model_parallel_size"), "tp"),
    **dict.fromkeys(("pipeline_parallel_size", "pipeline_model_parallel_size"), "pp"),
    "context_parallel_size": "cp",
    **dict.fromkeys(("expert_parallel_size", "expert_model_parallel_size"), "ep"),
    "expert_tensor_parallel_size": "etp",
    "activation_checkpointing": "recompute",
    "attn_implementation": "attention",
    "lora_r": "lora_rank",
    "lora_target_modules": "lora_targets",
    "train_ends": "trained_ends",
}
"""Other names of a flag, as `oomless train --help` lists them."""
LISTS = ("offload", "lora_targets", "recompute_modules")
"""Flags of several words: text with commas, or a list."""
MESH_FLAGS = (
    "dp",
    "tp",
    "pp",
    "cp",
    "ep",
    "etp",
    "sequence_parallel",
    "virtual_stages",
    "schedule",
    "shard_size",
)


def training_request(num_gpus: int, base: Training | None = None, /, **flags: Any) -> Training:
    """A Training from flags; None means not given. `num_gpus` turns --global-batch into micro-batches of a
    rank. What flags do not say

    `base` says: a question that was read from a file.

    >>> (
    ...     training_request(16, zero=2, tp=2, micro_batch=4, global_batch=64).sharding,
    ...     training_request(8, tp=2).mesh.tp,
    ... )
    ('zero2', 2)
    """
    given = own_names(flags, SPELLINGS)
    for name in LISTS:
        if isinstance(given.get(name), list):
            given[name] = tuple(given[name])
        elif isinstance(given.get(name), str):
            given[name] = tuple(word.strip() for word in given[name].split(",") if word.strip())
    need_types(given, {**Training.__annotations__, **Mesh.__annotations__, "global_batch": int, "zero": int})
    mesh = {name: given.pop(name) for name in MESH_FLAGS if name in given}
    if mesh.get("virtual_stages", 1) > 1 and "schedule" not in mesh:
        mesh["schedule"] = "interleaved"
    ways = [name for name in ("zero", "fsdp", "sharding") if given.get(name) not in (None, False)]
    if len(ways) > 1:
        raise UsageError(f"--{ways[0]} and --{ways[1]} say the same thing", "give one of them")
    stage = given.pop("zero", None)
    if stage is not None:
        if stage not in (0, 1, 2, 3):
            raise UsageError(f"--zero is {stage}", "it is 0, 1, 2 or 3")
        given["sharding"] = ("ddp", "zero1", "zero2", "zero3")[stage]
    if given.pop("fsdp", False):
        given["sharding"] = "fsdp2"
    if given.pop("no_bucket_view", False):
        given["gradient_bucket_view"] = False
    whole = base.mesh._replace(**mesh) if base is not None and base.mesh is not None else Mesh(**mesh)
    batch = given.pop("global_batch", None)
    if batch is not None:
        size = given if base is None else {"micro_batch": base.micro_batch, **given}
        given["grad_accum"] = micro_batches(batch, size, whole, num_gpus)
    if unknown := set(given) - set(Training._fields):
        name = min(unknown)
        raise UsageError(
            f"unknown option {name!r}",
            did_you_mean(name, [*Training._fields, *MESH_FLAGS], "oomless train --help"),
        )
    if base is not None:
        return base._replace(**given, mesh=whole)
    return Training(**given, mesh=whole if mesh else None)


def micro_batches(batch: int, given: dict[str, Any], mesh: Mesh, num_gpus: int) -> int:
    """Micro-batches of a rank: the global batch over data-parallel ranks and the micro-batch; it must
    divide."""
    if "grad_accum" in given:
        raise UsageError("--global-batch and --grad-accum say the same thing", "give one of them")
    ranks = mesh.dp or max(1, num_gpus // (mesh.tp * mesh.pp * mesh.cp))
    each = ranks * given.get("micro_batch", 1)
    if batch < 1 or batch % each:
        raise UsageError(
            f"--global-batch {batch} is no multiple of {ranks} ranks x --micro-batch "
            f"{given.get('micro_batch', 1)}",
            "choose one that is",
        )
    count: int = batch // each
    return count


REFERENCES = {"same": True, "none": False}


def with_moments(
    model: Model, asked: Training, hardware: Hardware, stands: dict[str, Any], offline: bool
) -> TrainingEstimate:
    """The estimate of the update, and with it the other moments of a step that compares, rewards or
    generates."""
    from ..estimate.training.post_training import ENGINE_SHARE, PAIRS, Companions, after, asked_update

    estimate = estimate_training(model, asked_update(asked), hardware)._replace(asked=asked)
    if asked.task in PAIRS:
        note = (
            f"--micro-batch {asked.micro_batch} counts pairs: {2 * asked.micro_batch} sequences run at once"
        )
        estimate = estimate._replace(warnings=(note, *estimate.warnings))
    if not stands and asked.task not in ("dpo", "kto", "grpo", "ppo"):
        return estimate
    need_types(stands, BESIDE)
    if stands.get("reference_model", "same") not in REFERENCES:
        raise UsageError(
            f"--reference-model is {stands['reference_model']!r}", f"it is {' or '.join(REFERENCES)}"
        )
    other = stands.get("rollout_gpu")
    share = stands.get("rollout_gpu_memory_utilization", ENGINE_SHARE)
    if not 0 < share <= 1:
        raise UsageError(f"--rollout-gpu-memory-utilization is {share}", "it is a share: above 0, at most 1")
    generates = other or not {"rollout_sleep", "rollout_gpu_memory_utilization"}.isdisjoint(stands)
    beside = Companions(
        REFERENCES[stands["reference_model"]] if "reference_model" in stands else None,
        load(stands["reward_model"], offline=offline) if "reward_model" in stands else None,
        load(stands["value_model"], offline=offline) if "value_model" in stands else None,
        stands.get("rollout_engine") or (DEFAULT if generates else None),
        share,
        bool(stands.get("rollout_sleep")),
        parse_gpu(other) if other else None,
    )
    found = after(estimate, beside)
    groups = list(estimate.groups)
    groups[estimate.worst_rank] = groups[estimate.worst_rank]._replace(ledger=found.peak.ledger)
    return estimate._replace(groups=tuple(groups), after=found, beside=tuple(stands.items()))


def train(
    model: str | Model | None = None,
    gpu: str | Hardware | None = None,
    *,
    from_file: str | None = None,
    megatron_args: str | None = None,
    world_size: int | None = None,
    offline: bool = False,
    revision: str | None = None,
    **flags: Any,
) -> TrainingEstimate:
    """Will `model`, or the run of a file of Megatron-LM arguments, train on `gpu`? The flags are those of
    `oomless train`.

    >>> answer = train(
    ...     "deepseek-coder-1.3b",
    ...     "a100-80gb",
    ...     precision="bf16",
    ...     optimizer="adamw",
    ...     micro_batch=4,
    ...     seq_len=2048,
    ... )
    >>> answer.verdict, answer.peaks.phase
    ('fits', 'backward')
    """
    if megatron_args is not None:
        from .megatron import train_megatron

        if model is not None:
            raise UsageError("a model and megatron_args say the same thing", "give one of them")
        return train_megatron(megatron_args, gpu, world_size=world_size, **flags)
    file = None
    if from_file is not None:
        from ..frameworks.training_file import read_training_file

        file = read_training_file(Path(from_file))
        gpu = file.gpu if gpu is None else gpu
        if model is None and file.model is not None:
            model = catalogue_name(file.model) or file.model
            if model != file.model:
                file = file._replace(
                    warnings=(
                        *file.warnings,
                        f"{file.model} is {model} of the catalogue; give MODEL to read the hub",
                    )
                )
    if model is None and from_file:
        raise UsageError("MODEL is missing", f"{from_file} names no model: give one beside it")
    if model is None or gpu is None:
        raise UsageError(
            f"{'model' if model is None else 'gpu'} is missing", "train('deepseek-v2-lite', 'a100-80gb')"
        )
    found = model if isinstance(model, Model) else load(model, offline=offline, revision=revision)
    hardware = gpu if isinstance(gpu, Hardware) else parse_gpu(gpu)
    stands = dict(file.beside) if file else {}
    stands |= {name: value for name in BESIDE if (value := flags.pop(name, None)) not in (None, False)}
    asked = training_request(hardware.num_gpus, file.training if file else None, **flags)
    estimate = with_moments(found, asked, hardware, stands, offline)
    if file is not None:
        warnings = [*file.warnings, *estimate.warnings]
        if file.num_gpus and file.num_gpus != hardware.num_gpus:
            warnings.insert(0, f"the file is for {file.num_gpus} cards, --gpu gives {hardware.num_gpus}")
        origin = Origin(str(from_file), file.framework, file.read, file.defaults) if file.read else None
        estimate = estimate._replace(warnings=tuple(warnings), origin=origin)
    return estimate._replace(
        model_word=model if isinstance(model, str) else "", gpu_word=gpu if isinstance(gpu, str) else ""
    )
