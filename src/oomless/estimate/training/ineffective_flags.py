"""Flags of a training question that change nothing in it, and why."""

from ...frameworks import framework
from ...frameworks.deepspeed.zero_engine import SETTINGS
from ...frameworks.releases import names_release
from ...run.options import by_keyword
from ...run.training import Mesh, TrainingAsked, TrainingResolved

ADAPTER_FIELDS = ("adapter", "lora_rank", "lora_targets", "adapter_dtype", "adapter_products", "trained_ends")


def ineffective_flags(used: TrainingResolved, asked: TrainingAsked) -> tuple[str, ...]:
    """Return the flags of `asked` that change nothing in `used`, the same question with every default.

    >>> from ...frameworks.defaults import resolved
    >>> asked = TrainingAsked(lora_rank=16, quantization="nf4")
    >>> ineffective_flags(resolved(asked), asked)
    ('--lora-rank changes nothing: --method is full', '--quantization changes nothing: --method is full')
    """
    found = [*of_method(used, asked), *of_recomputation(used, asked), *of_ranks(used, asked)]
    found += of_zero(used, asked)
    return tuple(f"{name} changes nothing: {why}" for name, why in found)


def of_method(used: TrainingResolved, asked: TrainingAsked) -> list[tuple[str, str]]:
    """Return flags of adapters and packed weights where there are none."""
    why, table = f"--method is {used.method}", by_keyword("train")
    found = []
    if used.method == "full":
        given = asked.given()
        found += [(table[name].flag, why) for name in ADAPTER_FIELDS if name in given]
    else:
        found += [
            (table[name].flag, why) for name in ("trained_layers", "trained_tower") if getattr(asked, name)
        ]
    if used.method != "qlora" and asked.quantization:
        found.append(("--quantization", why))
    if used.task == "grpo" and used.query_len and not framework(used.framework).answers_alone:
        found.append(("--query-len", f"{used.framework} makes logits of prompts"))
    return found


def of_recomputation(used: TrainingResolved, asked: TrainingAsked) -> list[tuple[str, str]]:
    """Return flags that the way of recomputation does not read."""
    why, found = f"--recompute is {used.recompute}", []
    if used.recompute != "selective" and asked.recompute_modules:
        found.append(("--recompute-modules", why))
    if used.recompute != "full" and asked.recompute_num_layers is not None:
        found.append(("--recompute-num-layers", why))
    if used.recompute != "full" and asked.use_reentrant is not None:
        found.append(("--use-reentrant", why))
    if used.recompute == "none" and asked.recompute_every > 1:
        found.append(("--recompute-every", why))
    return found


ANY_STAGE = ("reduce_bucket_size", "overlap_comm")
"""Settings of the engine that stages 1 and 2 read too."""


def of_zero(used: TrainingResolved, asked: TrainingAsked) -> list[tuple[str, str]]:
    """Return settings of DeepSpeed's engine that the sharding does not read, and what it does not offload.

    >>> from ...frameworks.defaults import resolved
    >>> asked = TrainingAsked(framework="trl", sharding="zero2", sub_group_size=10, overlap_comm=True)
    >>> of_zero(resolved(asked), asked)
    [('--sub-group-size', '--sharding is zero2')]
    """
    given, table, why = asked.given(), by_keyword("train"), f"--sharding is {used.sharding}"
    if not framework(used.framework).zero_is_deepspeed:
        return [
            (table[name].flag, f"{used.framework} has no ZeRO of DeepSpeed")
            for name in SETTINGS
            if name in given
        ]
    stages = ("zero1", "zero2", "zero3")
    left = [(f"--offload {word}", why) for word in asked.offload if word not in used.offload]
    return left + [
        (table[name].flag, why)
        for name in SETTINGS
        if name in given and used.sharding not in (stages if name in ANY_STAGE else stages[2:])
    ]


def of_ranks(used: TrainingResolved, asked: TrainingAsked) -> list[tuple[str, str]]:
    """Return flags of an axis that has one rank, and releases of a framework of which one is known."""
    mesh, given, of = used.mesh, asked.mesh, framework(used.framework)
    found = []
    if used.sharding not in ("hsdp", "distopt", "megatron_fsdp") and given.shard_size:
        found.append(("--shard-size", f"--sharding is {used.sharding}"))
    if asked.keep_gathered and used.sharding not in ("fsdp1", "fsdp2", "hsdp"):
        found.append(("--keep-gathered", f"--sharding is {used.sharding}"))
    if mesh.tp == 1 and given.sequence_parallel:
        found.append(("--sequence-parallel", "--tp is 1"))
    if mesh.ep == 1 and given.etp not in (0, 1, mesh.tp) and not of.megatron_core:
        found.append(("--etp", "--ep is 1"))
    if used.framework_version and not of.packages:
        found.append(("--framework-version", f"no earlier release of {used.framework} is known here"))
    elif used.framework_version and not names_release(of.name, of.packages, used.framework_version):
        found.append(("--framework-version", f"{of.name} goes by releases of {', '.join(of.packages)}"))
    if asked.tiled_mlp is not None and not of.habits(used.framework_version).tiles:
        found.append(("--tiled-mlp", f"{of.name} has no tiles"))
    if mesh.pp == 1 and given.schedule != Mesh().schedule:
        found.append(("--schedule", "--pp is 1"))
    return found
