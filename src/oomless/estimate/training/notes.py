"""What a reader of a training estimate must know before trusting the number, and which flags do nothing."""

from ...frameworks import framework
from ...frameworks.deepspeed.zero_engine import SETTINGS
from ...frameworks.releases import names_release
from ...model.attention import DSA, V4, V41, Linear
from ...model.fused_modules import as_matrices
from ...model.model import Model
from ...run.cards import Hardware
from ...run.options import by_keyword
from ...run.training import Mesh, TrainingAsked, TrainingResolved, optimizer
from .adapted_experts import is_target, packs_apart
from .checks import SPECIAL
from .head_and_loss import CONTRASTIVE
from .job import Job
from .reserved import late_share
from .tower import on_images


def warnings(job: Job, asked: TrainingAsked) -> tuple[str, ...]:
    """Return the notes on an estimate: cards, flags without effect, choices of the framework, rules that were
    never compared with a run."""
    model, request = job.model, job.request
    found = [*model.warnings, *on_cards(job.hardware, job.mesh), *ineffective_flags(request, asked)]
    if late_share(job).high:
        found.append(
            f"what is gathered may come back late on {job.hardware.card.name}: MULTI_STREAM_MEMORY_REUSE=1 "
            "frees it earlier"
        )
    if request.loss == CONTRASTIVE:
        found.append(f"--micro-batch counts queries: {request.sequences:,} sequences run at once")
    if asked.precision is None and job.hardware.card.lacks_bf16:
        found.append(f"{job.hardware.card.name} has no BF16: {request.precision} is taken")
    if asked.method != "full" and not asked.lora_targets:
        found.append(f"adapters on {', '.join(request.lora_targets)}: --lora-targets says otherwise")
    if strangers := outside_layers(model, asked):
        found.append(f"no layer of {model.name} has {', '.join(strangers)}: no adapter is counted there")
    if model.quantization and request.method != "qlora":
        found.append(f"published in {model.quantization}: training holds its weights in {job.recipe.name}")
    if kinds := unusual(model):
        found.append(
            f"activations of {', '.join(kinds)} follow the published code and were never compared with a run"
        )
    found += on_experts(model, request)
    if any(tensor.part == "mtp" for tensor in model.tensors) and not request.mtp_layers:
        found.append(
            "MTP layers are left out: --mtp-layers counts them"
            if framework(request.framework).megatron_core
            else "MTP layers are left out: transformers does not load them"
        )
    found += on_tower(model, request)
    if asked.sharding in ("zero1", "zero2") and request.sharding == "ddp" and job.mesh.dp > 1:
        found.append(
            f"{request.framework_version} prepares the reference model with stage 0 in the configuration "
            "of both: the policy runs without ZeRO"
        )
    if request.grad_accum != asked.grad_accum:
        found.append(
            f"{request.grad_accum} micro-batches of a step, one for each stage of the pipeline: "
            "--grad-accum or --global-batch says otherwise"
        )
    if job.mesh.pp > 1 and not framework(request.framework).starts_pipelines:
        found.append(f"{request.framework} starts no pipeline by itself: --pp counts a script of one's own")
    if request.seq_len > model.max_positions:
        found.append(
            f"sequences of {request.seq_len:,} tokens are longer than the {model.max_positions:,} positions "
            f"of {model.name}: it needs another rotary base or scaling"
        )
    pieces = job.mesh.pp * job.mesh.virtual_stages
    if len(model.layers) % pieces:
        found.append(f"{len(model.layers)} layers over {pieces} pieces: the first ones hold one more")
    found += on_cut_experts(model, request, job.mesh)
    if request.optimizer in ("muon", "adam-mini") or optimizer(request.optimizer).projected:
        found.append(f"{request.optimizer}: states by formula, never compared with a run")
    return tuple(found)


