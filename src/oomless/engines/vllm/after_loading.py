"""What loading leaves in a rank's memory that no checkpoint stores."""

from math import prod

from ...model.attention import DSA, MLA, V4, V41
from ...model.model import Model
from ...model.storage import DTYPES, F32
from ...run.cards import Hardware
from ...run.serving import Layout, Serving
from ...units import MIB
from ..parameters import unexplained
from ..rank import Placed, Stage
from ..rotary_tables import rope_positions, rope_tables
from .rank_tensors import shard, stage_layers
from .release import VllmRules


def extra_tensors(
    model: Model, asked: Serving, hardware: Hardware, stage: Stage, rules: VllmRules
) -> list[Placed]:
    """What loading leaves in memory that no checkpoint stores: rotary tables, absorbed MLA matrices, index
    buffers."""
    dtype = DTYPES[asked.dtype]
    layout, extra = asked.layout or Layout(), []
    for rope in rope_tables(model):
        wide = F32 if model.kinds.has(V4, V41) else dtype
        size = rope_positions(rope) * rope.dim * wide.bits // 8
        extra.append(Placed("weights.rotary_tables", f"cos and sin, {rope.scaling}", size, 1, ()))
    kinds = stage.kinds(model)
    mine = tuple(range(stage.start, stage.stop))
    mla = model.layer_at(stage.start).attention.core
    if isinstance(mla, MLA):
        heads = mla.num_heads // layout.tp
        both = mla.qk_nope_head_dim + mla.v_head_dim
        if model.quantization and rules.absorbs_copies:
            note = "kv_b_proj in BF16 for the absorbed products, beside its FP8"
            extra.append(
                Placed(
                    "weights.attention",
                    "W_UK and W_UV",
                    heads * both * mla.kv_lora_rank * 2,
                    1,
                    mine,
                    note,
                )
            )
        if rules.absorbs_products:
            extra += _absorbed_07(model, mla, heads, mine)
        if rules.imports_flashinfer_mla and hardware.card.vendor in ("NVIDIA", ""):
            note = "allocated when the module is imported, which choosing an MLA backend does"
            extra.append(Placed("weights.workspaces", "FlashInfer MLA workspace", 128 * MIB, 1, (), note))
    topk = max((each.index_topk for each in kinds.attentions if isinstance(each, DSA | V4 | V41)), default=0)
    if topk:
        size = (asked.max_num_batched_tokens or 0) * topk * 4
        extra.append(Placed("weights.workspaces", "index buffer, one for all layers", size, 1, ()))
        from .sparse import loaded_bytes  # most models have no sparse attention

        reserved = loaded_bytes(model, asked, rules)
        if reserved:
            extra.append(
                Placed(
                    "weights.workspaces",
                    "queries and gathered rows of sparse MLA, one for all layers",
                    reserved,
                    1,
                    (),
                )
            )
    if asked.speculative and stage.last and model.streams > 1 and model.draft:
        size = (asked.max_num_batched_tokens or 0) * model.streams * model.hidden_size * dtype.bits // 8
        extra.append(Placed("weights.workspaces", "hidden states for the draft", size, 1, ()))
    extra += unexplained(model, "rank")
    if hardware.card.capability >= 10 and model.quantization == "fp8":
        extra += _blackwell_scales(model, asked, stage, rules)
    return extra


def _absorbed_07(model: Model, mla: MLA, heads: int, layers: tuple[int, ...]) -> list[Placed]:
    """0.7 kept products of the projections beside them (attention/backends/mla/utils.py, matrix
    absorption)."""
    width = mla.q_lora_rank or model.hidden_size
    rank = mla.kv_lora_rank
    quantized = bool(model.quantization)
    value = 1 if quantized else 2
    sizes = {
        "W_QR": width * heads * mla.qk_rope_head_dim * 2,
        "W_Q_UK": heads * rank * width * value,
        "W_UV_O": heads * rank * model.hidden_size * value,
    }
    if quantized:
        sizes["W_UK and W_UV in F32"] = heads * (mla.qk_nope_head_dim + mla.v_head_dim) * rank * 4
    return [
        Placed("weights.attention", name, size, 1, layers, "matrix absorption of 0.7")
        for name, size in sizes.items()
    ]


def _blackwell_scales(model: Model, asked: Serving, stage: Stage, rules: VllmRules) -> list[Placed]:
    """DeepGEMM's scale layout on Blackwell: one byte a row and 128 columns instead of one F32 a 128x128
    block."""
    rows_of_scales = 0
    for tensor in model.tensors:
        layers = stage_layers(tensor, model, asked, stage, rules)
        if layers is None or not tensor.format.block or tensor.format.bits != 8 or tensor.part == "engram":
            continue
        shape, repeat = shard(tensor, asked, rules, tensor.part == "main")
        rows_of_scales += (
            (prod(shape) // 128 - tensor.format.scale_bytes(shape)) * repeat * max(len(layers), 1)
        )
    return [
        Placed(
            "weights.scales", "DeepGEMM layout", max(rows_of_scales, 0), 1, (), "assumed: read, not measured"
        )
    ]
