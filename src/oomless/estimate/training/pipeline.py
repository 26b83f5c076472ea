"""What a pipeline adds to a rank: micro-batches in flight, buffers of what passes between stages, logits that
wait for their backward."""

from ...frameworks import framework
from ...run.training import Mesh, TrainingResolved
from .head_and_loss import Ends
from .phases import PhasePart
from .rank_portions import PipelineStage


def in_flight(mesh: Mesh, stage: PipelineStage, micro_batches: int) -> int:
    """Chunks of layers whose activations a rank holds at once, a micro-batch being as many as it has chunks.

    GPipe: all micro-batches. 1F1B and ZB1P: min(m, p - r). Interleaved: 2 (p - r - 1) + (v - 1) p + 1 chunks.
    ZB-V and DualPipe-V: as much as 1F1B's first stage on every rank. DualPipe: p + 1 micro-batches. Sources:
    arXiv 2104.04473, 2401.10241, deepseek-ai/DualPipe.

    >>> [in_flight(Mesh(pp=4), PipelineStage(r, ((0,),), r == 0, r == 3), 8) for r in range(4)]
    [4, 3, 2, 1]
    >>> in_flight(
    ...     Mesh(pp=4, virtual_stages=2, schedule="interleaved"),
    ...     PipelineStage(3, ((0,), (1,)), False, True),
    ...     8,
    ... )
    5
    """
    p, r, v, m = mesh.pp, stage.rank, mesh.virtual_stages, max(1, micro_batches)
    match mesh.schedule:
        case "gpipe":
            return m * v
        case "zbv" | "dualpipev":
            return min(m * v, p * v)
        case "dualpipe":
            return min(m, p + 1) * v
        case _ if v > 1:
            return min(m * v, 2 * (p - r - 1) + (v - 1) * p + 1)
        case _:
            return min(m, p - r)


def pipeline_buffers(
    mesh: Mesh, stage: PipelineStage, request: TrainingResolved, boundary: int, chunks: int
) -> PhasePart:
    """What passes between stages. `boundary`: bytes of one micro-batch's hidden states; `chunks`: those in
    flight, of v a micro-batch.

    torch.distributed.pipelining makes buffers for every micro-batch and chunk before the first step: of
    inputs where there is a stage before, of gradients where there is one behind. Inputs in flight are then
    these buffers and not what a layer keeps beside them; outputs in flight stay until their backward; one
    gradient is on its way. Schedules with several chunks wait for what they sent at the end of the flush
    alone (_PipelineScheduleRuntime), so outputs and gradients that were sent stay too. Seen with four ranks
    and three schedules: between steps to the byte. Others: an input and an output of what is in flight.
    """
    if mesh.pp == 1:
        return PhasePart("communication.pipeline", "pipeline inputs and outputs", 0, "")
    v, m, p = mesh.virtual_stages, max(1, request.grad_accum), mesh.pp
    if not framework(request.framework).torch_pipelines:
        return PhasePart(
            "communication.pipeline",
            "pipeline inputs and outputs",
            2 * boundary * chunks // v,
            f"2 x {boundary:,} B each",
        )
    with_input, with_output = v - stage.first, v - stage.last
    received = m * (with_input + with_output)
    outputs, sent = chunks * with_output // v, 1
    if v > 1:
        done = m * v - chunks
        rounds, rest = divmod(done, p * v)
        outputs, sent = m * with_output, rounds * p * with_input + min(rest, p * with_input)
    beside = outputs - min(m * with_input, chunks * with_input // v)
    total = max(0, received + beside + sent) * boundary
    text = (
        f"({received} received + {beside} outputs less inputs in flight + {sent} "
        f"gradients sent) x {boundary:,} B"
    )
    return PhasePart("communication.pipeline", "pipeline inputs and outputs", total, text)


def kept_outputs(
    mesh: Mesh, stage: PipelineStage, request: TrainingResolved, last: Ends, size: int, micro_batches: int
) -> int:
    """Logits that a pipeline holds until their backward, beside what the loss keeps: those of every
    micro-batch in flight.

    Source: torch.distributed.pipelining stage.py, fwd_cache.
    """
    if mesh.pp == 1 or not framework(request.framework).torch_pipelines or not stage.last:
        return 0
    return micro_batches * last.logits * size