def on_tower(model: Model, request: TrainingResolved) -> list[str]:
    """Return what is counted of a vision tower."""
    if all(tensor.part != "vision" for tensor in model.tensors):
        return []
    found = on_images(model, request)
    if request.trained_tower:
        found.append("the vision tower is trained too: --train-tower off leaves it frozen")
    return found


def outside_layers(model: Model, asked: TrainingAsked) -> list[str]:
    """Return the named targets of adapters that are no matrix of a layer: of another family, or an end.

    >>> from ...model.load import load
    >>> asked = TrainingAsked(method="lora", lora_targets=("q_proj", "c_attn", "lm_head", "up|down"))
    >>> outside_layers(load("qwen2.5-7b"), asked), outside_layers(load("qwen-7b"), asked)
    (['c_attn', 'lm_head'], ['lm_head'])
    """
    inside = [tensor.name for tensor in model.tensors if tensor.layers and len(tensor.shape) > 1]
    named = [target for target in asked.lora_targets if target != "all-linear" and not SPECIAL & set(target)]
    return [
        target
        for target in named
        if not any(is_target(name, as_matrices(model.family, [target])) for name in inside)
    ]


def on_cards(hardware: Hardware, mesh: Mesh) -> list[str]:
    """Return what is to be said of the cards: how a name was read, doubtful figures, cards without work."""
    card, found = hardware.card, []
    if hardware.reading:
        found.append(hardware.reading)
    if card.confidence in ("C", "D"):
        found.append(
            f"the figures of {card.name} are of low confidence ({card.confidence}): check its real memory"
        )
    if "the least is taken" in card.memory_source:
        found.append(f"memory of {card.name}: {card.memory_source}")
    idle = hardware.num_gpus - mesh.num_ranks
    if idle > 0:
        found.append(f"{idle} of {hardware.num_gpus} cards have no rank")
    return found


def unusual(model: Model) -> tuple[str, ...]:
    """Return the kinds of layers whose training graph was never compared with a run."""
    names = {
        "compressed attention (V4)": any(isinstance(layer.attention, V4 | V41) for layer in model.layers),
        "sparse attention (DSA)": any(isinstance(layer.attention, DSA) for layer in model.layers),
        "linear attention": any(isinstance(layer.attention, Linear) for layer in model.layers),
    }
    return tuple(name for name, there in names.items() if there)


def on_experts(model: Model, request: TrainingResolved) -> list[str]:
    """Return what is to be said of experts that QLoRA may or may not pack, and of Megatron-SWIFT's."""
    exchanged = request.mesh.ep > 1 and framework(request.framework).groups_adapters
    if exchanged and request.expandable_segments:  # as the row of reserved_slack that counts them
        return ["its examples with experts took 4 to 14 GiB that nothing explains: the middle is counted"]
    stacked = any(tensor.role == "expert" for tensor in model.tensors) and not packs_apart(model, request)
    if request.method != "qlora" or not stacked:
        return []
    if not request.packed_experts:
        return [
            "bitsandbytes packs no stacked experts: they stay in 16 bit "
            "(--packed-experts if something else does)"
        ]
    if request.sharding in ("fsdp1", "fsdp2", "hsdp"):
        return ["what FSDP holds of packed experts is not known: they are counted in 16 bit, and cut"]
    return []


def on_cut_experts(model: Model, request: TrainingResolved, mesh: Mesh) -> list[str]:
    """Return a note if FSDP2 cuts stacked experts over more ranks than there are experts: the first ranks
    hold a whole one, and gather all."""
    ranks = mesh.dp * mesh.cp
    experts = max((tensor.repeat for tensor in model.tensors if tensor.role == "expert"), default=0)
    if request.sharding in ("fsdp2", "hsdp") and experts and mesh.ep == 1 and ranks > experts:
        return [
            f"FSDP2 cuts stacked experts along the first dimension: {experts} experts over {ranks} "
            f"ranks leave one whole on {experts} of them"
        ]
    return []


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
    elif asked.trained_layers:
        found.append((table["trained_layers"].flag, why))
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
