"""States of training: weights, gradients, master copies and moments of one rank, between steps. Sums over its
portions."""

from typing import NamedTuple

from ...ledger import Key, Line, exact
from ...model.model import EMBEDDING
from ...model.storage import NF4, NF4_PLAIN
from ...run.training import Mesh, Optimizer, Recipe, Sharding, TrainingResolved, frameworks, optimizer, recipe
from .rank_portions import Portion


class Degrees(NamedTuple):
    """Over how many ranks each state is divided."""

    weights: int
    gradients: int
    optimizer: int
    padded: bool
    """FSDP2: each tensor is cut along its first dimension, so that the first ranks hold the rounded-up share.
    """


def degrees(sharding: Sharding, ranks: int) -> Degrees:
    """ZeRO 1 divides the optimizer, 2 gradients too, 3 and FSDP weights too.

    Source: arXiv 1910.02054; Megatron-LM dist_optimizer (as ZeRO 1).

    >>> degrees("zero2", 8)
    Degrees(weights=1, gradients=8, optimizer=8, padded=False)
    """
    match sharding:
        case "none" | "ddp":
            return Degrees(1, 1, 1, False)
        case "zero1" | "distopt":
            return Degrees(1, 1, ranks, False)
        case "zero2":
            return Degrees(1, ranks, ranks, False)
        case "zero3" | "fsdp1" | "megatron_fsdp":
            return Degrees(ranks, ranks, ranks, False)
        case "fsdp2" | "hsdp":
            return Degrees(ranks, ranks, ranks, True)


