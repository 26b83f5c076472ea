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
    """Whether each rank has all weights on its card before they are divided.

    ZeRO-3: transformers opens zero.Init for no model that is packed (modeling_utils.py, get_init_context of
    4.40 to 5: "not is_quantized"), so that DeepSpeed moves it to the card (runtime/engine.py,
    _configure_distributed_model; DeepSpeed issue 5617, bitsandbytes issue 1249). FSDP: what some releases of
    a framework moved, by the sharding whatever the method, or by the family of a packed model.
    """
    request, of = job.request, framework(job.request.framework)
    if job.mesh.dp * job.mesh.cp == 1:
        return False
    moved = of.habits(request.framework_version).loaded_whole.split()
    if request.sharding in moved or request.method != "qlora":
        return request.sharding in moved
    if request.sharding == "fsdp1":
        return job.model.family in moved
    return job.engine is not None and job.engine.stage == 3 and of.runs_transformers


def with_loading(group: RankGroup, portions: list[Portion], job: Job) -> RankGroup:
    """Return the ranks with the ledger of what they load, where that is more than their step; the step stays
    with them."""
    if not loads_whole(job):
        return group
    form = job.recipe._replace(weight=min(job.recipe.weight, job.recipe.compute))  # as it is loaded
    whole = sum(weight_bytes_of(each, each.total, job.request, form) for each in portions)
    values = sum(each.total for each in portions)
    line = exact(
        "weights.trained" if job.request.method == "full" else "weights.frozen",
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
    if beyond := max(0, group.ledger.high_bytes - ledger.high_bytes):
        line = line._replace(kind="assumed", high_bytes=whole + beyond)  # a step may hold more
        ledger = ledger._replace(lines=(line, *outside))
    peaks = Peaks(whole, whole, ledger.total_bytes, "load", "before weights are divided", line.high_bytes)
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
