"""A question with its framework's defaults in place of what it leaves open."""

from typing import Any

from ..errors import UnsupportedError
from ..run.training import DEFAULT_SEQ_LEN, TrainingAsked, TrainingResolved, recipe
from . import framework
from .adapter_products import products_of
from .record import Framework
from .releases import Habits

FSDP = ("fsdp1", "fsdp2", "hsdp")


def resolved(
    asked: TrainingAsked, longest: int = DEFAULT_SEQ_LEN, family: str | None = None
) -> TrainingResolved:
    """Return the question with the framework's defaults in place of None, as the releases that it names have
    them; `longest`: positions of the model, `family`: its family.

    >>> used = resolved(TrainingAsked(framework="torchtitan"))
    >>> used.sharding, used.precision, used.recompute_modules
    ('fsdp2', 'mixed-bf16', ('ops',))
    >>> asked = TrainingAsked(framework="unsloth", framework_version="2025.3.19", method="lora")
    >>> [resolved(asked, 4096, family).attention for family in ("gemma3", "qwen3")]
    ['math', 'auto']
    >>> [resolved(asked, 4096, family).loss for family in ("granitemoehybrid", "qwen3")]
    ['in-place', 'cut']
    >>> resolved(TrainingAsked(framework="transformers", framework_version="4.35")).attention
    'eager'
    >>> resolved(TrainingAsked(framework="llama-factory"), 4096, "kimi_vl").recompute
    'none'
    """
    asked.check()
    of = framework(asked.framework)
    check_known(asked, of)
    earlier = of.habits(asked.framework_version)
    chosen: dict[str, Any] = {}
    for name in ("optimizer", "sharding", "recompute", "attention", "loss", "kernels", "adapter_dtype"):
        if getattr(asked, name) is None:
            chosen[name] = getattr(of, name)
    if asked.seq_len is None:
        chosen["seq_len"] = min(earlier.seq_len or of.seq_len or DEFAULT_SEQ_LEN, longest)
    for name in ("optimizer", "max_pixels"):
        if getattr(asked, name) is None and getattr(earlier, name):
            chosen[name] = getattr(earlier, name)
    if earlier.loss and (asked.loss is None or (asked.loss == "plain" and "chunked" not in earlier.loss)):
        chosen["loss"] = earlier.loss
    chosen |= of_family(asked, earlier, family)
    chosen["trained_tower"] = trains_tower(asked, of)
    if of.expands_segments:
        chosen["expandable_segments"] = True
    if of.shardings:
        chosen["sharding"] = own_sharding(asked, of)
    if of.cuts_sequences and asked.mesh.tp > 1:
        chosen["mesh"] = asked.mesh._replace(sequence_parallel=True)
    chosen["precision"] = precision = precision_of(asked, of, earlier)
    if unsharded_by_reference(asked, of, earlier):
        chosen["sharding"] = "ddp"
    if asked.precision and recipe(asked.precision).weight == 1 and not of.megatron_core:
        chosen["products"] = recipe(asked.precision).arithmetic  # weights of one byte are Megatron's alone
    packed = asked.method == "qlora" and asked.quantization in (None, *BITSANDBYTES)
    if packed and asked.adapter_dtype is None and asked.sharding not in FSDP:
        chosen["adapter_dtype"] = earlier.adapter_dtype or of.adapter_dtype_qlora or of.adapter_dtype
    if recipe(precision).step == "flat":
        chosen["adapter_dtype"] = "bfloat16"
    if asked.adapter_products is None:
        chosen["adapter_products"] = products_of(asked, of, earlier)
    if (asked.recompute or of.recompute) == "selective" and not asked.recompute_modules:
        chosen["recompute_modules"] = of.selective
    if asked.method != "full" and not asked.lora_targets:
        chosen["lora_targets"] = of.lora_targets
    return TrainingResolved._make(asked._replace(**chosen))


def of_family(asked: TrainingAsked, earlier: Habits, family: str | None) -> dict[str, str]:
    """Return what the releases do with a family's models where nothing is said, by the question's field."""
    found, names = {}, ("recompute", "attention", "loss")
    for name, said in zip(names, (earlier.recompute, earlier.attention, earlier.loss_of), strict=True):
        for *families, value in (each.split(" ") for each in (said or " ").split("; ")):
            if getattr(asked, name) is None and ("any" in families or family in families):
                found[name] = value
    return found


def trains_tower(asked: TrainingAsked, of: Framework) -> bool:
    """Whether a vision tower is trained: beside the whole language model, or beside its adapters where that
    is said."""
    if asked.trained_tower is not None and not asked.trained_layers:
        return asked.trained_tower
    return asked.method == "full" and not asked.trained_layers and not of.freezes_tower


