"""What loading leaves in a rank's memory that no checkpoint stores."""

from math import prod

from ...model.attention import DSA, MLA, V4, V41
from ...model.model import Model
from ...model.storage import DTYPES, F32, NVFP4
from ...run.cards import Hardware
from ...run.serving import Resolved
from ...units import MIB
from ..parameters import KV_B, unexplained
from ..rank import Placed, Stage
from ..rotary_tables import rope_positions, rope_tables
from ..runtime_formats import runtime_format
from .rank_tensors import shard, stage_layers
from .release import VllmRules


def extra_tensors(
    model: Model, asked: Resolved, hardware: Hardware, stage: Stage, rules: VllmRules
) -> list[Placed]:
    """What loading leaves in memory that no checkpoint stores: rotary tables, absorbed MLA matrices, index
    buffers."""
    extra = [
        *rotary_tables(model, asked),
        *absorbed(model, asked, stage, rules),
        *workspaces(model, asked, hardware, stage, rules),
        *unexplained(model, "rank"),
    ]
    if hardware.card.capability >= 10 and model.quantization == "fp8":
        extra += blackwell_scales(model, asked, stage, rules)
    if rules.keeps_loaded_nvfp4_scales and hardware.card.major == 10:
        extra += loaded_nvfp4_scales(model, asked, stage, rules)
    return extra


def rotary_tables(model: Model, asked: Resolved) -> list[Placed]:
    """Tables of cosines and sines; V4's are in F32."""
    form = F32 if model.kinds.has(V4, V41) else DTYPES[asked.dtype]
    return [
        Placed(
            "weights.rotary_tables",
            f"cos and sin, {rope.scaling}",
            rope_positions(rope) * rope.dim * form.bits // 8,
            1,
            (),
        )
        for rope in rope_tables(model)
    ]


