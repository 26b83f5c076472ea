"""What of a training question is refused or completed before its step is counted."""

from ...errors import UnsupportedError, UsageError
from ...files import shown
from ...frameworks import framework
from ...frameworks.defaults import FSDP
from ...frameworks.graphs.loss_kinds import has_loss
from ...model.fused_modules import as_matrices
from ...model.model import EMBEDDING, HEAD, Model, headless
from ...model.name_expressions import PatternError
from ...model.name_patterns import NamePatterns
from ...model.storage import BF16, F32, Format
from ...run.cards import Card
from ...run.training import Mesh, TrainingAsked, TrainingResolved, recipe
from .adapted_experts import is_target, short_name
from .head_and_loss import CONTRASTIVE
from .rank_portions import divisors


def with_targets(model: Model, asked: TrainingAsked, request: TrainingResolved) -> TrainingResolved:
    """The framework's targets, or every matrix if the model has none of them and the question names none;
    names in place of a pattern. A matrix that the family's code keeps within a fused module stands for all of
    that module."""
    request = request._replace(lora_targets=as_matrices(model.family, request.lora_targets))
    patterns = [target for target in request.lora_targets if SPECIAL & set(target)]
    if request.method != "full" and patterns:
        named = [target for target in request.lora_targets if target not in patterns]
        found = [name for pattern in patterns for name in matched(model, pattern)]
        return request._replace(lora_targets=tuple(dict.fromkeys((*named, *found))))
    if request.method == "full" or asked.lora_targets or "all-linear" in request.lora_targets:
        return request
    there = any(is_target(tensor.name, request.lora_targets) for tensor in model.tensors)
    return request if there else request._replace(lora_targets=("all-linear",))


SPECIAL = frozenset("[](){}|*+?^$\\")
TEXT_PARTS = (
    "model.layers",
    "model.language_model.layers",
    "language_model.model.layers",
    "base_model.layers",
    "llm.model.layers",
)
"""Where the layers of the language model lie in a model of transformers, alone or beside a vision tower; the
last is MiniCPM-V's (modeling_minicpmv.py)."""


def matched(model: Model, pattern: str) -> list[str]:
    r"""The matrices whose whole module name a regular expression means, by their last part: PEFT's
    target_modules as one text.

    >>> from ...model.load import load
    >>> matched(load("qwen2.5-vl-7b"), r"model.language_model.layers.[\d]+.(mlp|self_attn).(up|q)_proj")
    ['q_proj', 'up_proj']
    >>> matched(load("minicpm-v-2.6"), r"llm\..*layers\.\d+\.self_attn\.(q_proj|k_proj)")
    ['k_proj', 'q_proj']
    """
    try:
        regular = NamePatterns([pattern], "fullmatch", "--lora-targets")
    except PatternError as error:
        raise UsageError(error.message, "name matrices, or write a regular expression") from None
    where: dict[str, set[int]] = {}
    there: dict[str, set[int]] = {}
    for tensor in model.tensors:
        if not tensor.layers or tensor.part != "main" or tensor.role == "plain" or len(tensor.shape) < 2:
            continue
        short = short_name(tensor.name)
        there.setdefault(short, set()).update(tensor.layers)
        for layer in tensor.layers:
            whole = tensor.name.removesuffix(".weight").replace("{}", str(layer))
            rest = whole.removeprefix("model.layers")
            if regular.finds(part + rest for part in TEXT_PARTS):
                where.setdefault(short, set()).add(layer)
    if not where:
        raise UsageError(
            f"--lora-targets {shown(pattern)} means no matrix of {model.name}",
            f"it has {', '.join(sorted(there))}, or all-linear",
        )
    some = [short for short, layers in where.items() if layers != there[short]]
    if some:
        raise UnsupportedError(
            f"--lora-targets {shown(pattern)} means {', '.join(some)} of some layers alone",
            "adapters are counted in every layer that has the matrix",
        )
    return sorted(where)


def trained_model(model: Model, request: TrainingResolved) -> Model:
    """The model as the framework makes it: litgpt's head is a matrix of its own where the published model
    reads the embedding.

    >>> from ...model.load import load
    >>> small = load("llama-3.2-1b")
    >>> trained_model(small, TrainingResolved(framework="litgpt")).num_parameters - small.num_parameters
    262668288
    """
    if request.loss == CONTRASTIVE:
        return headless(model)
    if not model.tied or framework(request.framework).ties:
        return model
    table = next(tensor for tensor in model.tensors if tensor.name == EMBEDDING)
    return model._replace(tied=False, tensors=(*model.tensors, table._replace(name=HEAD, lookup=False)))


def check_sharding(request: TrainingResolved, mesh: Mesh) -> TrainingResolved:
    """One data-parallel rank shards nothing; several that share nothing hold copies and reduce in buckets
    (DDP), unless all of them are ranks of experts that run the same batch (transformers 5)."""
    ranks = mesh.dp * mesh.cp
    if mesh.shard_size and ranks % mesh.shard_size:
        raise UsageError(
            f"--shard-size {mesh.shard_size} does not divide the {ranks} data-parallel ranks",
            f"{divisors(ranks)} do",
        )
    by_deepspeed = framework(request.framework).zero_is_deepspeed
    if by_deepspeed and request.sharding in ("zero2", "zero3") and mesh.pp > 1:
        raise UnsupportedError(
            f"DeepSpeed runs no pipeline with --{request.sharding.replace('zero', 'zero ')}",
            "take --zero 1, or leave --pp out",
        )
    if by_deepspeed and ranks == 1 and request.sharding in ("zero1", "zero2"):
        return request  # the engine keeps its flat copies on one rank too
    if ranks == 1 and request.sharding in ("ddp", "zero1", "zero2"):
        return request._replace(sharding="none")
    same_batch = mesh.ep == ranks and framework(request.framework).copies_outside_experts
    if ranks > 1 and request.sharding == "none" and not same_batch:
        return request._replace(sharding="ddp")
    return request


