"""What a rank computes in one micro-batch, as the graphs of its layers need it."""

from ...frameworks import framework
from ...frameworks.graphs.adapters import adapter
from ...frameworks.graphs.blocks import AttentionKernel, Kernels, MicroBatchWork
from ...model.attention import MLA, V4, V41
from ...model.model import Model
from ...run.cards import Card
from ...run.training import Recipe, TrainingResolved, recipe
from .adapted_experts import adapts_stacks, experts_apart
from .job import Job


def attention_kernel(request: TrainingResolved, form: Recipe, model: Model, card: Card) -> AttentionKernel:
    """What torch's scaled_dot_product_attention takes: flash needs half precision, Ampere and equal head
    sizes up to 256.

    Source: torch aten/native/transformers/cuda/sdp_utils.cpp. MLA's heads of 192 and 128 go to the
    memory-efficient kernel, as what a mask of padding hides does in encoders.
    """
    asked = request.attention or "auto"
    if asked != "auto":
        kernel: AttentionKernel = asked  # type: ignore[assignment]
        return kernel
    if form.compute == 4 or card.lacks_bf16:
        return "efficient"
    latent = any(isinstance(each.core, MLA | V4 | V41) for each in model.kinds.attentions)
    return "efficient" if latent or model.encodes else "flash"


def may_widen(request: TrainingResolved) -> bool:
    """Return whether what bitsandbytes does not pack of a model may be put into F32 before QLoRA: whatever
    does so leaves sharded weights and those of other libraries alone."""
    whole = request.sharding in ("none", "ddp", "zero1", "zero2")
    return request.method == "qlora" and whole and request.quantization in (None, "nf4", "nf4-dq", "int8")


def wide_norms(request: TrainingResolved) -> bool:
    """Return whether a packed model's norms are put into F32, and with them the stream that layers hand
    on."""
    return (
        may_widen(request)
        and framework(request.framework).habits(request.framework_version).wide_norms
        and recipe(request.precision).compute == 2
    )


def adapter_compute(request: TrainingResolved, form: Recipe, compute: int) -> int:
    """Bytes of a number of an adapter as it computes: its own, but in one type with its unit of FSDP2, or of
    FSDP1 with mixed precision (else peft's fsdp_auto_wrap_policy gives it a unit apart).

    >>> from ...run.training import recipe
    >>> asked = TrainingResolved(method="lora", adapter_dtype="float32")
    >>> def size(sharding, name="bf16"):
    ...     return adapter_compute(asked._replace(sharding=sharding), recipe(name), 2)
    >>> size("none"), size("fsdp1"), size("fsdp1", "mixed-bf16"), size("fsdp2")
    (4, 4, 2, 2)
    """
    own = 2 if request.adapter_dtype == "bfloat16" else 4
    mixed = request.sharding == "fsdp1" and form.weight > form.gathered
    return min(own, compute) if mixed or request.sharding in ("fsdp2", "hsdp") else own


FUSED_NORMS = "fused-norms"
"""Of `--kernels`: norms alone are single kernels, which keep their input and one F32 a row."""


def remakes_inputs(request: TrainingResolved) -> bool:
    """Return whether a compiler keeps nothing of what a matrix reads, where products are in FP8.

    torch/_functorch/partitioners.py: what a product reads is there in memory, and is kept; of what its cast
    to FP8 reads (torchao/float8/float8_linear.py) nothing is: norms and activations are made again in the
    cast's kernel, of what they keep anyway. Checkpoints choose for themselves.
    """
    return request.kernels == "compiled" and request.products == "fp8" and request.recompute == "none"


def frozen_inputs(request: TrainingResolved) -> str:
    """Return what a product with frozen weights keeps of what it reads: nothing, where torch makes it.

    DeepSpeed's ZeRO-3 puts a function of its own in place of torch's, which keeps its input whether the
    weight is trained or not (zero/linear.py, LinearFunctionForZeroStage3; partition_parameters.py, 0.16.9).

    >>> asked = TrainingResolved(framework="trl", method="lora", sharding="zero3")
    >>> frozen_inputs(asked), frozen_inputs(asked._replace(sharding="zero2"))
    ('kept', '')
    """
    of = framework(request.framework)
    if request.method == "qlora":
        four = request.quantization in (None, "nf4", "nf4-dq")
        return of.habits(request.framework_version).packed_inputs if four else ""
    by_deepspeed = request.sharding == "zero3" and of.zero_is_deepspeed
    return "kept" if request.method == "lora" and by_deepspeed else ""


