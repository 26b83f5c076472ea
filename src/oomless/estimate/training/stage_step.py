"""One rank's training step before it is looked at moment by moment: its segments, its ends, its states, and
what is alive at several of its moments."""

from typing import NamedTuple

from ...frameworks import framework
from ...frameworks.deepspeed.zero_engine import HALF
from ...run.training import TrainingResolved
from .activations import CheckpointSegment
from .gathered import Gathered
from .head_and_loss import Ends
from .job import Job
from .phases import HEAD, LayerStates, PhasePart
from .pipeline import in_flight, pipeline_buffers
from .rank_portions import PipelineStage, Portion
from .recomputation import reentrant, waits_on_host
from .states import RankStates, views_into_buckets
from .tower import SeenImages


def resident_gradients(job: Job) -> bool:
    """Whether gradients have memory of their own through the whole step: buckets, Megatron's buffers, or
    micro-batches that add up."""
    return held_always(job) or job.request.adds_gradients or job.mesh.pp > 1


def held_always(job: Job) -> bool:
    """Whether gradients lie in buffers that live from the first step on: those of DDP and Megatron, and the
    partition of DeepSpeed's ZeRO-3. A DeepSpeed engine without ZeRO has no buckets; its BF16_Optimizer keeps
    16-bit gradients until the next backward."""
    if job.engine is not None:
        return job.engine.stage == 3 or job.engine.wide_gradients
    return job.request.sharding in ("distopt", "megatron_fsdp") or views_into_buckets(job.request)


def may_defer_scatter(job: Job) -> bool:
    """Whether fully sharded ranks may keep the gradients of several micro-batches whole, and scatter them in
    the last one's backward.

    Where a framework enters no_sync under accumulation, FSDP1 does so in every release. FSDP2 has no such
    method: accelerate turns its reductions off from 1.11 on (Accelerator.no_sync, pull request 3762), and a
    question does not say which release runs.
    """
    several = job.request.adds_gradients and job.mesh.pp == 1
    sharded = job.request.sharding in ("fsdp1", "fsdp2", "hsdp")
    return several and sharded and framework(job.request.framework).accumulation != "scattered"


def inputs_wait(request: TrainingResolved) -> bool:
    """Whether the inputs of layers, and their gradients, outlive the layers' backward.

    FSDP1 reshards a unit without trained weights when the gradients of its inputs are there, by a hook that
    it removes when the whole backward is over (torch/distributed/fsdp/_runtime_utils.py,
    _register_post_backward_reshard_only_hook). Under a reentrant checkpoint these inputs are leaves, and the
    hook holds them: two hidden states a layer where one is kept (a CPU run of six layers: 1, 2, ... 6).
    """
    return request.sharding == "fsdp1" and request.method != "full" and reentrant(request)


def staying(job: Job, num_bytes: int, gathered: PhasePart | None = None) -> int:
    """Return how much of the weights of layers that ran backward stays until the step, beyond `gathered` or
    what is gathered ahead, where a backward gives none up (DeepSpeed 0.16.0 to 0.16.7), or none that are
    frozen (FSDP1 before torch 2.1: adapters are units of their own)."""
    request, engine = job.request, job.engine
    earlier = framework(request.framework).habits(request.framework_version)
    if request.sharding == "fsdp1" and request.method != "full" and earlier.frozen_stay:
        return max(0, num_bytes - (gathered.bytes if gathered else 0))
    if engine is None or engine.stage != 3 or request.recompute != "full" or reentrant(request):
        return 0
    return max(0, num_bytes - HALF * engine.gathered_at_most()) if earlier.weights_stay else 0