def in_types_of(
    card: Card, asked: TrainingAsked, request: TrainingResolved, stored: Format = BF16
) -> TrainingResolved:
    """Return the request in float16 where the question names no type, the card has no bfloat16, and the
    framework offers float16 in its place, or in float32 as it does by itself; in float32, too, where the
    framework takes the type of a checkpoint that is `stored` so. What trains whole in float16 has float32
    weights: a GradScaler unscales no other gradients, but FSDP's own (torch/amp/grad_scaler.py).

    >>> from ...run.hardware import parse_gpu
    >>> t4, asked = parse_gpu("t4").card, TrainingAsked()
    >>> in_types_of(t4, asked, TrainingResolved(framework="trl", precision="amp-bf16")).precision
    'amp-fp16'
    >>> [
    ...     in_types_of(
    ...         t4, asked, TrainingResolved(method=method, framework=name, precision="bf16")
    ...     ).precision
    ...     for name, method in (
    ...         ("torchtune", "full"),
    ...         ("peft", "lora"),
    ...         ("peft", "full"),
    ...         ("llama-recipes", "full"),
    ...     )
    ... ]
    ['bf16', 'fp16', 'amp-fp16', 'fp32']
    """
    of = framework(request.framework)
    if asked.precision is None and request.precision == "bf16" and stored == F32 and of.runs_transformers:
        return request._replace(precision="fp32")
    form = recipe(request.precision)
    if asked.precision is not None or form.arithmetic != "bf16" or not card.lacks_bf16:
        return request
    if of.single_by_card:
        return request._replace(precision="fp32")
    scaled = form.half == "fp16" and request.method == "full" and request.sharding not in FSDP
    half = "amp-fp16" if scaled else form.half
    return request._replace(precision=half) if half and of.half_by_card else request


def loss_on(card: Card, request: TrainingResolved) -> TrainingResolved:
    """Return the request with the loss that the card runs: cut cross-entropy is for Turing and later
    (unsloth_zoo/loss_utils.py), and a framework that has it may have another one for others.

    >>> from ...run.hardware import parse_gpu
    >>> asked = TrainingResolved(framework="unsloth", loss="cut")
    >>> [loss_on(parse_gpu(name).card, asked).loss for name in ("v100", "t4")]
    ['in-place', 'cut']
    """
    older = card.vendor == "NVIDIA" and 0 < card.capability < 7.5
    cut = request.loss == "cut" and has_loss("in-place", request.framework)
    return request._replace(loss="in-place") if cut and older else request


def check_types(request: TrainingResolved, card: Card) -> None:
    """A card that has no such arithmetic is refused, never rounded."""
    form = recipe(request.precision)
    if card.vendor != "NVIDIA" or not card.capability:
        return
    if form.arithmetic == "bf16" and card.lacks_bf16:
        raise UnsupportedError(
            f"{card.name} (compute capability {card.compute_capability}) has no BF16 "
            f"and --precision is {form.name}",
            "take amp-fp16 or fp32, or a card from compute capability 8.0 on",
        )
    if (request.products or form.arithmetic) == "fp8" and card.lacks_fp8:
        raise UnsupportedError(
            f"{card.name} (compute capability {card.compute_capability}) has no FP8 and --precision is fp8",
            "take bf16, or a card from compute capability 8.9 on",
        )


STRETCHED = 1024
"""Times a model's positions that a sequence may have before it is taken for a slip of the hand: EasyContext
trains Llama-2, of 4,096 positions, at a million by a greater rope_theta (its README), 256 times as many."""


def check_model(model: Model, request: TrainingResolved) -> None:
    """What the question asks of the model that it does not have."""
    if request.seq_len and request.seq_len > STRETCHED * model.max_positions:
        raise UsageError(
            f"--seq-len {request.seq_len} is far beyond the {model.max_positions} positions of {model.name}",
            "ask for less",
        )
    if model.family == "mobilebert":
        raise UnsupportedError(
            f"the layers of {model.name} are not known in training", "`oomless trace` runs them"
        )
    compares = request.loss == CONTRASTIVE
    vector = model.pooled and not any(each.name.startswith("lm_head") for each in model.tensors)
    if request.task not in ("pretrain", "sft") if compares else vector and request.task != "reward":
        raise UnsupportedError(
            f"--task {request.task} with --loss {request.loss} needs logits, which {model.name} has none of",
            "take --loss contrastive, or --task reward",
        )
    said = request._replace(query_len=None) if request.task == "grpo" else request
    if not compares and said.says_contrast:
        raise UsageError("--negatives, --query-len and --grad-cache need --loss contrastive", "add it")
    if request.method == "qlora" and not recipe(request.precision).packs:
        raise UsageError(f"--method qlora does not run with --precision {request.precision}", "take bf16")


def micro_batches(asked: TrainingAsked, mesh: Mesh) -> int:
    """Return the micro-batches of a step: those that are asked for, and one for each stage of a pipeline
    where nobody says how many.

    >>> micro_batches(TrainingAsked(), Mesh(pp=8)), micro_batches(TrainingAsked(grad_accum=2), Mesh(pp=8))
    (8, 2)
    """
    return mesh.pp if mesh.pp > asked.grad_accum == 1 else asked.grad_accum
