"""What torch's DDP takes when it is made: ranks get the first one's weights, trained and frozen."""

from ...frameworks import framework
from ...ledger import Line
from ...units import MIB
from .job import Job

BUCKET = 250 * MIB
"""broadcast_bucket_size (torch/nn/parallel/distributed.py)."""


def copied_at_start(job: Job, weights: int) -> int:
    """Return the bytes of flat copies in which DDP sends `weights` bytes.

    Weights go in buckets, each of which is one flat copy. Two are under way (torch/csrc/distributed/c10d,
    comm.cpp), but to torch 2.7 NCCL's group records its stream on what it sends, and the allocator gives no
    block again before the card is done with it: the host makes all copies first (torchtune pull request 843
    saw 78 GiB where 23 were needed). An embedding that fills a bucket is sent as it is. From 2.8 on a copy
    is free once the computing stream waits (ProcessGroupNCCL.hpp, TensorShelf). DeepSpeed and Megatron send
    each weight in place.

    7B with adapters on two cards, ms-swift of January 2025: 27.5 GiB reserved.

    >>> from .estimate import job_of
    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> from ...run.training import TrainingAsked
    >>> asked = TrainingAsked(framework="ms-swift", method="lora", precision="bf16", sharding="ddp")
    >>> model, cards = load("qwen2.5-7b"), parse_gpu("a100-80gb:2")
    >>> for version in ("torch 2.5", "torch 2.8"):
    ...     job = job_of(model, asked._replace(framework_version=version), cards)
    ...     print(round(copied_at_start(job, model.num_parameters * 2) / 2**30, 2))
    13.17
    0.0
    """
    request, of = job.request, framework(job.request.framework)
    if request.sharding != "ddp" or job.mesh.num_ranks == 1 or job.engine is not None or of.megatron_core:
        return 0
    if not of.habits(request.framework_version).records_streams:
        return 0
    embedding = job.model.vocab_size * job.model.hidden_size * job.recipe.weight
    return max(0, weights - (embedding if embedding >= BUCKET else 0))


def held_from_start(line: Line, more: int) -> Line:
    """Return what the allocator holds, which is no less than `more` that was free when training began, as far
    as nobody needs the room."""
    if more <= line.bytes:
        return line
    return line._replace(
        bytes=more,
        high_bytes=max(line.high_bytes, more),
        formula=f"{more:,} B of the copies that DDP sent at its start",
        source="torch/nn/parallel/distributed.py, _sync_module_states",
    )
