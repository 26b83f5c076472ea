"""Will it train? A model, a question and hardware -> a ledger for each group of equal ranks at its peak, the
phases, a verdict."""

from ... import facts
from ...errors import UnsupportedError, UsageError
from ...frameworks import framework
from ...frameworks.deepspeed.zero_engine import engine_of
from ...frameworks.defaults import resolved
from ...frameworks.graphs.blocks import MicroBatchWork
from ...frameworks.megatron.activations import on_host
from ...frameworks.megatron.models import described
from ...frameworks.megatron.run import Megatron
from ...ledger import Line
from ...model.model import Model
from ...run.cards import Hardware
from ...run.training import TrainingAsked, TrainingResolved
from ...units import GIB
from ..serving.unified_memory import on_shared_memory
from .checks import (
    check_model,
    check_sharding,
    check_types,
    in_types_of,
    loss_on,
    micro_batches,
    trained_model,
    with_targets,
)
from .counted_step import CountedStage, counted
from .head_and_loss import CONTRASTIVE
from .job import Job, capacity_of
from .kbit_preparation import kept_lines, may_be_prepared, prepared_lines
from .loading import with_loading
from .megatron import device_of, estimate_megatron
from .notes import warnings
from .rank_group import RankGroup, rank_group
from .rank_portions import check_mesh
from .reserved import process_line, with_spread
from .stage_step import resident_gradients
from .training_estimate import TrainingEstimate, worst_of


def estimate_training(model: Model, asked: TrainingAsked, hardware: Hardware) -> TrainingEstimate:
    """Return the estimate of every pipeline stage; the verdict is the worst one's."""
    job = job_of(model, asked, hardware)
    if framework(job.request.framework).megatron_core:
        run = described(job.model, job.request, job.mesh)
        if run is not None:
            return by_megatron(run, job, asked)
    if job.request.offload_layers is not None:
        raise UnsupportedError(
            f"--offload-layers {job.request.offload_layers} is not counted here",
            "it is with --offload activations of a model in Megatron's own layers, without --pp",
        )
    found = counted(job)
    host, groups = data_workers_bytes(job.request, job.mesh.num_ranks), []
    for stage in found.stages:
        group, on_host = of_stage(stage, found.work, asked)
        groups.append(group)
        host += on_host * job.mesh.num_ranks // job.mesh.pp
    return TrainingEstimate(
        model=job.model,
        request=job.request,
        hardware=hardware,
        mesh=job.mesh,
        groups=tuple(groups),
        ram_bytes=host,
        disk_bytes=found.disk_bytes,
        worst_rank=worst_of(tuple(groups)),
        warnings=warnings(job, asked),
        asked=asked,
    )


def job_of(model: Model, asked: TrainingAsked, hardware: Hardware) -> Job:
    """Return the question with every value filled in and checked against model and cards. A pipeline runs as
    many micro-batches as it has stages where a question says nothing of them."""
    request = resolved(asked, model.max_positions, model.family)
    if model.pooled and asked.loss is None and asked.task in ("pretrain", "sft"):
        request = request._replace(loss=CONTRASTIVE)
    capacity = capacity_of(hardware, request.reserve)
    mesh, of = check_mesh(model, request.mesh, hardware.num_gpus), framework(request.framework)
    mesh = mesh._replace(count_ends=mesh.count_ends or of.counts_ends)
    if of.ulysses and not of.torch_context:
        request = request._replace(seq_len=padded_to_ranks(request.seq_len, mesh.cp))
    if request.seq_len % mesh.cp:
        raise UsageError(
            f"--cp {mesh.cp} does not divide --seq-len {request.seq_len}",
            "choose a length that is a multiple",
        )
    request = check_sharding(request, mesh)._replace(mesh=mesh)
    request = request._replace(grad_accum=micro_batches(request, mesh))
    request = loss_on(hardware.card, in_types_of(hardware.card, asked, request, model.dtype))
    if engine := engine_of(request, model.hidden_size):
        request = request._replace(offload=engine.moved(request.offload))
    check_types(request, hardware.card)
    check_model(model, request)
    request = with_targets(model, asked, request)
    return Job(trained_model(model, request), request, mesh, hardware, capacity)