def tile_of(request: TrainingResolved, model: Model, seq: int) -> tuple[int, bool]:
    """Return tokens of a tile of feed-forwards, 0 without tiles, and whether experts run in them too.

    torch.chunk along the sequence, of all sequences at once; Unsloth takes all as one, and what is left over
    goes into a last tile.

    >>> from ...model.load import load
    >>> asked = TrainingResolved(framework="unsloth", tiled_mlp=0)
    >>> tile_of(asked, load("gpt-oss-20b"), 486487), tile_of(asked, load("gpt-oss-20b"), 2048)
    ((2880, True), (2048, True))
    >>> asked = TrainingResolved(framework="axolotl", tiled_mlp=0)
    >>> tile_of(asked, load("qwen3-30b-a3b"), 131073)
    (26215, False)
    """
    *families, tokens = framework(request.framework).habits(request.framework_version).tiles or ("0",)
    if request.tiled_mlp is None or not families:
        return 0, False
    routed, tile = bool({"any", model.family} & set(families)), int(tokens) or model.hidden_size
    if "any" in families and not request.tiled_mlp:
        whole = request.sequences * seq
        return max(min(tile, whole), whole - tile * max(1, seq // tile)), routed
    return request.sequences * -(-seq // (request.tiled_mlp or -(-seq // tile))), routed


def work_of(job: Job) -> MicroBatchWork:
    """What a rank computes in one micro-batch."""
    model, request, mesh, form = job.model, job.request, job.mesh, job.recipe
    kernels: Kernels = (
        "compiled"
        if request.kernels == "compiled"
        else "liger"
        if request.kernels in ("liger", "te")
        else "eager"
    )
    seq = -(-request.seq_len // mesh.cp)
    kind = adapter(request.adapter)
    if request.method != "full" and kind.where == "tokens":
        seq += kind.tokens
    of = framework(request.framework)
    compute = form.compute
    experts = max((tensor.repeat for tensor in model.tensors if tensor.role == "expert"), default=0)
    tile, tiled_experts = tile_of(request, model, seq)
    return MicroBatchWork(
        batch=request.sequences,
        seq=seq,
        compute=compute,
        residual=4 if form.autocast or wide_norms(request) else compute,
        autocast=form.autocast,
        tp=mesh.tp,
        sequence_parallel=mesh.sequence_parallel and mesh.tp > 1,
        expert_tp=mesh.etp or 1 if mesh.ep > 1 else mesh.tp,
        trained=request.method == "full",
        lora_rank=request.lora_rank if request.method != "full" else 0,
        lora_targets=request.lora_targets,
        adapter=request.adapter,
        trained_norms=request.method != "full" and kind.where == "norm",
        prefix_outputs=kind.outputs if request.method != "full" and kind.where == "prefix" else 0,
        adapter_bytes=adapter_compute(request, form, compute),
        adapter_dropout=of.adapter_dropout,
        fused_adapters=request.adapter_products == "fused" and request.adapter == "lora",
        grouped_adapters=of.groups_adapters,
        one_projection=of.one_projection,
        experts_apart=request.method != "full" and experts_apart(model, request),
        adapted_experts=experts // mesh.ep if adapts_stacks(model, request) else 0,
        quantized=request.method == "qlora",
        frozen_inputs=frozen_inputs(request),
        wide_norms=wide_norms(request),
        kernels=kernels,
        fused_norms=request.kernels == FUSED_NORMS
        or (of.fuses_norms and not of.habits(request.framework_version).written_norms),
        remakes_inputs=remakes_inputs(request),
        attention=attention_kernel(request, form, model, job.hardware.card),
        dropout=request.dropout or model.dropout,
        padded=not request.packed,
        imbalance=request.expert_imbalance,
        exchanged=mesh.ep > 1,
        resends=of.habits(request.framework_version).resends,
        gathered_ranks=mesh.cp if of.torch_context and request.sharding in ("fsdp2", "hsdp") else 1,
        deterministic=request.deterministic,
        norms_apart=of.megatron_core,
        tile=tile,
        tiled_experts=tiled_experts,
    )
