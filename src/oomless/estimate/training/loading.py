"""What a rank holds before its first step, where that may be more than a step does."""

from ...frameworks import framework
from ...ledger import exact
from ...run.training import Recipe
from .job import Job
from .rank_group import Peaks, RankGroup
from .rank_portions import Portion
from .reserved import OUTSIDE
from .state_bytes import weight_bytes_of
from .training_estimate import After, TrainingEstimate, TrainingMoment


def loaded_width(job: Job) -> int:
    """Return the bytes of a trained value on each rank's card before weights are divided; 0: no card has all
    of them.

    ZeRO-3: transformers opens zero.Init for no model that is packed (modeling_utils.py, get_init_context of
    4.40 to 5: "not is_quantized"), so that DeepSpeed moves it to the card (runtime/engine.py,
    _configure_distributed_model; DeepSpeed issue 5617, bitsandbytes issue 1249). Else what some releases of
    a framework moved, by the sharding whatever the method, in bytes of their own where all is trained
    ("zero2/4"), or by the family of a packed model under FSDP1, each of whose matrices transformers moves to
    the host (4.39, _load_state_dict_into_meta_model).
    """
    request, of = job.request, framework(job.request.framework)
    usual = as_it_is_loaded(job.recipe)
    said = of.habits(request.framework_version).loaded_whole
    moved = {name: width for name, _, width in (each.partition("/") for each in said)}
    apart = request.sharding == "fsdp1" and request.method == "qlora"
    if request.sharding in moved and not apart:
        return int(moved[request.sharding] or usual) if request.method == "full" else usual
    if job.mesh.dp * job.mesh.cp == 1 or request.method != "qlora":
        return 0
    if request.sharding == "fsdp1":
        return usual if job.model.family in moved else 0
    return usual if job.engine is not None and job.engine.stage == 3 and of.runs_transformers else 0


def as_it_is_loaded(form: Recipe) -> int:
    """Return the bytes of a value that nobody casts."""
    return min(form.weight, form.compute)


def with_loading(group: RankGroup, portions: list[Portion], job: Job) -> RankGroup:
    """Return the ranks with the ledger of what they load, where that is more than their step; the step stays
    with them. What a framework casts for the training may be told to stay as it is (pure_bf16)."""
    wide, usual = loaded_width(job), as_it_is_loaded(job.recipe)
    if not wide:
        return group

    def loaded(width: int) -> int:
        forms = [job.recipe._replace(weight=width if each.trained else usual) for each in portions]
        return sum(
            weight_bytes_of(each, each.total, job.request, form)
            for each, form in zip(portions, forms, strict=True)
        )

    whole = loaded(wide)
    values = sum(each.total for each in portions)
    line = exact(
        "weights.trained" if job.request.method == "full" else "weights.frozen",
        "policy",
        "weights before they are divided",
        whole,
        f"{values:,} values, packed ones as they are stored",
        "estimate/training/loading.py",
    )
    if wide != usual:
        line = line._replace(kind="assumed", low_bytes=loaded(usual), formula=f"{values:,} values x {wide} B")
    outside = [each for each in group.ledger.lines if each.key in OUTSIDE]
    ledger = group.ledger._replace(lines=(line, *outside))
    if ledger.total_bytes <= group.ledger.total_bytes:
        return group
    more = max(0, group.ledger.low_bytes - ledger.low_bytes)  # the step holds so much, whatever is loaded
    if beyond := max(0, group.ledger.high_bytes - ledger.high_bytes):
        line = line._replace(kind="assumed", high_bytes=whole + beyond)  # a step may hold more
    line = line._replace(low_bytes=min(whole, line.low_bytes + more))
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
