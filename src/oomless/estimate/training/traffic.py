"""What one training step sends over the links: for each axis of the mesh the collectives, their number, and
the bytes that one rank sends.

Closed forms over the tensor list. Payload alone, by the algorithms that send least
(estimate/training/collectives.py); in steps after the first. Left out: norms of gradients, losses and scaling
flags (a few bytes), buffers that DDP repeats (rotary tables), barriers and checkpoints.
"""

from collections.abc import Iterator
from typing import NamedTuple

from ...frameworks.defaults import resolved
from ...model.model import Model
from ...run.training import Mesh, TrainingAsked, TrainingResolved
from .collectives import Axis, Transfer, grid, layer_widths
from .rank_portions import PipelineStage, check_mesh, stages
from .traffic_layers import context_parallel, expert_parallel, micro_batch_tokens, pipeline
from .traffic_states import states
from .traffic_tensor import tensor_parallel


class StageTraffic(NamedTuple):
    """The transfers of one rank of a pipeline stage (all are alike)."""

    stage: int
    num_ranks: int
    transfers: tuple[Transfer, ...]

    @property
    def sent_bytes(self) -> int:
        return sum(each.sent_bytes for each in self.transfers)


class AxisTraffic(NamedTuple):
    """What one rank sends in a step along one axis."""

    axis: Axis
    sent_bytes: int
    collectives: tuple[str, ...]


def by_axis(stage: StageTraffic) -> tuple[AxisTraffic, ...]:
    """The transfers of a stage, summed by axis."""
    found: dict[Axis, list[Transfer]] = {}
    for each in stage.transfers:
        found.setdefault(each.axis, []).append(each)
    return tuple(
        AxisTraffic(
            axis,
            sum(each.sent_bytes for each in group),
            tuple(dict.fromkeys(each.collective for each in group)),
        )
        for axis, group in found.items()
    )


def two_dimensional(model: Model, asked: TrainingResolved, mesh: Mesh) -> str:
    """What two dimensions of tensor parallelism would change, in a sentence; "" where they are not defined.

    They are never launched: Colossal-AI's present release has left them out, and no other maintained library
    runs them.

    >>> from ...model.load import load
    >>> two_dimensional(load("profile-deepseek-pro-13b"), TrainingResolved(seq_len=4096), Mesh(tp=4))
    '2D tensor parallelism (which no maintained library runs) would send 2.60 times as much over 4 ranks;
     less from 26,936 tokens a micro-batch on'
    """
    found = grid(model, mesh.tp, micro_batch_tokens(asked, mesh)) if mesh.tp > 1 else None
    if found is None:
        return ""
    times = found.two_dimensions / found.one_dimension
    when = f"less from {found.equal_tokens:,} tokens a micro-batch on" if found.equal_tokens else "never less"
    return (
        f"2D tensor parallelism (which no maintained library runs) would send {times:.2f} times "
        f"as much over {mesh.tp} ranks; {when}"
    )


def known(model: Model) -> bool:
    """Whether the model's products are known: a run that was read from an argument list of Megatron-LM has
    sizes alone."""
    return any(layer_widths(model.tensors, layer).out for layer in range(min(2, len(model.layers))))


def busiest(stages_of: tuple[StageTraffic, ...]) -> StageTraffic:
    """The stage whose ranks send most."""
    return max(stages_of, key=lambda each: each.sent_bytes)


def traffic(model: Model, question: TrainingAsked, world: int) -> tuple[StageTraffic, ...]:
    """The communication of one step, stage by stage.

    >>> from ...model.load import load
    >>> ddp = TrainingAsked(framework="fsdp", sharding="ddp", precision="bf16", seq_len=2048)
    >>> [
    ...     (t.collective, t.num_calls, t.sent_bytes)
    ...     for t in traffic(load("deepseek-coder-1.3b"), ddp, 8)[0].transfers
    ... ]
    [('all-reduce', 219, 4712651776)]
    """
    asked = resolved(question, model.max_positions, model.family)
    mesh = check_mesh(model, asked.mesh, world)
    return tuple(
        StageTraffic(
            stage.rank,
            mesh.num_ranks // mesh.pp,
            tuple(each for each in _stage(model, asked, mesh, stage) if each.sent_bytes),
        )
        for stage in stages(len(model.layers), mesh)
    )


def _stage(model: Model, asked: TrainingResolved, mesh: Mesh, stage: PipelineStage) -> Iterator[Transfer]:
    yield from states(model, asked, mesh, stage)
    yield from tensor_parallel(model, asked, mesh, stage)
    yield from context_parallel(model, asked, mesh, stage.layers)
    yield from expert_parallel(model, asked, mesh, stage.layers)
    yield from pipeline(model, asked, mesh, stage)
