"""What a reader of a training estimate must know before trusting the number."""

from ...frameworks import framework
from ...model.attention import DSA, V4, V41, Linear
from ...model.fused_modules import as_matrices
from ...model.model import Model
from ...run.cards import Hardware
from ...run.training import Mesh, TrainingAsked, TrainingResolved, optimizer
from .checks import SPECIAL, no_bf16
from .head_and_loss import CONTRASTIVE
from .ineffective_flags import ineffective_flags
from .job import Job
from .rank_portions import is_target, packs_apart
from .reserved import late_share


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
    if asked.precision is None and no_bf16(job.hardware.card):
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
    found = [
        "a batch of text: the activations of the vision tower are not counted, and tokens of images "
        "count as those of --seq-len"
    ]
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
    if request.mesh.ep > 1 and framework(request.framework).groups_adapters:
        return ["its examples with experts took 5 to 11 GiB more than is counted here"]
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