class StageStep(NamedTuple):
    """A step of the ranks of one pipeline stage."""

    job: Job
    stage: PipelineStage
    segments: tuple[CheckpointSegment, ...]
    last: Ends | None
    """The head and the loss, if they are this stage's."""
    portions: list[Portion]
    held: RankStates
    per_layer: dict[int, LayerStates]
    gathered: Gathered
    boundary: int
    """Bytes of one micro-batch's hidden states."""
    tower: SeenImages
    """What images take on the first stage."""

    @property
    def kept(self) -> int:
        """Bytes that one micro-batch keeps in the layers."""
        return sum(segment.saved for segment in self.segments)

    @property
    def offloads(self) -> bool:
        """Whether what layers keep waits in host memory."""
        return waits_on_host(self.job.request)

    @property
    def window(self) -> int:
        """Bytes of what layers keep that may be on the card: all of it, or the two segments that move."""
        return 2 * max(segment.saved for segment in self.segments) if self.offloads else self.kept

    @property
    def in_flight(self) -> int:
        """Chunks of layers whose activations wait for their backward."""
        mesh = self.job.mesh
        if mesh.pp == 1:
            return mesh.virtual_stages
        return in_flight(mesh, self.stage, self.job.request.grad_accum)

    @property
    def resident(self) -> bool:
        """Whether gradients have memory of their own through the whole step."""
        return resident_gradients(self.job)

    @property
    def adds_up(self) -> bool:
        """Whether a new gradient is added to one that is there."""
        request, engine = self.job.request, self.job.engine
        if engine is not None and engine.stage == 3:
            return False  # a whole gradient is among what is gathered
        several = request.adds_gradients or self.job.mesh.pp > 1
        return several or request.sharding == "zero2" or views_into_buckets(request)

    @property
    def makes_partition_anew(self) -> bool:
        """Whether each backward makes a gradient partition that is then added to the one that is there
        (DeepSpeed's ZeRO-2: grads_in_partition)."""
        engine = self.job.engine
        return engine is not None and engine.stage == 2 and self.job.request.adds_gradients

    def buckets(self, at_boundary: bool = False) -> PhasePart | None:
        """Return the buckets in which a DeepSpeed engine reduces while layers run backward, or when the last
        backward is over; None: there are none."""
        engine, held = self.job.engine, self.held
        if engine is None:
            return None
        ranks = self.job.mesh.dp * self.job.mesh.cp
        trained, mine = held.graded_values, held.values_here
        size = engine.at_boundary(trained, mine, ranks) if at_boundary else engine.in_backward(trained)
        formula = f"buckets of {engine.reduce_bucket:,} values"
        return PhasePart("communication.reduced", "gradients that are reduced", size, formula)

    def empty_buckets(self) -> PhasePart | None:
        """Return the buckets that a DeepSpeed engine makes before the loss runs backward."""
        engine = self.job.engine
        if engine is None:
            return None
        formula = f"buckets of {engine.reduce_bucket:,} values"
        return PhasePart("communication.reduced", "buckets of gradients", engine.in_loss, formula)

    def of_layer(self, layer: int) -> LayerStates:
        """Return what a layer has of weights and gradients while they come and go."""
        return self.per_layer.get(layer, LayerStates())

    def gradients(self) -> PhasePart | None:
        """Return the gradients that have memory of their own; None: they appear as the backward runs.

        Where all micro-batches of a pipeline are in flight, the first backward makes the gradients: when all
        of them are there, one micro-batch's activations are gone.
        """
        if not self.resident:
            return None
        request, mesh, chunks = self.job.request, self.job.mesh, self.job.mesh.virtual_stages
        if mesh.pp > 1 and self.in_flight == request.grad_accum * chunks and not held_always(self.job):
            late = max(0, self.held.gradients - self.kept // chunks)
            formula = "all of them, when one micro-batch less is in flight"
            return PhasePart("gradients.trained", "gradients", late, formula)
        held, size = self.held.gradients, self.job.recipe.compute
        if may_defer_scatter(self.job) and framework(request.framework).accumulation == "whole":
            values = sum(each.unit_values for each in self.per_layer.values())
            whole = held + 4 * values - size * values // (mesh.shard_size or mesh.dp * mesh.cp)
            formula = f"{values:,} values x 4 B, whole until the last micro-batch, and those of experts"
            return PhasePart("gradients.trained", "gradients", whole, formula)
        if may_defer_scatter(self.job):
            whole = max(held, size * self.held.graded_values)
            formula = f"{self.held.graded_values:,} values x {size} B, if whole until the last micro-batch"
            value = whole if request.sharding == "fsdp1" else held
            return PhasePart("gradients.trained", "gradients", value, formula, whole if value else 0)
        return PhasePart("gradients.trained", "gradients", held, "memory of their own")

    def waiting(self) -> PhasePart:
        """Return what micro-batches in flight keep beside the running one."""
        chunks, each = self.in_flight, self.job.mesh.virtual_stages
        others = 0 if self.offloads else max(0, self.kept * chunks // each - self.kept)
        formula = f"{chunks} chunks of {each} a micro-batch"
        return PhasePart("activations.in_flight", "activations of micro-batches in flight", others, formula)

    def pipes(self) -> PhasePart:
        """Return what passes between the stages of a pipeline."""
        job = self.job
        return pipeline_buffers(job.mesh, self.stage, job.request, self.boundary, self.in_flight)

    def inputs(self) -> PhasePart:
        """Return token ids, labels and mask of a micro-batch, and the pixels of its images."""
        request, (least, most) = self.job.request, self.tower.pixels
        text = 3 * 8 * request.sequences * request.seq_len // self.job.mesh.cp
        formula = "3 x 8 B a token" + (f"; images: {least:,} to {most:,} B" if most else "")
        return PhasePart("inputs.batch", "token ids, labels, mask", text + least, formula, text + most)

    def unpacked(self) -> PhasePart:
        """Return the packed experts of one layer in the type of the computation."""
        stacks, size = max(each.stacks for each in self.per_layer.values()), self.job.recipe.compute
        formula = f"{stacks // size:,} values x {size} B"
        return PhasePart("temporaries.unpacked_experts", "a layer's experts, unpacked", stacks, formula)

    def below(self) -> PhasePart:
        """Return what the layers keep while the loss runs."""
        sizes: dict[int, int] = {}
        for segment in self.segments:
            sizes[segment.saved] = sizes.get(segment.saved, 0) + 1
        formula = " + ".join(f"{count} x {size:,} B" for size, count in sizes.items())
        num_bytes = min(self.window, self.kept) if self.offloads else self.kept
        return PhasePart("activations.kept", "activations kept by the layers", num_bytes, formula)

    @property
    def casts(self) -> int:
        """Bytes of all copies that autocast makes of weights."""
        return sum(each.casts for each in self.per_layer.values())

    @property
    def casts_kept(self) -> int:
        """Bytes of copies of weights that outlive the forward: autograd keeps those of layers that are not
        computed again."""
        if self.job.request.recompute == "full":
            return self.per_layer[HEAD].casts if HEAD in self.per_layer else 0
        return self.casts

    def casts_in_forward(self) -> PhasePart:
        """Return the most copies of weights that are alive in a layer of the forward.

        The region of autocast caches those of trained weights alone (ATen/autocast_mode.cpp, cached_cast: a
        leaf that requires a gradient). Frozen ones go with the layer that is computed again.
        """
        size, most = self.job.recipe.compute, self.casts
        if self.job.request.method != "full":
            most = max(self.casts_kept, *(each.casts for each in self.per_layer.values()))
        formula = f"{most // size:,} values x {size} B"
        return PhasePart("temporaries.autocast", "autocast copies of weights", most, formula)

    def casts_in_loss(self) -> PhasePart:
        """Return the copies of weights that are alive while the loss runs forward."""
        kept = self.casts if self.job.request.method == "full" else self.casts_kept
        return self.casts_in_forward()._replace(bytes=kept)


def parts(*found: PhasePart | None) -> tuple[PhasePart, ...]:
    """Return the parts that hold something."""
    return tuple(part for part in found if part is not None and max(part.bytes, part.most))


def span(layers: tuple[int, ...]) -> str:
    """Return the numbers of layers in words.

    >>> span((3,)), span((4, 5, 6))
    ('3', '4 to 6')
    """
    return str(layers[0]) if len(layers) == 1 else f"{layers[0]} to {layers[-1]}"
