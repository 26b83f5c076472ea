"""What a rank holds before its first step, where that may be more than a step does."""

from ...frameworks import framework
from ...ledger import exact
from .job import Job
from .rank_group import Peaks, RankGroup
from .rank_portions import Portion
from .reserved import OUTSIDE
from .state_bytes import weight_bytes_of
from .training_estimate import After, TrainingEstimate, TrainingMoment


def loads_whole(job: Job) -> bool:
    """Whether DeepSpeed's ZeRO-3 gets a model whole: transformers opens zero.Init for none that is packed
    (modeling_utils.py, get_init_context of 4.40 to 5: "not is_quantized"), so that the engine moves it to the
    card and divides it then (runtime/engine.py, _configure_distributed_model; DeepSpeed issue 5617,
    bitsandbytes issue 1249)."""
    request = job.request
    divides = job.engine is not None and job.engine.stage == 3 and job.mesh.dp * job.mesh.cp > 1
    return divides and request.method == "qlora" and framework(request.framework).runs_transformers


def with_loading(group: RankGroup, portions: list[Portion], job: Job) -> RankGroup:
    """Return the ranks with the ledger of what they load, where that is more than their step; the step stays
    with them."""
    if not loads_whole(job):
        return group
    whole = sum(weight_bytes_of(each, each.total, job.request, job.recipe) for each in portions)
    values = sum(each.total for each in portions)
    line = exact(
        "weights.frozen",
        "policy",
        "weights before they are divided",
        whole,
        f"{values:,} values, packed ones as they are stored",
        "estimate/training/loading.py",
    )
    outside = [each for each in group.ledger.lines if each.key in OUTSIDE]
    ledger = group.ledger._replace(lines=(line, *outside))
    if ledger.total_bytes <= group.ledger.total_bytes:
        return group
    peaks = Peaks(whole, whole, ledger.total_bytes, "load", "before weights are divided", whole)
    return group._replace(ledger=ledger, peaks=peaks, step=group)


def in_step(estimate: TrainingEstimate) -> TrainingEstimate:
    """Return the estimate of a step alone."""
    return estimate._replace(groups=tuple(each.step or each for each in estimate.groups))


def beside_loading(found: After, estimate: TrainingEstimate) -> After:
    """Return the moments of a step, and that of loading where it is more than an update."""
    worst = estimate.groups[estimate.worst_rank]
    if worst.step is None:
        return found
    return found._replace(moments=(*found.moments, TrainingMoment("load", worst.ledger)))
