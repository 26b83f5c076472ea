"""States of training: weights, gradients, master copies and moments of one rank, between steps. Sums over its
portions."""

from typing import NamedTuple

from ...frameworks import framework
from ...frameworks.deepspeed.zero_engine import ZeroEngine
from ...ledger import Key, Line, exact
from ...model.model import EMBEDDING
from ...run.training import Mesh, Optimizer, Recipe, Sharding, TrainingResolved, optimizer, recipe
from .rank_portions import Portion
from .state_bytes import GALORE_RANK, QLORA, adapter_form, moment_bytes, packed, weight_bytes_of


class ShardDegrees(NamedTuple):
    """Over how many ranks each state is divided."""

    weights: int
    gradients: int
    optimizer: int
    padded: bool
    """FSDP2: each tensor is cut along its first dimension, so that the first ranks hold the rounded-up share.
    """


def degrees(sharding: Sharding, ranks: int) -> ShardDegrees:
    """ZeRO 1 divides the optimizer, 2 gradients too, 3 and FSDP weights too.

    Source: arXiv 1910.02054; Megatron-LM dist_optimizer (as ZeRO 1).

    >>> degrees("zero2", 8)
    ShardDegrees(weights=1, gradients=8, optimizer=8, padded=False)
    """
    match sharding:
        case "none" | "ddp":
            return ShardDegrees(1, 1, 1, False)
        case "zero1" | "distopt":
            return ShardDegrees(1, 1, ranks, False)
        case "zero2":
            return ShardDegrees(1, ranks, ranks, False)
        case "zero3" | "fsdp1" | "megatron_fsdp":
            return ShardDegrees(ranks, ranks, ranks, False)
        case "fsdp2" | "hsdp":
            return ShardDegrees(ranks, ranks, ranks, True)


