"""What is refused, completed or told of a training question before its step is counted."""

import re

from ...errors import UnsupportedError, UsageError
from ...model.model import EMBEDDING, HEAD, Model
from ...run.hardware import Card, Hardware
from ...run.training import Mesh, TrainingAsked, TrainingResolved, frameworks, recipe
from .activations import unusual
from .rank_portions import divisors, experts_apart, is_target, short_name


def with_targets(model: Model, asked: TrainingAsked, request: TrainingResolved) -> TrainingResolved:
    """The framework's targets, or every matrix if the model has none of them and the question names none;
    names in place of a pattern."""
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
)
"""Where the layers of the language model lie in a model of transformers, alone or beside a vision tower."""


def matched(model: Model, pattern: str) -> list[str]:
    r"""The matrices whose whole module name a regular expression means, by their last part: PEFT's
    target_modules as one text.

    >>> from ...model.load import load
    >>> matched(load("qwen2.5-vl-7b"), r"model.language_model.layers.[\d]+.(mlp|self_attn).(up|q)_proj")
    ['q_proj', 'up_proj']
    """
    try:
        regular = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise UsageError(
            f"--lora-targets {pattern[:60]!r}: {error}", "name matrices, or write a regular expression"
        ) from None
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
            if any(regular.fullmatch(part + rest) for part in TEXT_PARTS):
                where.setdefault(short, set()).add(layer)
    if not where:
        raise UsageError(
            f"--lora-targets {pattern} means no matrix of {model.name}",
            f"it has {', '.join(sorted(there))}, or all-linear",
        )
    some = [short for short, layers in where.items() if layers != there[short]]
    if some:
        raise UnsupportedError(
            f"--lora-targets {pattern} means {', '.join(some)} of some layers alone",
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
    if not model.tied or frameworks()[request.framework]["ties"] == "yes":
        return model
    table = next(tensor for tensor in model.tensors if tensor.name == EMBEDDING)
    return model._replace(tied=False, tensors=(*model.tensors, table._replace(name=HEAD, lookup=False)))


def check_sharding(request: TrainingResolved, mesh: Mesh) -> TrainingResolved:
    """One data-parallel rank shards nothing; several that share nothing hold copies and reduce in buckets
    (DDP)."""
    ranks = mesh.dp * mesh.cp
    if mesh.shard_size and ranks % mesh.shard_size:
        raise UsageError(
            f"--shard-size {mesh.shard_size} does not divide the {ranks} data-parallel ranks",
            f"{divisors(ranks)} do",
        )
    if ranks == 1 and request.sharding in ("ddp", "zero1", "zero2"):
        return request._replace(sharding="none")
    if ranks > 1 and request.sharding == "none":
        return request._replace(sharding="ddp")
    return request


def check_types(request: TrainingResolved, card: Card) -> None:
    """A card that has no such arithmetic is refused, never rounded."""
    form = recipe(request.precision)
    if card.vendor != "NVIDIA" or not card.capability:
        return
    if "bf16" in form.name and card.capability < 8.0:
        raise UnsupportedError(
            f"{card.name} (compute capability {card.compute_capability}) has no BF16 "
            f"and --precision is {form.name}",
            "take amp-fp16 or fp32, or a card from compute capability 8.0 on",
        )
    if form.name.startswith("fp8") and card.capability < 8.9:
        raise UnsupportedError(
            f"{card.name} (compute capability {card.compute_capability}) has no FP8 and "
            f"--precision is {form.name}",
            "take bf16, or a card from compute capability 8.9 on",
        )


def check_model(model: Model, request: TrainingResolved) -> None:
    """What the question asks of the model that it does not have."""
    if request.seq_len and request.seq_len > 64 * model.max_positions:
        raise UsageError(
            f"--seq-len {request.seq_len} is far beyond the {model.max_positions} positions of {model.name}",
            "ask for less",
        )
    if request.method == "qlora" and request.precision in ("megatron-bf16", "deepspeed-fp16", "fp8"):
        raise UsageError(f"--method qlora does not run with --precision {request.precision}", "take bf16")


def warnings(
    model: Model, asked: TrainingAsked, request: TrainingResolved, hardware: Hardware, mesh: Mesh
) -> tuple[str, ...]:
    """What a reader must know before trusting the number."""
    found = list(model.warnings)
    card = hardware.card
    if hardware.reading:
        found.append(hardware.reading)
    if card.confidence in ("C", "D"):
        found.append(
            f"the figures of {card.name} are of low confidence ({card.confidence}): check its real memory"
        )
    idle = hardware.num_gpus - mesh.num_ranks
    if idle > 0:
        found.append(f"{idle} of {hardware.num_gpus} cards have no rank")
    found += request._replace(mesh=mesh).idle(asked)
    if asked.method != "full" and not asked.lora_targets:
        found.append(f"adapters on {', '.join(request.lora_targets)}: --lora-targets says otherwise")
    if model.quantization and request.method != "qlora":
        found.append(
            f"published in {model.quantization}: training holds its weights in "
            f"{recipe(request.precision).name}"
        )
    if kinds := unusual(model):
        found.append(
            f"activations of {', '.join(kinds)} follow the published code and were never compared with a run"
        )
    if (
        request.method == "qlora"
        and any(tensor.role == "expert" for tensor in model.tensors)
        and not experts_apart(model, request)
    ):
        if not request.packed_experts:
            found.append(
                "bitsandbytes packs no stacked experts: they stay in 16 bit "
                "(--packed-experts if something else does)"
            )
        elif request.sharding in ("fsdp1", "fsdp2", "hsdp"):
            found.append(
                "what FSDP holds of packed experts is not known: they are counted in 16 bit, and cut"
            )
    if any(tensor.part == "mtp" for tensor in model.tensors):
        found.append("MTP layers are left out: transformers does not load them")
    if len(model.layers) % (mesh.pp * mesh.virtual_stages):
        found.append(
            f"{len(model.layers)} layers over {mesh.pp * mesh.virtual_stages} pieces: "
            "the first ones hold one more"
        )
    found += portions_over(model, request, mesh)
    if request.optimizer == "muon" or request.optimizer.startswith("galore"):
        found.append(f"{request.optimizer}: states by formula, never compared with a run")
    return tuple(found)


def portions_over(model: Model, request: TrainingResolved, mesh: Mesh) -> tuple[str, ...]:
    """A note if FSDP2 cuts stacked experts over more ranks than there are experts: every rank holds a whole
    one, and gathers all."""
    ranks = mesh.dp * mesh.cp
    experts = max((tensor.repeat for tensor in model.tensors if tensor.role == "expert"), default=0)
    if request.sharding in ("fsdp2", "hsdp") and experts and mesh.ep == 1 and ranks > experts:
        return (
            f"FSDP2 cuts stacked experts along the first dimension: {experts} experts over {ranks} "
            f"ranks leave one whole on {experts} of them",
        )
    return ()
