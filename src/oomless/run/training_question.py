"""Keywords of `train` -> a question about a training step: several of them say parts of one field."""

from typing import Any

from ..errors import UsageError
from .options import asked_of
from .training import Mesh, TrainingAsked

BESIDE = tuple(option.field for option in asked_of("train") if option.group == "beside")
"""Fields that say what stands beside the policy."""
STAGES = ("ddp", "zero1", "zero2", "zero3")
"""What each ZeRO stage is called among the ways to shard."""
WAYS = ("zero", "fsdp", "sharding")
"""Fields that say how ranks divide states."""


def training_question(
    num_gpus: int, given: dict[str, Any], base: TrainingAsked | None = None
) -> TrainingAsked:
    """Return the question that fields of the table put. `num_gpus` turns --global-batch into micro-batches of
    a rank; what the fields do not say `base` says, a question that was read from a file.

    >>> asked = training_question(16, {"zero": 2, "tp": 2, "micro_batch": 4, "global_batch": 64})
    >>> asked.sharding, asked.mesh.tp, asked.grad_accum
    ('zero2', 2, 2)
    """
    values, base = dict(given), base or TrainingAsked()
    sizes = {name: values.pop(name) for name in Mesh._fields if name in values}
    if sizes.get("virtual_stages", 1) > 1 and "schedule" not in sizes:
        sizes["schedule"] = "interleaved"
    ways = [name for name in WAYS if values.get(name) not in (None, False)]
    if len(ways) > 1:
        raise UsageError(f"--{ways[0]} and --{ways[1]} say the same thing", "give one of them", ways[1])
    stage, batch = values.pop("zero", None), values.pop("global_batch", None)
    if stage is not None:
        values["sharding"] = STAGES[stage]
    if values.pop("fsdp", False):
        values["sharding"] = "fsdp2"
    mesh = base.mesh._replace(**sizes)
    if batch is not None:
        if "grad_accum" in values:
            raise UsageError(
                "--global-batch and --grad-accum say the same thing", "give one of them", "global_batch"
            )
        micro_batch = values.get("micro_batch", base.micro_batch)
        values["grad_accum"] = micro_batches(batch, micro_batch, mesh, num_gpus)
    return base._replace(**values, mesh=mesh)


def micro_batches(batch: int, micro_batch: int, mesh: Mesh, num_gpus: int) -> int:
    """Return the micro-batches of a rank: the global batch over data-parallel ranks and the micro-batch,
    which it must divide.

    >>> micro_batches(64, 4, Mesh(tp=2), 16)
    2
    """
    ranks = mesh.dp or max(1, num_gpus // (mesh.tp * mesh.pp * mesh.cp))
    if batch % (ranks * micro_batch):
        raise UsageError(
            f"--global-batch {batch} is no multiple of {ranks} ranks x --micro-batch {micro_batch}",
            "choose one that is",
            "global_batch",
        )
    return batch // (ranks * micro_batch)