def sharding_ranks(mesh: Mesh, group: str, of: str) -> int:
    """Ranks that hold the same values and can divide them: dp x cp, or those of one copy; of experts as many
    x tp / (ep x etp), and of all else too where the ranks of expert parallelism hold copies of it.

    >>> mesh = Mesh(dp=64, ep=32)
    >>> [sharding_ranks(mesh, group, of) for of in ("fsdp", "trl") for group in ("dense", "expert")]
    [64, 2, 2, 2]
    """
    ranks = mesh.shard_size or mesh.dp * mesh.cp
    if mesh.ep == 1 or (group == "dense" and not framework(of).copies_outside_experts):
        return ranks
    return max(1, ranks * mesh.tp // (mesh.ep * (mesh.etp or 1)))


def local_values(portion: Portion, ranks: int, padded: bool) -> int:
    """Values of a portion on the rank that holds most, divided over `ranks`.

    FSDP2 rounds the first dimension of each tensor up: 256 experts in one tensor over 2,048 ranks are one
    expert a rank.

    >>> experts = Portion(
    ...     "experts.up", 2048, 2048 * 7168, 256, (3,), "expert", True, True, True, stacked=True
    ... )
    >>> (
    ...     local_values(experts, 2048, True) == 2048 * 7168,
    ...     local_values(experts, 2048, False) * 2048 == experts.total,
    ... )
    (True, True)
    """
    if ranks == 1:
        return portion.total
    if not padded:
        return -(-portion.total // ranks)
    if portion.stacked:
        return -(-portion.per_layer // ranks) * portion.values * (len(portion.layers) or 1)
    return portion.num * (-(-portion.rows // ranks) * (portion.values // portion.rows))


BITSANDBYTES = ("adamw-8bit", "paged-adamw-8bit", "lion-8bit")
"""Optimizers whose moments of embeddings transformers' Trainer keeps in F32 (optim_bits 32,
get_optimizer_cls_and_kwargs)."""


class RankStates(NamedTuple):
    """Bytes of one rank's states, split as the phases need them."""

    lines: tuple[Line, ...]
    weights: int
    gradients: int
    """All gradients at once, as the optimizer reads them."""
    optimizer: int
    host: int
    """Bytes that offloading puts into host memory."""
    values_here: int
    """Trained values whose optimizer state lies here."""
    largest_trained: int
    """Values of the largest trained tensor."""
    trained_values: int
    """Trained values before they are shared out."""
    graded_values: int
    """Values with gradients before they are shared out."""
    one_moment: int
    """Bytes of one moment of each value here, in the type of its weight's moments."""


class StateSums(NamedTuple):
    """Bytes of one rank's states, whether they lie on the card or on the host."""

    frozen: int = 0
    weights: int = 0
    gradients: int = 0
    masters: int = 0
    moments: int = 0
    values_here: int = 0
    """Trained values whose optimizer state lies here."""
    largest: int = 0
    """Values of the largest trained tensor."""
    trained: int = 0
    """Trained values before they are shared out."""
    frozen_values: int = 0
    one_moment: int = 0
    graded: int = 0
    """Values with gradients before they are shared out."""

    def plus(self, other: "StateSums") -> "StateSums":
        """Return the sums of both; the largest tensor is the larger of the two."""
        added = StateSums(*(mine + its for mine, its in zip(self, other, strict=True)))
        return added._replace(largest=max(self.largest, other.largest))


def has_gradient(portion: Portion, request: TrainingResolved) -> bool:
    """Whether autograd makes a gradient of a portion: it is trained, or lies in one flat parameter with
    adapters."""
    in_unit = request.sharding == "fsdp1" and framework(request.framework).adapters_in_unit
    beside = request.method != "full" and bool(portion.layers) and not packed(portion, request)
    return portion.trained or (in_unit and beside)


def sums_of(
    portion: Portion, mesh: Mesh, request: TrainingResolved, form: Recipe, rule: Optimizer
) -> StateSums:
    """Return what one rank holds of a portion: its weights alone if it is frozen, all four states if it is
    trained."""
    over = degrees(request.sharding or "none", sharding_ranks(mesh, portion.group, request.framework))
    held = local_values(portion, over.weights, over.padded)
    weights = weight_bytes_of(portion, held, request, form)
    if not portion.trained:
        graded = portion.total if has_gradient(portion, request) else 0
        gradients = local_values(portion, over.gradients, over.padded) * form.gradient if graded else 0
        return StateSums(weights, gradients=gradients, frozen_values=portion.total, graded=graded)
    mine = local_values(portion, over.optimizer, over.padded)
    wide_embedding = framework(request.framework).wide_embedding_moments
    held_as = form if not portion.adapter else adapter_form(request, form)
    if portion.name == EMBEDDING and rule.name in BITSANDBYTES and wide_embedding:
        moments = mine * rule.moments * 4
    else:
        seen = portion._replace(matrix=False) if rule.factored and in_flat_parts(request, form) else portion
        moments = moment_bytes(seen, mine, rule, held_as.moment)
    return StateSums(
        weights=weights,
        gradients=local_values(portion, over.gradients, over.padded) * held_as.gradient,
        masters=mine * held_as.master,
        moments=moments,
        values_here=mine,
        largest=portion.values,
        trained=portion.total,
        graded=portion.total,
        one_moment=mine * held_as.moment,
    )


def in_flat_parts(request: TrainingResolved, form: Recipe) -> bool:
    """Whether an optimizer sees pieces of flat tensors, which Adafactor does not factor (transformers,
    Adafactor._get_options): DeepSpeed's partitions, and what FSDP1 leaves of a parameter."""
    return form.step == "flat" or request.sharding == "fsdp1"


def states(
    portions: list[Portion], mesh: Mesh, request: TrainingResolved, engine: ZeroEngine | None = None
) -> RankStates:
    """Return the states of a rank. What is offloaded lies in host memory and is no line.

    >>> from ...model.load import load
    >>> from .rank_portions import portions as parts, stages
    >>> asked = TrainingResolved(precision="bf16", optimizer="adamw", sharding="none")
    >>> coder = load("deepseek-coder-1.3b")
    >>> found = states(parts(coder, Mesh(dp=1), stages(24, Mesh())[0], asked), Mesh(dp=1), asked)
    >>> found.weights + found.gradients + found.optimizer == coder.num_parameters * 8
    True
    """
    form, rule = recipe(request.precision), optimizer(request.optimizer)
    if engine is not None and engine.wide_gradients:
        request = request._replace(sharding="zero1")
    sums = StateSums()
    for portion in portions:
        sums = sums.plus(sums_of(portion, mesh, request, form, rule))
    over = degrees(request.sharding or "none", sharding_ranks(mesh, "dense", request.framework))
    lines = state_lines(sums, over, request, form, rule)
    if engine is not None:
        lines = (*lines, *engine_lines(engine, sums, request))
    elif request.sharding == "ddp" and mesh.dp * mesh.cp > 1 and not views_into_buckets(request):
        lines = (*lines, bucket_line(sums))
    elif request.sharding == "fsdp1" and mesh.dp * mesh.cp > 1 and originals_stay(request):
        lines = (*lines, originals_line(sums, form))
    away = on_host(request, rule, engine)
    kept = tuple(line for line in lines if line.key not in away)

    def sum_of(category: str) -> int:
        return sum(line.bytes for line in kept if line.category == category)

    return RankStates(
        kept,
        sum_of("weights"),
        sum_of("gradients"),
        sum_of("optimizer"),
        host_bytes(lines, away, sums, request, engine),
        sums.values_here,
        sums.largest,
        sums.trained,
        sums.graded,
        sums.one_moment,
    )


def views_into_buckets(request: TrainingResolved) -> bool:
    """Whether the gradients of replicated ranks are views into the buckets in which they are reduced: where
    DDP is told so, and in Megatron's own."""
    views = request.gradient_bucket_view or framework(request.framework).megatron_core
    return request.sharding == "ddp" and views


def bucket_line(sums: StateSums) -> Line:
    """Return the buckets of torch's DDP, which its reducer makes once, and into which gradients are copied
    (torch/csrc/distributed/c10d/reducer.cpp, initialize_buckets). Neither torch nor accelerate has gradients
    as views into them unless told (gradient_as_bucket_view)."""
    formula = f"{sums.trained:,} trained values, as wide as their gradients"
    source = "torch/nn/parallel/distributed.py, gradient_as_bucket_view"
    return exact("communication.bucket", "policy", "buckets of DDP", sums.gradients, formula, source)


def originals_stay(request: TrainingResolved) -> bool:
    """Whether what FSDP1 divided stays whole on each card, too."""
    return framework(request.framework).habits(request.framework_version).originals_stay


def originals_line(sums: StateSums, form: Recipe) -> Line:
    """Return the trained parameters as they were loaded: FSDP moves them to the card and copies them to flat
    ones (torch/distributed/fsdp/flat_param.py), and an optimizer that was made before keeps them.

    >>> originals_line(StateSums(trained=6_738_415_616), recipe("mixed-bf16")).bytes / 2**30
    25.102554321289062
    """
    formula = f"{sums.trained:,} values x {form.weight} B"
    source = "facts/habits.csv, originals"
    what = "weights as loaded, which a first optimizer holds"
    return exact("weights.layers", "policy", what, sums.trained * form.weight, formula, source)


def engine_lines(engine: ZeroEngine, sums: StateSums, request: TrainingResolved) -> tuple[Line, ...]:
    """Return what a DeepSpeed engine holds from start to end beside the states."""
    source = "deepspeed/runtime/zero/stage3.py, __ipg_bucket_flat_buffer; stage_1_and_2.py, temp_grad_buffer"
    found = []
    if engine.wide_gradients:
        wide, formula = 4 * sums.trained, f"{sums.trained:,} values x 4 B"
        by = "deepspeed/runtime/bf16_optimizer.py, fp32_groups_gradients_flat"
        found.append(exact("gradients.master_copies", "policy", "F32 gradients", wide, formula, by))
    if engine.permanent:
        formula = f"{engine.reduce_bucket:,} values x 2 B"
        found.append(
            exact("communication.bucket", "policy", "reduce bucket", engine.permanent, formula, source)
        )
    if engine.stage in (1, 2) and "optimizer" in request.offload:
        formula = f"2 x {sums.largest:,} values of the largest tensor"
        found.append(
            exact("temporaries.gradient", "policy", "gradients in transit", 2 * sums.largest, formula, source)
        )
    return tuple(found)


def host_bytes(
    lines: tuple[Line, ...],
    away: frozenset[Key],
    sums: StateSums,
    request: TrainingResolved,
    engine: ZeroEngine | None,
) -> int:
    """Return what offloading puts into host memory; a DeepSpeed engine keeps more there than it moves."""
    if engine is None or "optimizer.master_copies" not in away:
        return sum(line.bytes for line in lines if line.key in away)
    params = "weights.trained" in away
    return engine.host_bytes(sums.values_here, request.grad_accum > 1, params) + (
        sums.frozen if params else 0
    )


def state_lines(
    sums: StateSums, over: ShardDegrees, request: TrainingResolved, form: Recipe, rule: Optimizer
) -> tuple[Line, ...]:
    """Return the states as lines, wherever they lie; what nobody has of master copies and moments is none."""
    form = form if request.method == "full" else adapter_form(request, form)
    source = f"facts/recipes.csv {form.name}: {form.source}"
    by = f"facts/optimizers.csv {rule.name}: {rule.source}"

    def shared(count: int, values: int = sums.trained) -> str:
        return f"{values:,} values" + (f" / {count}" if count > 1 else "")

    def line(key: Key, what: str, num_bytes: int, formula: str, source: str = source) -> Line:
        return exact(key, "policy", what, num_bytes, formula, source)

    lines = []
    if sums.frozen:
        packed_as = ", " + (request.quantization or "nf4-dq").upper() if request.method == QLORA else ""
        formula = shared(over.weights, sums.frozen_values)
        lines.append(line("weights.frozen", "frozen weights" + packed_as, sums.frozen, formula))
    formula = f"{shared(over.weights)} x {form.weight} B"
    lines.append(line("weights.trained", "trained weights", sums.weights, formula))
    formula = f"{shared(over.gradients, sums.graded)} x {form.gradient} B"
    lines.append(line("gradients.trained", "gradients", sums.gradients, formula))
    if sums.masters:
        formula = f"{shared(over.optimizer)} x {form.master} B"
        lines.append(line("optimizer.master_copies", "master copies", sums.masters, formula))
    if sums.moments:
        formula = shared(over.optimizer) + moments_formula(sums, form, rule)
        lines.append(line("optimizer.moments", "moments", sums.moments, formula, by))
    return tuple(lines)


def moments_formula(sums: StateSums, form: Recipe, rule: Optimizer) -> str:
    """Return what an optimizer keeps for its values, so that the bytes can be reckoned again."""
    if rule.orthogonal:
        pairs = sums.moments // form.moment - sums.values_here
        return f" x {form.moment} B, and again for {pairs:,} outside of matrices of layers"
    if rule.projected:
        kept = sums.moments // (1 if rule.moment_bits == 8 else form.moment)
        return f", in projections to rank {GALORE_RANK}: {kept:,} values of moments and projections"
    if rule.factored:
        return ": a row and a column of each matrix x 4 B"
    each = f"{rule.moment_bits} bits and their scales" if 0 < rule.moment_bits < 32 else ""
    return f" x {rule.moments} moments of " + (each or f"{4 if rule.moment_bits else form.moment} B")


OFFLOADED: dict[str, tuple[Key, ...]] = {
    "optimizer": ("optimizer.master_copies", "optimizer.moments"),
    "params": ("weights.trained", "weights.frozen"),
    "gradients": ("gradients.trained",),
}
"""Words of --offload -> the keys of their states."""


def on_host(request: TrainingResolved, rule: Optimizer, engine: ZeroEngine | None = None) -> frozenset[Key]:
    """Return the keys of states that lie in host memory.

    A paged optimizer's moments are unified memory, whose pages leave the card before anything fails, and
    which torch never counts. Gradients are with an optimizer that DeepSpeed offloads (stage_1_and_2.py,
    copy_grads_in_partition; stage3.py, grad_partitions_flat_buffer), whose parameters go alone (stage3.py,
    _configure_offloading); those of FSDP take everything along."""
    away = set(request.offload)
    if engine is None and "params" in away:
        away |= {"optimizer", "gradients"}
    if engine is not None and "optimizer" in away:
        away.add("gradients")
    found = {key for word in away for key in OFFLOADED.get(word, ())}
    if rule.paged:
        found.add("optimizer.moments")
    return frozenset(found)
