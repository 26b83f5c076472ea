"""The frozen forward of preference learning: it runs while the policy's activations and logits wait for their
backward.

TRL (get_batch_loss_metrics, compute_loss) and ColossalChat (coati/trainer) run the policy forward first, then
the reference; ms-swift on Megatron the other way round (swift/megatron/trainers/dpo_trainer.py).
"""

from ...frameworks import framework
from ...frameworks.graphs.loss_kinds import loss_kind
from ...ledger import Line, Owner, exact
from ...model.attention import DSA, GQA, MLA, Sliding
from ...model.model import Model
from ...run.training import Mesh, TrainingResolved
from .activations import segments
from .head_and_loss import COMPARING, Ends, ends, kind_of_loss, vocab_parallel
from .micro_batch_work import work_of
from .phases import PhasePart
from .rank_group import RankGroup
from .rank_portions import stages
from .reserved import with_spread
from .training_estimate import TrainingEstimate

F32 = 4
SOURCE = "estimate/training/reference_forward.py"


def compared(estimate: TrainingEstimate, group: RankGroup) -> list[Line]:
    """Return what is alive at the worst moment of the frozen forward, beside weights and optimizer states.

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> from .estimate import estimate_training
    >>> asked = TrainingResolved(
    ...     framework="colossalai", task="dpo", micro_batch=8, seq_len=2048, recompute="full"
    ... )
    >>> found = estimate_training(load("deepseek-llm-7b"), asked, parse_gpu("h100:8"))
    >>> [line.bytes for line in compared(found, found.groups[0]) if line.key == "activations.cache"]
    [8053063680]
    """
    waiting = [] if vocab_parallel(estimate.request) else policy_lines(estimate, group)
    return with_spread([*waiting, *frozen_lines(estimate, group)], estimate.job)


def policy_lines(estimate: TrainingEstimate, group: RankGroup) -> list[Line]:
    """Return what the policy holds meanwhile: its layers keep what their backward reads, its logits have
    names, and log_softmax keeps its output. A stage without the loss holds the fullest moment of its
    forward."""

    def of(part: PhasePart) -> Line:
        return exact(part.key, "policy", f"policy, {part.what}", part.bytes, part.formula, SOURCE)

    loss = loss_parts(group)
    if not loss:
        return [of(part) for part in group.phases[0].parts]
    wide = logits_bytes(estimate)
    held = _ends(estimate).saved + wide * kind_of_loss(estimate.request, False).named_bytes // F32
    formula = f"{wide:,} B of logits, and what autograd keeps"
    logits = exact("logits.held", "policy", "policy, logits and log-probabilities", held, formula, SOURCE)
    kept = [of(part) for part in loss if part.category != "logits"]
    return [*kept, logits, *held_names(estimate, True, read=True)]


def loss_parts(group: RankGroup) -> list[PhasePart]:
    """Return what a rank holds while the loss runs forward; nothing where it has no loss."""
    return [
        part
        for phase in group.phases
        if (phase.name, phase.moment) == ("forward", "in the loss")
        for part in phase.parts
    ]


def frozen_lines(estimate: TrainingEstimate, group: RankGroup) -> list[Line]:
    """Return what the frozen forward makes, which has no graph: a layer's transients, or the head's logits
    and their log-probabilities. Some trainers let it fill a cache of keys and values."""
    model, request, mesh = estimate.model, estimate.request, estimate.mesh
    plain = estimate.job._replace(
        request=request._replace(
            method="full",
            recompute="full",
            recompute_every=1,
            recompute_num_layers=None,
            partition_activations=False,
        )
    )
    work = work_of(plain)
    last = stages(len(model.layers), mesh)[-1]
    layers = max(segment.forward_peak - segment.saved for segment in segments(plain, work, last))
    wide, kind = logits_bytes(estimate) if loss_parts(group) else 0, kind_of_loss(request, False)
    made = wide * work.compute // F32
    narrow = kind.upcast == "none"
    head = made if narrow or work.compute == F32 else wide + made
    whole = wide * kind.frozen_bytes // F32
    loss = whole if wide or not loss_parts(group) else ends(plain, work).forward_peak
    cache = cache_bytes(model, request, mesh) if framework(request.framework).frozen_cache else 0
    passing = max(cache + max(layers, head), loss)
    owner: Owner = "reference" if request.method == "full" else "policy"  # without adapters the policy serves
    formula = f"{layers:,}, {head:,}, {loss:,} B"
    running = exact(
        "logits.loss",
        owner,
        "forward of the frozen model: a layer, or logits",
        passing - min(cache, passing),
        formula,
        SOURCE,
    )
    if not cache:
        return [running]
    what = "frozen forward: cache of keys and values"
    return [running, exact("activations.cache", owner, what, cache, "use_cache of the config", SOURCE)]


def logits_bytes(estimate: TrainingEstimate) -> int:
    """F32 logits of one forward on one rank, if the trainer has them."""
    return F32 * _ends(estimate).logits if kind_of_loss(estimate.request, False).frozen_bytes else 0


def scored_bytes(estimate: TrainingEstimate) -> int:
    """Logits and log-probabilities of a forward without a graph on one rank, at their fullest; 0 where the
    loss has no size of its own for it."""
    return _ends(estimate).logits * kind_of_loss(estimate.request, False).frozen_bytes


def held_names(estimate: TrainingEstimate, reference: bool, read: bool) -> list[Line]:
    """Logits that a training loop still names when they are not read any more: the reference's of this step
    or the one before, and those of KTO's KL term. `read`: the policy's own logits are counted with the
    loss, as it runs now.
    """
    request = estimate.request
    if request.task not in COMPARING or not loss_kind("log-probs", request.framework).logits_alive:
        return []
    wide, forwards = logits_bytes(estimate), 2 if request.task == "kto" else 1
    found = []
    if not read:
        found.append(
            exact("logits.held", "policy", "policy, logits of the step", wide, f"{wide:,} B", SOURCE)
        )
    if forwards > 1:
        found.append(
            exact("logits.held", "policy", "policy, logits of the KL term", wide, f"{wide:,} B", SOURCE)
        )
    if reference:
        found.append(
            exact(
                "logits.held",
                "reference",
                "reference model: logits",
                forwards * wide,
                f"{forwards} x {wide:,} B",
                SOURCE,
            )
        )
    return found


def _ends(estimate: TrainingEstimate) -> Ends:
    return ends(estimate.job, work_of(estimate.job))


def cache_bytes(model: Model, request: TrainingResolved, mesh: Mesh) -> int:
    """Keys and values of all tokens, as a model without an engine makes them; with MLA transformers keeps
    them whole, for every head."""
    values = 0
    for layer in model.layers:
        kind = layer.attention.inner if isinstance(layer.attention, Sliding) else layer.attention
        if isinstance(kind, DSA):
            kind = kind.mla
        if isinstance(kind, GQA):
            values += kind.num_kv_heads * kind.cache_dim
        elif isinstance(kind, MLA):
            values += kind.num_heads * (kind.qk_nope_head_dim + kind.qk_rope_head_dim + kind.v_head_dim)
    tokens = request.micro_batch * request.seq_len
    return values * tokens * 2 // mesh.tp