def check_known(asked: TrainingAsked, of: Framework) -> None:
    """Refuse a method that the framework does not run, and modules that it does not know."""
    if asked.method not in of.methods:
        raise UnsupportedError(
            f"--method {asked.method} of {of.name} is not known here",
            f"known are {', '.join(of.methods)}",
            "method",
        )
    for name in asked.recompute_modules:
        if name not in of.modules:
            raise UnsupportedError(
                f"{of.name} does not know --recompute-modules {name}", f"it knows {', '.join(of.modules)}"
            )


BITSANDBYTES = ("nf4", "nf4-dq", "int8")
"""Packed weights of a model that says is_loaded_in_4bit or is_loaded_in_8bit."""


def precision_of(asked: TrainingAsked, of: Framework, earlier: Habits) -> str:
    """Return the recipe: the one that is named, or the framework's for the method and the sharding. FSDP
    gathers F32 weights in 16 bit, so that autocast finds nothing to cast, whatever Trainer is told
    (accelerate's set_mixed_precision); a DeepSpeed engine makes its own of either. What accelerate 1.6 to
    1.12 divides by FSDP2 is F32, frozen weights too, as is what LLaMA-Factory 0.8.0 to 0.9.2 loads.

    >>> trl, none = framework("trl"), Habits()
    >>> [precision_of(TrainingAsked(sharding=each), trl, none) for each in ("none", "fsdp2", "zero3")]
    ['amp-bf16', 'mixed-bf16', 'deepspeed-bf16']
    >>> precision_of(TrainingAsked(method="lora", sharding="fsdp2"), trl, none)
    'mixed-bf16'
    >>> swift, asked = framework("ms-swift"), TrainingAsked(method="lora", sharding="fsdp2")
    >>> [precision_of(asked, swift, swift.habits(f"accelerate {each}")) for each in ("1.10.1", "1.13.0")]
    ['mixed-bf16', 'bf16']
    >>> precision_of(TrainingAsked(sharding="fsdp1", precision="amp-fp16"), trl, none)
    'mixed-fp16'
    """
    sharding = asked.sharding or of.sharding
    match asked.method:
        case "full":
            found = earlier.precision or of.precision
            if sharding in FSDP:
                found = of.precision_fsdp or found
        case "qlora" if of.precision_qlora:
            found = of.precision_qlora
        case _:
            alike = of.precision_lora in ("", of.precision)
            found = (earlier.precision if alike else "") or of.precision_lora or of.precision
            wide: tuple[str, ...] = FSDP[1:] if earlier.widens_frozen else ()
            if earlier.loads_wide and asked.method == "lora":
                wide = FSDP
            if sharding in wide or (sharding in FSDP and recipe(found).autocast):
                found = of.precision_fsdp or found
    if asked.precision and (of.megatron_core or recipe(asked.precision).weight > 1):
        found = asked.precision
        if sharding in FSDP and of.precision_fsdp and recipe(found).autocast:
            found = f"mixed-{recipe(found).arithmetic}"
    if of.zero_is_deepspeed and sharding in ("zero1", "zero2", "zero3"):
        return recipe(found).zero
    return found


def own_sharding(asked: TrainingAsked, of: Framework) -> str:
    """Return what a framework with ways of its own calls the sharding that is asked for: ZeRO 1 is Megatron's
    distributed optimizer."""
    wanted = asked.sharding or of.sharding
    if wanted == "zero1" and "distopt" in of.shardings:
        return "distopt"
    if wanted not in of.shardings:
        raise UnsupportedError(
            f"{of.name} does not shard by {wanted}",
            f"it has {', '.join(of.shardings)}: give one of them as --sharding, or --zero 1",
            "sharding",
        )
    return wanted


def unsharded_by_reference(asked: TrainingAsked, of: Framework, earlier: Habits) -> bool:
    """Return whether the reference model's engine switches the policy's ZeRO off: TRL 0.7.2 writes stage 0
    into the configuration that both read.

    >>> old, of = Habits(reference_unshards=True), framework("trl")
    >>> [
    ...     unsharded_by_reference(TrainingAsked(task="dpo", sharding=each), of, old)
    ...     for each in ("zero2", "zero3")
    ... ]
    [True, False]
    """
    compared = asked.task == "dpo" and asked.method == "full"
    staged = (asked.sharding or of.sharding) in ("zero1", "zero2")
    return earlier.reference_unshards and compared and staged
