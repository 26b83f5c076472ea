"""After pre-training: the models and engines beside the one that is trained, moment by moment, and which
moment sets the peak.

A step of preference or reinforcement learning generates (a rollout engine), scores (frozen models run
forward) and updates. Each moment is a ledger of its own: what stays, and what only that moment needs. Frozen
weights lie in the type of computation, cut as the policy's are.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING

from ...engines import answering
from ...engines import engine as record_of
from ...errors import UsageError
from ...frameworks import framework
from ...frameworks.trainer.evaluation import logits_made
from ...ledger import Ledger, Line, Owner, exact
from ...model.model import Model
from ...run.serving import Asked, Layout
from ...run.training import Mesh, TrainingAsked, TrainingResolved, recipe
from ..serving.estimate import estimate_serving
from .estimate import estimate_training
from .head_and_loss import COMPARING, SAMPLING
from .hybrid_engine import HYBRID, hybrid_engine
from .rank_group import RankGroup
from .rank_portions import portions, stages
from .reference_forward import compared, held_names, scored_bytes
from .reserved import NONE_KEPT, OUTSIDE, kept_beyond, room_beside, within_room
from .rollout import generation, is_gathered, whole_policy
from .stage_step import held_always
from .training_estimate import After, Companions, TrainingEstimate, TrainingMoment

if TYPE_CHECKING:
    from ...frameworks.record import Framework

PAIRS = ("dpo", "reward")
"""Tasks whose micro-batch counts pairs: chosen and rejected run as one batch of twice as many sequences
(TRL's concatenated forward)."""
WITH_REFERENCE = ("dpo", "kto", "ppo")
"""Tasks that compare with a frozen reference unless told otherwise; so does GRPO where its weight is not 0
(TRL to 0.18, ms-swift)."""
PARKED = {"optimizer": "optimizer", "params": "weights", "gradients": "gradients"}
"""What may lie in host memory between updates -> its lines."""
OF_VALUE = "value-"
"""What such a word begins with where it is said of PPO's value model."""
KEPT_ASLEEP = ("runtime", "communication")
"""What a sleeping engine keeps on the card: vLLM's sleep mode gives up weights and cache, not its context,
graphs and buffers."""
LENT = ("weights.", "runtime.context", "fragmentation.weights")
"""Lines of an engine in the trainer's process that are the trainer's own (Framework.engine_lends)."""


def asked_update(asked: TrainingAsked) -> TrainingAsked:
    """The update as training sees it: pairs are two sequences.

    >>> (
    ...     asked_update(TrainingAsked(task="dpo", micro_batch=2)).micro_batch,
    ...     asked_update(TrainingAsked(task="kto", micro_batch=2)).micro_batch,
    ... )
    (4, 2)
    """
    return asked._replace(micro_batch=2 * asked.micro_batch) if asked.task in PAIRS else asked


def frozen_forwards(estimate: TrainingEstimate) -> int | None:
    """Return how many forward passes without a graph run beside a micro-batch of the update: DPO's reference
    on its pairs, KTO's policy on the pairs of its KL term, and its reference on both (TRL's and
    LLaMA-Factory's trainers). None: the step generates or rewards as well, of which no time is known.

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> def of(task, *beside):
    ...     asked = TrainingResolved(task=task, precision="bf16", seq_len=1024)
    ...     found = estimate_training(load("deepseek-coder-1.3b"), asked, parse_gpu("h100"))
    ...     return frozen_forwards(found._replace(beside=beside))
    >>> of("sft"), of("dpo"), of("dpo", ("reference_model", "none")), of("kto"), of("grpo")
    (0, 1, 0, 3, None)
    """
    stands, task = dict(estimate.beside), estimate.request.task
    stands.pop("score_tokens", None)  # of what is evaluated, beside the steps
    reference = int(stands.pop("reference_model", "same") == "same")
    if stands or task in ("grpo", "ppo"):
        return None
    return {"dpo": reference, "kto": 1 + 2 * reference}.get(task, 0)


def after(estimate: TrainingEstimate, companions: Companions) -> After:
    """Return the moments of a step whose update is `estimate`, on its worst rank.

    update: the training peak; update_value: that of a value model, beside the policy's states. score: what
    lies between steps, and one forward without a graph: a layer's transients and the logits; in preference
    learning after the policy's, whose activations wait (reference_forward.py). generate: what lies between
    steps and the engine, its cache filled; what the allocator kept was given back (TRL, verl: empty_cache).

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> policy = estimate_training(
    ...     load("deepseek-coder-1.3b"),
    ...     TrainingResolved(task="dpo", precision="bf16", seq_len=1024),
    ...     parse_gpu("h100"),
    ... )
    >>> found = after(policy, Companions())
    >>> found.peak.name, [line.bytes for line in found.peak.ledger.lines if line.key == "weights.frozen"]
    ('score', [2692943872])
    """
    request, group = estimate.request, estimate.groups[estimate.worst_rank]
    frozen_lines = _frozen_lines(estimate, companions)
    value_stays, value_gradients, value_update = _value_model(estimate, companions)
    stays = [*frozen_lines, *value_stays]
    awake, asleep, apart = _engine(estimate, companions)
    of = framework(request.framework)
    sleeps, resident = _resident(companions, awake, asleep, of)
    parked = companions.parked or (of.parks if awake else ())
    away = [PARKED[each] for each in parked if each in PARKED]
    away += [] if held_always(estimate.job) else ["gradients"]
    between, scoring = _steady(group, away), _steady(group, [each for each in away if each != "weights"])
    beside = request.task in COMPARING and companions.reference is not False
    compares = (beside or _scores_after(estimate, companions)) and not of.swaps_reference
    judged = any(line.owner in ("reference", "reward") for line in stays)
    scores = beside or judged or request.task in SAMPLING
    named = held_names(estimate, compares, read=group.peaks.moment == "in the loss")
    update = [*group.ledger.lines, *value_gradients, *named]
    still = group.steady_bytes + sum(line.bytes for line in stays)

    def moment(name: str, lines: list[Line], emptied: bool = True, whole: int = 0) -> TrainingMoment:
        found = in_one_allocator(lines, estimate, still + whole, emptied)
        return TrainingMoment(name, group.ledger._replace(lines=found))

    moments = [moment("update", [*update, *stays, *resident], False)]
    if value_update:
        moments.append(moment("update_value", [*between, *frozen_lines, *value_update, *resident], False))
    if compares:
        moments.append(moment("score", [*between, *stays, *_waits(estimate, companions), *resident], False))
    elif scores:
        logits = _forward(estimate, group, companions.scored_at_once)
        moments.append(moment("score", [*scoring, *stays, *logits, *resident]))
    elif companions.scored_at_once:
        moments.append(_evaluation(estimate, group, scoring, companions.scored_at_once))
    if answers := awake or ([] if companions.engine else generation(estimate)):
        whole = sum(line.bytes for line in answers if line.key == "communication.gathered")
        moments.append(moment("generate", [*between, *stays, *answers], whole=whole))
    if companions.engine is not None and is_gathered(request, True):
        running = [line for line in awake if line.category != "kv_cache"] if sleeps else awake
        policy = whole_policy(estimate, companions.sync_batches)
        moments.append(moment("sync", [*scoring, *stays, policy, *running], whole=policy.bytes))
    return After(tuple(moments), apart)


def _resident(
    companions: Companions, awake: list[Line], asleep: list[Line], of: "Framework"
) -> tuple[bool, list[Line]]:
    """Return whether the engine sleeps, and what of it lies beside an update: what comes and goes of one that
    lends its memory lies in the trainer's allocator."""
    sleeps = of.engine_sleeps if companions.sleeps is None else companions.sleeps
    resident = asleep if sleeps or companions.engine == HYBRID else awake
    if of.engine_lends:
        resident = [line for line in resident if line.category in (*KEPT_ASLEEP, "kv_cache")]
    return sleeps, resident


def _scores_after(estimate: TrainingEstimate, companions: Companions) -> bool:
    """Return whether GRPO's reference runs after the policy, whose graph waits."""
    request = estimate.request
    of = framework(request.framework).habits(request.framework_version)
    return request.task == "grpo" and of.scores_after and companions.reference is not False


def _waits(estimate: TrainingEstimate, companions: Companions) -> list[Line]:
    """Return the frozen forward after the policy's; GRPO still names the whole weights that it sent to an
    engine."""
    lines = compared(estimate, estimate.groups[estimate.worst_rank])
    gathered = companions.engine is not None and is_gathered(estimate.request, True)
    return [*lines, whole_policy(estimate)] if gathered and _scores_after(estimate, companions) else lines


OTHER_MODELS = ("reference", "reward", "value")
"""Owners of models beside the policy."""


def in_one_allocator(
    lines: list[Line], estimate: TrainingEstimate, stays: int, emptied: bool, left: int = 0
) -> tuple[Line, ...]:
    """Return the lines of a moment with what the allocator holds beyond its tensors: at most what all of them
    leave of the card, and at least what cannot be given back: beside other models, of what comes and goes
    beside the `stays` bytes that lie still (bench/several_models.py). `emptied`: the trainer gave its cache
    back before, so that nothing else is held; `left`: what idle blocks of the update may hold."""
    group = estimate.groups[estimate.worst_rank]
    others = [line for line in lines if line.key != "fragmentation.reserved"]
    room = room_beside(group.ledger.capacity_bytes, others)
    held = sum(line.bytes for line in others if line.owner != "engine" and line.key not in OUTSIDE)
    kept = NONE_KEPT if emptied else group.kept
    if any(line.owner in OTHER_MODELS for line in lines):
        kept = kept_beyond(estimate.job, max(0, held - stays), kept, several=True)

    def bounded(line: Line) -> Line:
        if emptied:
            line = line._replace(bytes=0, low_bytes=0, high_bytes=0)
        return within_room(line._replace(high_bytes=max(line.high_bytes, kept.high, left)), kept, room)

    beyond = [bounded(line) for line in group.ledger.lines if line.key == "fragmentation.reserved"]
    return (*others, *beyond)


def _value_model(
    estimate: TrainingEstimate, companions: Companions
) -> tuple[list[Line], list[Line], list[Line]]:
    """Return PPO's value model on the rank: what lies there always, its gradients during the policy's update,
    and what its own update takes. Nothing where it is a head on the policy."""
    request = estimate.request
    of = framework(request.framework)
    on_policy = of.value_on_policy(request.framework_version) and companions.value_model is None
    if request.task != "ppo" or on_policy:
        return [], [], []
    apart = of.value_model == "full" and request.method == "lora"
    value = estimate_training(
        companions.value_model or estimate.model,
        request._replace(
            task="reward",
            method=companions.critic_method or ("full" if apart else request.method),
            recompute=companions.critic_recompute or request.recompute,
        ),
        estimate.hardware,
    )
    away = {PARKED[each.removeprefix(OF_VALUE)] for each in companions.parked if each.startswith(OF_VALUE)}
    group = value.groups[-1]
    lines, updated = (
        [
            line._replace(owner="value", what=f"value model: {line.what}")
            for line in ledger
            if line.key not in ("runtime.cublas", "fragmentation.reserved", *OUTSIDE)
        ]
        for ledger in (group.states.lines, group.ledger.lines)
    )
    if away:
        return [line for line in lines if line.category not in away | {"gradients"}], [], updated
    stays = [line for line in lines if line.category != "gradients"]
    return stays, [line for line in lines if line.category == "gradients"], updated


def _steady(group: RankGroup, away: Collection[str]) -> list[Line]:
    """What the policy holds while it is not trained, but for the categories that are `away`, and what lies
    outside the allocator."""
    held = [line for line in group.states.lines if line.category not in away]
    return held + [line for line in group.ledger.lines if line.key in OUTSIDE]


def _forward(estimate: TrainingEstimate, group: RankGroup, tokens: int) -> list[Line]:
    """A forward without a graph: the largest moment of the loss, or of what is scored besides, and nothing
    that layers keep; `tokens`: 0 are those of an update's micro-batch."""
    found, request = [], estimate.request
    scale = tokens / (request.micro_batch * request.seq_len) or 1.0
    for phase in group.phases:
        if phase.name == "forward" and phase.moment == "in the loss":
            found = [part for part in phase.parts if part.category in ("logits", "communication", "inputs")]
    made = sum(part.bytes for part in found if part.category == "logits")
    if made:
        scale *= max(1.0, scored_bytes(estimate) / made)
    return [
        exact(
            part.key,
            "policy",
            f"scoring: {part.what}",
            int(part.bytes * scale) if part.category == "logits" else part.bytes,
            part.formula,
            "estimate/training/post_training.py",
        )
        for part in found
    ]


def _evaluation(
    estimate: TrainingEstimate, group: RankGroup, lies: list[Line], tokens: int
) -> TrainingMoment:
    """Return the moment of an evaluation beside what `lies` still. Its tensors are larger than most blocks
    that the update left idle, which stay beside them unless segments expand."""
    held = sum(line.bytes for line in lies if line.key not in OUTSIDE)
    idle = 0 if estimate.request.expandable_segments else max(0, group.peaks.reserved_bytes - held)
    lines = [*lies, *_evaluated(estimate, group, tokens)]
    found = in_one_allocator(lines, estimate, group.steady_bytes, False, idle)
    return TrainingMoment("evaluate", group.ledger._replace(lines=found))


def _evaluated(estimate: TrainingEstimate, group: RankGroup, tokens: int) -> list[Line]:
    """Return what an evaluation makes: in a forward like those of training, or with logits that these leave
    out, of all tokens or of those that are answers."""
    request = estimate.request
    made = logits_made(request.framework, request.framework_version, request.loss)
    if made is None:
        return _forward(estimate, group, tokens)
    plain = estimate_training(estimate.model, estimate.asked._replace(loss="plain"), estimate.hardware)
    lines = _forward(plain, plain.groups[estimate.worst_rank], tokens)
    if made == "whole" or request.task == "pretrain":
        return lines
    return [each._replace(low_bytes=0) if each.category == "logits" else each for each in lines]


def _frozen_lines(estimate: TrainingEstimate, companions: Companions) -> list[Line]:
    """Weights of the reference and the reward model on one rank; none where their engines are made as the
    policy's, whose ZeRO-3 puts weights into host memory (TRL's prepare_deepspeed, all releases)."""
    request = estimate.request
    of = framework(request.framework)
    if request.sharding == "zero3" and "params" in request.offload and not of.loads_reference:
        return []
    usual = request.task in WITH_REFERENCE or (
        request.task == "grpo" and (of.grpo_reference or of.habits(request.framework_version).grpo_reference)
    )
    wanted = companions.reference if companions.reference is not None else usual
    models: list[tuple[Owner, Model]] = []
    if wanted and (request.method == "full" or of.loads_reference) and not of.swaps_reference:
        models.append(("reference", estimate.model))
    if companions.reward_model is not None:
        models.append(("reward", companions.reward_model))
    return [frozen(owner, model, request, estimate.mesh) for owner, model in models]


def frozen(owner: Owner, model: Model, request: TrainingResolved, mesh: Mesh) -> Line:
    """Weights of a model that only runs forward: values on a rank x bytes of the computation, over the
    data-parallel ranks if the policy's weights are (ZeRO 3, FSDP). A pipeline's stage holds its layers of
    it.

    >>> from ...model.load import load
    >>> frozen(
    ...     "reference",
    ...     load("deepseek-llm-7b"),
    ...     TrainingResolved(precision="bf16", sharding="zero3"),
    ...     Mesh(dp=8),
    ... ).bytes
    1727591424
    """
    size = recipe(request.precision).compute
    values = max(
        sum(each.total for each in portions(model, mesh, stage, request._replace(method="full")))
        for stage in stages(len(model.layers), mesh)
    )
    ranks = mesh.dp * mesh.cp if request.sharding in ("zero3", "fsdp1", "fsdp2", "hsdp") else 1
    num_bytes = -(-values // ranks) * size
    return exact(
        "weights.frozen",
        owner,
        f"{owner} model, frozen",
        num_bytes,
        f"{values:,} values / {ranks} x {size} B",
        "estimate/training/post_training.py: frozen",
    )


def _engine(
    estimate: TrainingEstimate, companions: Companions
) -> tuple[list[Line], list[Line], Ledger | None]:
    """Lines of the rollout engine awake and asleep on the cards of training, or its ledger on cards of its
    own."""
    if companions.engine == HYBRID:
        return *hybrid_engine(estimate, companions), None
    if companions.engine is None or not (companions.engine_share or companions.engine_hardware):
        return [], [], None
    if not 0 < companions.engine_share <= 1:
        raise UsageError(
            f"--rollout-gpu-memory-utilization is {companions.engine_share}",
            "it is more than 0 and at most 1",
        )
    request = estimate.request
    cards = companions.engine_hardware or estimate.hardware
    engine = answering(companions.engine, cards.card.vendor)
    length = min(request.seq_len, estimate.model.max_positions)
    asked = Asked(engine=engine, max_model_len=length, context=length)
    if companions.engine_hardware is not None:
        return [], [], estimate_serving(estimate.model, asked, cards).ledger
    asked = asked._replace(gpu_memory_utilization=companions.engine_share)
    asked = record_of(engine).rows.as_asked(asked, "")._replace(layout=None)
    lends = framework(request.framework).engine_lends
    if lends and request.method == "qlora" and request.quantization in (None, "nf4", "nf4-dq"):
        asked = asked._replace(quantization="bitsandbytes")
    if ranks := min(companions.engine_ranks, cards.num_gpus):
        asked, cards = asked._replace(layout=Layout(tp=ranks)), cards._replace(num_gpus=ranks)
    found = estimate_serving(estimate.model, asked, cards)
    spare = found.kv_cache.pool_bytes - found.kv_cache.needed_bytes
    lines = [
        line._replace(owner="engine", what=f"{engine}: {line.what}")
        for line in found.ledger.lines
        if line.category != "kv_cache" and not (lends and line.key.startswith(LENT))
    ]
    pool = exact(
        "kv_cache.pool",
        "engine",
        f"{engine}: cache",
        max(0, spare) + found.kv_cache.needed_bytes,
        "what the engine takes",
        "estimate/serving/estimate.py",
    )
    return [*lines, pool], [line for line in lines if line.category in KEPT_ASLEEP], None
