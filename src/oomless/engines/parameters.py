"""The parameters that engines make of a checkpoint: fused tensors, and the lines that they belong to."""

from collections.abc import Callable, Iterable
from functools import lru_cache

from ..ledger import Key
from ..model.attention import GQA
from ..model.model import EMBEDDING, HEAD, Model, Tensor
from ..model.storage import BF16, Format, Shape
from ..run.serving import Resolved
from .rank import Placed

KV_B = "self_attn.kv_b_proj.weight"
"""The projection of MLA's latent to the keys and values of every head."""
FUSED = (
    ("shared_experts.gate_proj.", "shared_experts.gate_up_proj."),
    ("shared_experts.up_proj.", "shared_experts.gate_up_proj."),
    ("shared_experts.down_proj.", "shared_experts.down_proj."),
    ("experts.gate_proj.", "experts.w13_"),
    ("experts.up_proj.", "experts.w13_"),
    ("experts.down_proj.", "experts.w2_"),
    ("self_attn.q_proj.", "self_attn.qkv_proj."),
    ("self_attn.k_proj.", "self_attn.qkv_proj."),
    ("self_attn.v_proj.", "self_attn.qkv_proj."),
    (".gate_proj.", ".gate_up_proj."),
    (".up_proj.", ".gate_up_proj."),
    ("linear_attn.in_proj_b.", "linear_attn.in_proj_ba."),
    ("linear_attn.in_proj_a.", "linear_attn.in_proj_ba."),
    ("linear_attn.in_proj_q.", "linear_attn.in_proj_qkvz."),
    ("linear_attn.in_proj_k.", "linear_attn.in_proj_qkvz."),
    ("linear_attn.in_proj_v.", "linear_attn.in_proj_qkvz."),
    ("linear_attn.in_proj_z.", "linear_attn.in_proj_qkvz."),
    ("attn.wq_a.", "attn.fused_wqa_wkv."),
    ("attn.wkv.", "attn.fused_wqa_wkv."),
    ("compressor.wkv.", "compressor.fused_wkv_wgate."),
    ("compressor.wgate.", "compressor.fused_wkv_wgate."),
)
"""First match counts, so routed and shared experts come before plain feed-forward. MLA without q_lora keeps
q_proj apart by shape."""


@lru_cache(maxsize=4096)
def key_of(name: str) -> Key:
    """Return the key of the line that a tensor belongs to."""
    for piece, key in PARTS:
        if piece in name:
            return key
    return "weights.norms"


PARTS: tuple[tuple[str, Key], ...] = (
    ("shared_expert", "weights.shared_experts"),
    ("experts.", "weights.routed_experts"),
    (".gate.", "weights.routers"),
    ("indexer", "weights.indexer"),
    ("compressor", "weights.compressors"),
    ("engram", "weights.engram"),
    ("vision", "weights.vision"),
    ("sam.", "weights.vision"),
    ("clip.", "weights.vision"),
    ("qwen2.", "weights.vision"),
    ("projector", "weights.vision"),
    (EMBEDDING, "weights.embedding"),
    (HEAD, "weights.output_head"),
    ("norm", "weights.norms"),
    ("hc_", "weights.hyper_connections"),
    ("attn.", "weights.attention"),
    ("mamba.", "weights.attention"),
    ("conv.", "weights.attention"),
    ("mlp.", "weights.feed_forward"),
)


Member = tuple[str, str, tuple[int, ...], Shape, Format, int]
"""A rank's part of one of the checkpoint's tensors: the parameter that it becomes part of, the tensor, its
layers, its shape, its format, and how many there are a layer. Plain: an answer makes dozens."""


def allocations(
    members: Iterable[Member], of_parameter: Callable[[list[Member]], list[Placed]] | None = None
) -> list[Placed]:
    """Return what is allocated for members: one allocation for all that share a parameter and its layers, in
    the order of creation; tensors of a tower that the list calls alike stay apart. `of_parameter` makes
    those of one parameter."""
    shared: list[list[Member]] = []
    alone: list[list[Member]] = []
    by_name: dict[str, list[list[Member]]] = {}
    for member in members:
        parameter, tensor, layers = member[:3]
        of_name = by_name.setdefault(parameter, [])
        for parts in of_name:  # hardly ever two: equal layers are one object, and need no comparison
            if parts[0][2] is layers or parts[0][2] == layers:
                if parameter == tensor:
                    alone.append([member])
                else:
                    parts.append(member)
                break
        else:
            of_name.append([member])
            shared.append(of_name[-1])
    make = of_parameter or allocation
    return [placed for parts in (*shared, *alone) for placed in make(parts)]