def padded_to_ranks(seq_len: int, ranks: int) -> int:
    """Return the length that divides among the ranks of a sequence, as trainers with Ulysses pad it (ms-swift
    and Axolotl, sequence_parallel.py; verl, ulysses.py, ulysses_pad).

    >>> padded_to_ranks(65535, 4), padded_to_ranks(4096, 8)
    (65536, 4096)
    """
    return -(-seq_len // ranks) * ranks


def by_megatron(run: Megatron, job: Job, asked: TrainingAsked) -> TrainingEstimate:
    """Return the estimate by Megatron's own rules, of a model that its arguments describe; what a name leaves
    open, its kernels and fusions, widens the interval."""
    device = device_of(job.hardware)._replace(expandable=job.request.expandable_segments)
    found = estimate_megatron(run, job.hardware, device, job.request.reserve, named=job.model)
    return found._replace(
        request=job.request,
        mesh=job.mesh,
        asked=asked,
        ram_bytes=data_workers_bytes(job.request, job.mesh.num_ranks)
        + on_host(run, device) * job.mesh.num_ranks,
        warnings=warnings(job, asked),
        megatron=None,
    )


def of_stage(stage: CountedStage, work: MicroBatchWork, asked: TrainingAsked) -> tuple[RankGroup, int]:
    """Return the group of a pipeline stage, and what each of its ranks puts into host memory."""
    step, job = stage.step, stage.step.job
    on_host = step.held.host + (step.kept if step.offloads else 0)
    beside = on_shared_memory(job.hardware.card, on_host + data_workers_bytes(job.request, 1))
    beside = (*beside, *kept_lines(step.portions, job.request))
    if may_be_prepared(job.request, job.recipe):
        beside = (*beside, *prepared_lines(step, work, asked.recompute is None))
    return with_loading(at_peak(stage, beside), step.portions, job), on_host


def at_peak(stage: CountedStage, beside: tuple[Line, ...]) -> RankGroup:
    """Return the ledger of a stage at its peak: states, what the fullest phase adds, what the allocator holds
    beside it, the context."""
    step, job = stage.step, stage.step.job
    workspaces = process_line("runtime.cublas", job)
    held = step.held._replace(lines=(*step.held.lines, workspaces))
    always = [line for line in held.lines if line.category != "gradients"]
    steady = sum(line.bytes for line in always)
    steady += held.gradients if resident_gradients(job) else 0
    lines = [*with_spread(always, job), *stage.passing]
    return rank_group(job, step.stage.rank, held, steady, stage.phases, lines, beside)


PREFETCH = 2
"""Batches that torch's DataLoader asks of each worker ahead (prefetch_factor)."""
BATCH_TENSORS = 3
"""Token ids, labels and mask, of 8 bytes each."""


def data_workers_bytes(request: TrainingResolved, num_ranks: int) -> int:
    """Host memory of all ranks' data workers: private memory of each process, and the batches that it holds
    ahead in shared memory.

    workers x ranks x (private memory + 2 batches x micro-batch x tokens x 3 x 8 B). Source:
    facts/engines.csv, torch DataLoader. Ignored: a data set that lies in Python objects, which every worker
    copies as it touches them.

    >>> data_workers_bytes(TrainingResolved(data_workers=4, micro_batch=2, seq_len=4096), 8) // 1_000_000
    424
    """
    if not request.data_workers:
        return 0
    batch = request.micro_batch * request.seq_len * BATCH_TENSORS * 8
    private = round(facts.constant("training", "data_worker", (0,)).value * GIB)
    return num_ranks * request.data_workers * (private + PREFETCH * batch)