def absorbed(model: Model, asked: Resolved, stage: Stage, rules: VllmRules) -> list[Placed]:
    """What MLA layers multiply queries and outputs with, where it is no view of kv_b_proj: copies of one that
    is quantised, in the type that is computed in (0.8 on); products of the projections (0.7).

    A kv_b_proj in 16 bit is only looked at from another side (mla_attention.py,
    process_weights_after_loading), so Kimi-K2-Thinking and Kimi-K3, whose experts alone are quantised, hold
    no copies.
    """
    if rules.heads_cached or not (model.kinds.latents and (rules.absorbs_copies or rules.absorbs_products)):
        return []
    found: dict[tuple[str, int, str], list[int]] = {}
    for tensor in model.tensors:
        layers = stage_layers(tensor, model, asked, stage, rules) if tensor.name.endswith(KV_B) else None
        if not layers:
            continue
        quantised = runtime_format(tensor, model, asked).bits < 16
        shape, _ = shard(tensor, asked, rules, tensor.part == "main")
        sizes = {"W_UK and W_UV": prod(shape) * DTYPES[asked.dtype].bits // 8} if quantised else {}
        note = "kv_b_proj in BF16 for the absorbed products, beside its FP8"
        mla = model.layer_at(tensor.layers[0]).attention.core
        if rules.absorbs_products and isinstance(mla, MLA):
            sizes = products(mla, model.hidden_size, prod(shape), quantised)
            note = "matrix absorption of 0.7"
        for name, size in sizes.items():
            found.setdefault((name, size, note), []).extend(layers)
    return [
        Placed("weights.attention", name, size, 1, tuple(layers), note)
        for (name, size, note), layers in found.items()
    ]


def products(mla: MLA, hidden: int, kv_b: int, quantised: bool) -> dict[str, int]:
    """Products of the projections that 0.7 kept beside them, by name; `kv_b`: a rank's elements of kv_b_proj
    (attention/backends/mla/utils.py, matrix absorption)."""
    width, rank = mla.q_lora_rank or hidden, mla.kv_lora_rank
    heads = kv_b // (rank * (mla.qk_nope_head_dim + mla.v_head_dim))
    value = 1 if quantised else 2
    sizes = {
        "W_QR": width * heads * mla.qk_rope_head_dim * 2,
        "W_Q_UK": heads * rank * width * value,
        "W_UV_O": heads * rank * hidden * value,
    }
    return sizes | ({"W_UK and W_UV in F32": kv_b * 4} if quantised else {})


def workspaces(
    model: Model, asked: Resolved, hardware: Hardware, stage: Stage, rules: VllmRules
) -> list[Placed]:
    """Buffers that are made with the layers that use them, one for all of them."""
    found: list[tuple[str, int, str]] = []
    kinds, tokens = stage.kinds(model), asked.max_num_batched_tokens or 0
    width = DTYPES[asked.dtype].bits // 8
    if kinds.latents and rules.imports_flashinfer_mla and hardware.card.is_nvidia:
        note = "allocated when the module is imported, which choosing an MLA backend does"
        found.append(("FlashInfer MLA workspace", FLASHINFER_BYTES, note))
    topk = max((each.index_topk for each in kinds.attentions if isinstance(each, DSA | V4 | V41)), default=0)
    if topk:
        found.append(("index buffer, one for all layers", tokens * topk * 4, ""))
        from .sparse import loaded_bytes  # most models have no sparse attention

        if reserved := loaded_bytes(model, asked, rules):
            found.append(("queries and gathered rows of sparse MLA, one for all layers", reserved, ""))
    drafted = rules.keeps_streams_undrafted or (asked.speculative and model.draft)
    if drafted and stage.last and model.streams > 1:
        size = tokens * model.streams * model.hidden_size * width
        found.append(("hidden states for the draft", size, ""))
    if values := added_values(model, asked):
        found.append(("what layers add to a token, for a whole batch", tokens * values * width, ""))
    return [Placed("weights.workspaces", name, size, 1, (), note) for name, size, note in found]


def added_values(model: Model, asked: Resolved) -> int:
    """Return the values of a token that layers add to its hidden state: a tower's deepstack layers, which
    lie ready for a whole batch where images are read (models/qwen3_vl.py, deepstack_input_embeds), and inputs
    of each layer (models/gemma4_mm.py, per_layer_embeddings).

    Qwen3-VL-30B's weights took 58.23 GiB with 8,192 tokens, 58.13 without these:

    >>> from ...model.load import load
    >>> [added_values(load(name), Resolved()) for name in ("qwen3-vl-30b-a3b", "gemma-4-e4b", "qwen3-8b")]
    [6144, 10752, 0]
    """
    deep = 0 if asked.language_model_only else deepstack_layers(model)
    tables = (each for each in model.tensors if each.name == "model.embed_tokens_per_layer.weight")
    return deep * model.hidden_size + sum(each.shape[1] for each in tables)


def deepstack_layers(model: Model) -> int:
    """Return how many layers of the tower add to layers of the decoder."""
    return sum(each.repeat for each in model.tensors if each.name == "vision.deepstack_merger.norm.weight")


FLASHINFER_BYTES = 128 * MIB


def blackwell_scales(model: Model, asked: Resolved, stage: Stage, rules: VllmRules) -> list[Placed]:
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


def loaded_nvfp4_scales(model: Model, asked: Resolved, stage: Stage, rules: VllmRules) -> list[Placed]:
    """Block scales of NVFP4 as they were loaded, beside those in the order of CUTLASS (modelopt.py,
    compressed_tensors_w4a4_nvfp4.py and compressed_tensors_moe.py: weight_scale_swizzled and
    w13_blockscale_swizzled were new parameters). Marlin, which earlier cards run them by, drops the new
    ones."""
    size = 0
    for tensor in model.tensors:
        layers = stage_layers(tensor, model, asked, stage, rules)
        if layers is None or runtime_format(tensor, model, asked) != NVFP4:
            continue
        shape, repeat = shard(tensor, asked, rules, tensor.part == "main")
        size += NVFP4.scale_bytes(shape) * repeat * max(len(layers), 1)
    note = "dropped after swizzling only from 0.10.2 on"
    return [Placed("weights.scales", "NVFP4 scales as loaded", size, 1, (), note)] if size else []