def allocation(parts: list[Member]) -> list[Placed]:
    """Return one parameter's: its parts stacked by rows, its scales beside it, all experts of a layer in one.
    Where a part is not quantised, none is."""
    name, _, layers, shape, form, repeat = parts[0]
    if len(parts) > 1:
        form = form if all(part[4] == form for part in parts) else BF16
        shape = stacked_shape(parts)
    key, stacked = key_of(name), repeat if repeat > 1 and "experts." in name else 1
    count = repeat // stacked
    placed = [Placed(key, name, form.data_bytes(shape) * stacked, count, layers)]
    if form.block:
        placed.append(Placed(key, f"{name} scales", form.scale_bytes(shape) * stacked, count, layers))
    return placed


def of_weights(asked: Resolved) -> Resolved:
    """Return what a question says that decides which weights a rank has, and nothing else: questions of one
    layout with other loads, batches or shares of the card become one.

    >>> from ..run.serving import Layout
    >>> short, long = (
    ...     Resolved(layout=Layout(tp=8), dtype="bfloat16", context=length) for length in (4096, 32768)
    ... )
    >>> of_weights(short) == of_weights(long), of_weights(short).layout.tp
    (True, 8)
    """
    return NOTHING_ASKED._replace(
        engine=asked.engine,
        engine_version=asked.engine_version,
        layout=asked.layout,
        dtype=asked.dtype,
        quantization=asked.quantization,
        speculation=asked.speculation,
        engram=asked.engram,
        num_redundant_experts=asked.num_redundant_experts,
        kt_num_gpu_experts=asked.kt_num_gpu_experts,
        mm_encoder_tp_mode=asked.mm_encoder_tp_mode,
        language_model_only=asked.language_model_only,
        attn_cp_size=asked.attn_cp_size,
        moe_a2a_backend=asked.moe_a2a_backend,
        enable_dp_lm_head=asked.enable_dp_lm_head,
        disable_shared_experts_fusion=asked.disable_shared_experts_fusion,
        moe_dense_tp_size=asked.moe_dense_tp_size,
    )


NOTHING_ASKED = Resolved()


def stacked_shape(parts: list[Member]) -> Shape:
    """Return the shape of parts one under the other."""
    return (sum([part[3][0] for part in parts]), *parts[0][3][1:])


def unexplained(model: Model, each: str) -> list[Placed]:
    """Return what the checkpoint's headers count and its config does not explain, whole on every rank (or
    card, as `each` says)."""
    missing = model.stored_bytes - model.explained_bytes if model.stored_bytes else 0
    note = f"assumed whole on every {each}: in the checkpoint, not explained by its config"
    return [Placed("weights.unexplained", "headers less config", missing, 1, (), note)] if missing > 0 else []


def fills_values(tensor: Tensor, model: Model) -> bool:
    """Return whether a key projection is that of the values too, whose rows the fused parameter has all the
    same: it is loaded into both (models/gemma4.py of vLLM 0.19 to 0.33, gemma4_causal.py of SGLang).

    >>> from ..model.load import load
    >>> model = load("gemma-4-31b")
    >>> [len(tensor.layers) for tensor in model.tensors if fills_values(tensor, model)]
    [10]
    """
    if "self_attn.k_proj." not in tensor.name or not tensor.layers:
        return False
    core = model.layer_at(tensor.layers[0]).attention.core
    return isinstance(core, GQA) and core.shares_values


def fused_name(name: str) -> str:
    """Return the parameter that a checkpoint's tensor becomes part of in every engine: the first match of
    FUSED."""
    for part, whole in FUSED:
        if part in name:
            return name.replace(part, whole)
    return name


def fused_qkv_a(name: str, parameter: str) -> str:
    """Return the name with the two projections into latents as parts of one parameter."""
    for part in ("q_a_proj.", "kv_a_proj_with_mqa."):
        if part in name:
            return name.replace(part, parameter)
    return name