def sharding_ranks(mesh: Mesh, group: str) -> int:
    """Ranks that hold the same values and can divide them: dp x cp; of experts dp x cp x tp / (ep x etp)."""
    if group == "dense" or mesh.ep == 1:
        return mesh.shard_size or mesh.dp * mesh.cp
    return max(1, mesh.dp * mesh.cp * mesh.tp // (mesh.ep * (mesh.etp or 1)))


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


QLORA = "qlora"


def weight_bytes_of(portion: Portion, values: int, request: TrainingResolved, form: Recipe) -> int:
    """Bytes of stored weights: frozen matrices of QLoRA are packed in NF4 by blocks of 64, adapters have
    their own type.

    NF4 with double quantisation: 4 bits, 8 bits of scale for 64 values, 32 for 256 of those (arXiv
    2305.14314): 0.5161 B a value.

    >>> p = Portion("q_proj", 4096, 4096 * 4096, 1, (0,), "dense", False, True, True)
    >>> weight_bytes_of(p, p.total, TrainingResolved(method="qlora"), recipe("bf16"))  # 0.5159 B a value
    8654848
    """
    if portion.adapter:
        return values * adapter_bytes(request)
    if packed(portion, request):
        return packed_bytes(values, request.quantization or "nf4-dq")
    return values * form.weight


def packed(portion: Portion, request: TrainingResolved) -> bool:
    """Whether a weight is stored in fewer bits: matrices of products inside of the layers; stacked experts
    only where asked.

    What FSDP holds of packed experts is not known ("not all layers being properly sharded", Axolotl
    docs/expert_quantization.qmd: 29 GiB on each of two cards against 24 on one): there they are counted in 16
    bit and cut, which is more.
    """
    frozen = request.method == QLORA and not portion.adapter
    stacks = request.packed_experts and request.sharding not in ("fsdp1", "fsdp2", "hsdp")
    return (
        frozen
        and portion.product
        and portion.matrix
        and bool(portion.layers)
        and (stacks or not portion.stacked)
    )


def packed_stack(portion: Portion, request: TrainingResolved) -> bool:
    """Experts in one tensor that are packed: a layer's are unpacked while they run (Axolotl's moe_quant.py:
    torch's parametrization cache)."""
    return portion.stacked and packed(portion, request)


def packed_bytes(values: int, how: str) -> int:
    """Bytes of a frozen matrix by its storage.

    nf4: 4 bits and an F32 scale for 64 values (bitsandbytes); nf4-dq: those scales in 8 bits, with an F32 for
    256 of them (bitsandbytes, torchao). gptq: 4 or 8 bits, for 128 values a half-precision scale and a zero
    point as wide as a value (AutoGPTQ). int8: a byte and an F32 a row, which is left out (bitsandbytes
    LLM.int8, arXiv 2208.07339).

    >>> [packed_bytes(4096 * 4096, how) for how in ("nf4", "nf4-dq", "gptq-int4", "gptq-int8", "int8")]
    [9437184, 8654848, 8716288, 17170432, 16777216]
    """
    match how:
        case "int8":
            return values
        case "gptq-int4" | "gptq-int8":
            bits = int(how.removeprefix("gptq-int"))
            return values * bits // 8 + -(-values // 128) * (16 + bits) // 8
        case _:
            scales = -(-values // 64)
            double = how != "nf4"
            form4 = NF4 if double else NF4_PLAIN
            return values // 2 + scales * form4.scale_bits // 8 + (-(-scales // 256) * 4 if double else 0)


def adapter_bytes(request: TrainingResolved) -> int:
    """Bytes of a value of an adapter, its gradient and each of its moments."""
    return 2 if request.adapter_dtype == "bfloat16" else 4


def moment_bytes(portion: Portion, values: int, rule: Optimizer, size: int) -> int:
    """Bytes of an optimizer's moments for `values` of a portion, unquantised ones of `size` bytes.

    Quantised moments have one F32 scale for 256 values (bitsandbytes, 8 bits) or 128 (torchao, 4 bits);
    vectors and tensors of fewer than 4,096 values stay in F32. Adafactor keeps a row and a column. Muon keeps
    one moment of a matrix inside of the layers and Adam's two of the rest. GaLore keeps moments of a
    projection to rank 128, and the projection.

    >>> p = Portion("w", 4096, 4096 * 4096, 1, (0,), "dense", True, True, True)
    >>> [
    ...     moment_bytes(p, p.total, optimizer(name), 2)
    ...     for name in ("adamw", "adamw-8bit", "adafactor", "muon")
    ... ]
    [67108864, 34078720, 32768, 33554432]
    """
    if rule.factored:
        if not portion.matrix:
            return values * 4
        columns = max(1, portion.values // portion.rows)
        return -(-values * (portion.rows + columns) // portion.values) * 4
    if rule.name == "muon":
        return values * size * (1 if portion.matrix and portion.layers else 2)
    if rule.name.startswith("galore") and portion.matrix and portion.layers:
        columns = max(1, portion.values // portion.rows)
        short, long = sorted((portion.rows, columns))
        kept = GALORE_RANK * long * rule.moments + GALORE_RANK * short
        if short > GALORE_RANK:
            return -(-values * kept // portion.values) * (1 if rule.moment_bits == 8 else size)
    if rule.moment_bits and portion.matrix and portion.values >= SMALLEST_QUANTISED:
        block = 128 if rule.moment_bits == 4 else 256
        return rule.moments * (-(-values * rule.moment_bits // 8) + -(-values // block) * 4)
    return values * rule.moments * (4 if rule.moment_bits else size)


GALORE_RANK = 128
"""transformers' default rank of GaLore."""
SMALLEST_QUANTISED = 4096


BITSANDBYTES = ("adamw-8bit", "paged-adamw-8bit", "lion-8bit")
"""Optimizers whose moments of embeddings transformers' Trainer keeps in F32 (optim_bits 32,
get_optimizer_cls_and_kwargs)."""


class States(NamedTuple):
    """Bytes of one rank's states, split as the phases need them."""

    lines: tuple[Line, ...]
    weights: int
    gradients: int
    """All gradients at once, as the optimizer reads them."""
    optimizer: int
    host: int
    """Bytes that offloading puts into host memory."""
    trained_values: int
    """Trained values whose optimizer state lies here."""
    largest_trained: int
    """Values of the largest trained tensor."""


def states(portions: list[Portion], mesh: Mesh, request: TrainingResolved) -> States:
    """The states of a rank. What is offloaded lies in host memory and is no line.

    >>> from ...model.load import load
    >>> from .rank_portions import portions as parts, stages
    >>> asked = TrainingResolved(precision="bf16", optimizer="adamw", sharding="none")
    >>> coder = load("deepseek-coder-1.3b")
    >>> found = states(parts(coder, Mesh(dp=1), stages(24, Mesh())[0], asked), Mesh(dp=1), asked)
    >>> found.weights + found.gradients + found.optimizer == coder.num_parameters * 8
    True
    """
    form, rule = recipe(request.precision), optimizer(request.optimizer)
    sharding: Sharding = request.sharding or "none"
    weights = frozen = gradients = masters = moments = values_here = largest = 0
    wide_embedding = frameworks()[request.framework]["embedding_moments"] == "float32"
    counts = []
    for portion in portions:
        over = degrees(sharding, sharding_ranks(mesh, portion.group))
        held = local_values(portion, over.weights, over.padded)
        if not portion.trained:
            frozen += weight_bytes_of(portion, held, request, form)
            continue
        weights += weight_bytes_of(portion, held, request, form)
        gradient = adapter_bytes(request) if portion.adapter else form.gradient
        gradients += local_values(portion, over.gradients, over.padded) * gradient
        mine = local_values(portion, over.optimizer, over.padded)
        masters += 0 if portion.adapter else mine * form.master
        if portion.name == EMBEDDING and rule.name in BITSANDBYTES and wide_embedding:
            moments += mine * rule.moments * 4
        else:
            moments += moment_bytes(
                portion, mine, rule, adapter_bytes(request) if portion.adapter else form.moment
            )
        values_here += mine
        largest = max(largest, portion.values)
        counts.append(portion.total)
    total = sum(counts)
    ranks = sharding_ranks(mesh, "dense")
    over = degrees(sharding, ranks)
    source = f"facts/recipes.csv {form.name}: {form.source}"
    by = f"facts/optimizers.csv {rule.name}: {rule.source}"

    def of(count: int) -> str:
        return f"{total:,} values" + (f" / {count}" if count > 1 else "")

    host = 0
    lines = []
    if frozen:
        what = "frozen weights" + (
            ", " + (request.quantization or "nf4-dq").upper() if request.method == QLORA else ""
        )
        values = sum(portion.total for portion in portions if not portion.trained)
        lines.append(
            exact(
                "weights.frozen",
                "policy",
                what,
                frozen,
                f"{values:,} values" + (f" / {over.weights}" if over.weights > 1 else ""),
                source,
            )
        )
    lines.append(
        exact(
            "weights.trained",
            "policy",
            "trained weights",
            weights,
            f"{of(over.weights)} x {form.weight} B",
            source,
        )
    )
    lines.append(
        exact(
            "gradients.trained",
            "policy",
            "gradients",
            gradients,
            f"{of(over.gradients)} x {form.gradient} B",
            source,
        )
    )
    if masters:
        lines.append(
            exact(
                "optimizer.master_copies",
                "policy",
                "master copies",
                masters,
                f"{of(over.optimizer)} x {form.master} B",
                source,
            )
        )
    if moments:
        lines.append(
            exact(
                "optimizer.moments",
                "policy",
                "moments",
                moments,
                f"{of(over.optimizer)}, {rule.moments} moments",
                by,
            )
        )
    away = set(request.offload)
    dropped: set[Key] = set()
    if "optimizer" in away or "params" in away or rule.paged:
        dropped |= {"optimizer.master_copies", "optimizer.moments"}
    if "params" in away:
        dropped |= {"weights.trained", "weights.frozen", "gradients.trained"}
    if "gradients" in away:
        dropped.add("gradients.trained")
    if rule.paged and not away:
        dropped = set()  # pages move only when the card is full
    host = sum(line.bytes for line in lines if line.key in dropped)
    kept = tuple(line for line in lines if line.key not in dropped)

    def sum_of(category: str) -> int:
        return sum(line.bytes for line in kept if line.category == category)

    return States(
        kept, sum_of("weights"), sum_of("gradients"), sum_of("optimizer"), host, values_here, largest
    )
