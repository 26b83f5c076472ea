"""The tensors that a rank of vLLM holds after loading: fused, cut, padded, and what loading adds to them."""

from functools import lru_cache
from math import prod

from ...errors import UnsupportedError, UsageError
from ...ledger import Key
from ...model.attention import DSA, GQA, MLA, V4, V41
from ...model.model import EMBEDDING, HEAD, WHOLE, Model, Rope, Tensor
from ...model.quantization_scheme import REQUANTISED
from ...model.storage import BF16, DTYPES, F32, Format
from ...run.cards import Hardware
from ...run.serving import Layout, Serving
from ...units import MIB, format_bytes
from ..rank import Placed, Stage
from .rank_tensors import shard, stage_layers
from .release import RELEASES, VllmRules


@lru_cache(maxsize=4096)
def fused_name(name: str, rules: VllmRules) -> str:
    """The parameter of vLLM that a checkpoint's tensor becomes part of: one allocation for all that share a
    name."""
    for part, whole in FUSED:
        if part in name:
            return name.replace(part, whole)
    if rules.fuses_qkv_a:
        for part in ("q_a_proj.", "kv_a_proj_with_mqa."):
            if part in name:
                return name.replace(part, "fused_qkv_a_proj.")
    if (
        rules.fuses_indexer_inputs
        and name.endswith(("indexer.wk.weight", "indexer.weights_proj.weight"))
        and "self_attn" in name
    ):
        return name.rpartition("indexer.")[0] + "indexer.wk_weights_proj.weight"
    return name


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


def runtime_format(tensor: Tensor, model: Model, asked: Serving) -> Format:
    """The type that a weight has in memory: plain ones take --dtype, linear ones what --quantization makes of
    them."""
    stored = tensor.format
    wanted = asked.quantization
    touched = tensor.role != "plain" and (
        not model.quantization or stored != model.dtype
    )  # what is left in 16 bit stays
    if touched and wanted in REQUANTISED and wanted != model.quantization:
        return REQUANTISED[wanted]
    if stored == model.dtype:
        return DTYPES[asked.dtype]
    if (
        stored.column_bits and not stored.reorders
    ):  # Marlin keeps the column order only where it means something
        stored = stored._replace(column_bits=0)
    elif stored.reorders:
        stored = stored._replace(column_bits=64)  # the order and its inverse
    # zero points stay too, although a symmetric scheme needs none (5.38 GiB of Llama-3.1-8B w4a16, 0.19)
    return stored


def check_quantization(model: Model, asked: Serving, hardware: Hardware) -> None:
    """Refuse a quantisation that the checkpoint or the card cannot have, and say what could."""
    wanted, card = asked.quantization, hardware.card
    if wanted not in (None, "none", model.quantization):
        if wanted not in REQUANTISED:
            raise UnsupportedError(
                f"--quantization {wanted} on {model.name} is not known",
                f"known: what the checkpoint has, or {', '.join(REQUANTISED)} for one in 16 bit",
            )
        if model.quantization and wanted.startswith("fp8"):
            raise UsageError(
                f"{model.name} is published as {model.quantization}", f"leave out --quantization {wanted}"
            )
    method = wanted or model.quantization
    if method in NOT_RUN:
        raise UnsupportedError(
            f"vLLM has no {method} weights, which {model.name} is published in", "use --engine transformers"
        )
    if (method or "").startswith("fp8") and card.native_fp8 == "no" and card.vendor != "NVIDIA":
        raise UnsupportedError(
            f"{card.name} has no FP8: {method} weights of {model.name} do not run there",
            "use a checkpoint in 16 bit or W8A8",
        )
    least = LEAST_CAPABILITY.get(method or "", 0)
    if 0 < card.capability < least:
        raise UnsupportedError(
            f"{method} weights of {model.name} need compute capability {least} in vLLM; "
            f"{card.name} has {card.capability}",
            "use a newer card, or a checkpoint in 16 bit, AWQ or GPTQ",
        )


NOT_RUN = ("hqq", "eetq", "quanto", "bitnet")
"""Methods that transformers alone runs (vllm 0.32: QUANTIZATION_METHODS; HQQ was there in earlier releases
for some cards)."""
LEAST_CAPABILITY = {
    "fp8": 8.0,
    "fp8-dynamic": 8.0,
    "compressed-tensors": 7.5,
    "w8a8": 7.5,
    "w4a16": 7.5,
    "gptq": 7.0,
    "auto-round": 7.0,
    "awq": 7.5,
    "bitsandbytes": 7.0,
    "mxfp4": 8.0,
    "nvfp4": 8.0,
    "modelopt": 8.0,
}
"""get_min_capability of each method; FP8 runs natively from 8.9 and by Marlin, weights alone, from 8.0."""


def check_load_peak(model: Model, asked: Serving, hardware: Hardware, stage: Stage) -> None:
    """Before 0.16, quantising on loading held the whole rank in 16 bit first (fp8.py: from then on each layer
    is quantised as it comes).

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> asked = Serving(engine_version="0.8.5", quantization="fp8", layout=Layout(tp=8), dtype="bfloat16")
    >>> check_load_peak(load("llama-3.1-405b"), asked, parse_gpu("h100:8"), Stage(0, 1, 0, 126))
    Traceback (most recent call last):
    oomless.errors.UnsupportedError: --quantization fp8 of vllm 0.8.5 loads 94.53 GiB of 16-bit weights a rank
     before it halves them
      use a checkpoint that is published in FP8, more ranks, or 0.16 and later
    """
    if (
        model.quantization
        or asked.quantization != "fp8"
        or RELEASES.at(asked.engine_version).quantises_while_loading
    ):
        return
    first = sum(
        group.total_bytes
        for group in placed_weights(model, asked._replace(quantization=None), hardware, stage)
    )
    if first > hardware.card.memory_bytes:
        raise UnsupportedError(
            f"--quantization fp8 of vllm {asked.engine_version} loads {format_bytes(first)} of 16-bit "
            "weights a rank before it halves them",
            "use a checkpoint that is published in FP8, more ranks, or 0.16 and later",
        )


def placed_weights(model: Model, asked: Serving, hardware: Hardware, stage: Stage) -> list[Placed]:
    """Every tensor that one rank of a stage holds after loading, in the order of creation within a layer."""
    rules = RELEASES.at(asked.engine_version)
    check_quantization(model, asked, hardware)
    check_load_peak(model, asked, hardware, stage)
    model = with_whole_tower(model, (asked.layout or Layout()).tp)
    groups: dict[tuple[str, tuple[int, ...]], list[tuple[tuple[int, ...], Format, int]]] = {}
    alone: list[tuple[str, tuple[int, ...], list[tuple[tuple[int, ...], Format, int]]]] = []
    for tensor in model.tensors:
        layers = stage_layers(tensor, model, asked, stage, rules)
        if layers is None:
            continue
        shape, repeat = shard(tensor, asked, rules, tensor.part == "main")
        if (
            tensor.part == "vision" and repeat > 1 and not layers
        ):  # block after block, as a layer of the decoder is
            layers, repeat = tuple(range(-repeat, 0)), 1
        form = runtime_format(tensor, model, asked)
        name = fused_name(tensor.name, rules)
        if (
            name.endswith("qkv_proj.weight")
            and (tensor.name, layers) not in groups
            and not _has_kv(model, tensor)
        ):
            name = tensor.name  # MLA without q_lora: its q_proj stands alone
        if (
            name == tensor.name and (name, layers) in groups
        ):  # layers of a tower that the model's list calls alike
            alone.append((name, layers, [(shape, form, repeat)]))
        else:
            groups.setdefault((name, layers), []).append((shape, form, repeat))
    placed: list[Placed] = []
    for name, layers, members in [*((*key, members) for key, members in groups.items()), *alone]:
        if model.family == "gpt_oss" and model.quantization == "mxfp4" and "experts.w" in name:
            shape, _, repeat = members[0]
            shape = (sum(member[0][0] for member in members), *shape[1:])
            from .mxfp4 import placed_experts  # rules of one family

            placed += placed_experts(key_of(name), name, layers, shape, repeat, hardware, rules)
        else:
            placed += _allocations(name, layers, members)
    extra = extra_tensors(model, asked, hardware, stage, rules)
    if asked.cpu_offload_gb:
        from .offload import stay_on_card  # few leave weights on the host

        placed, extra = stay_on_card(placed, extra, asked, stage, rules.v0), []
    if asked.enable_lora:
        from .lora import adapter_tensors

        extra = extra + adapter_tensors(model, asked, stage, rules)
    return placed + extra


def with_whole_tower(model: Model, tp: int) -> Model:
    """A tower whose heads do not divide runs whole on every rank (models/vision.py,
    is_vit_use_data_parallel)."""
    if not any(
        tensor.part == "vision" and "attn" in tensor.name and tensor.cut.units % tp
        for tensor in model.tensors
        if tensor.cut.units
    ):
        return model
    return model._replace(
        tensors=tuple(t._replace(cut=WHOLE) if t.part == "vision" else t for t in model.tensors)
    )


def _has_kv(model: Model, tensor: Tensor) -> bool:
    return isinstance(model.layer_at(tensor.layers[0]).attention.core, GQA)


def _allocations(
    name: str, layers: tuple[int, ...], members: list[tuple[tuple[int, ...], Format, int]]
) -> list[Placed]:
    """The allocations of one parameter: its parts stacked by rows, its scales beside it, all experts of a
    layer in one."""
    shape, form, repeat = members[0]
    if len(members) > 1:
        if any(
            member[1] != form for member in members
        ):  # fused with a part that is not quantised: all in BF16
            form = BF16
        shape = (sum(member[0][0] for member in members), *shape[1:])
    key, stacked = key_of(name), repeat if "experts." in name and repeat > 1 else 1
    count = repeat // stacked
    placed = [Placed(key, name, form.data_bytes(shape) * stacked, count, layers)]
    if form.block:
        placed.append(Placed(key, f"{name} scales", form.scale_bytes(shape) * stacked, count, layers))
    return placed


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
    mine = kinds.latent_layers
    for mla in kinds.latents:
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
    if model.stored_bytes and model.stored_bytes > (explained := model.explained_bytes):
        note = "assumed whole on every rank: in the checkpoint, not explained by its config"
        extra.append(
            Placed("weights.unexplained", "headers less config", model.stored_bytes - explained, 1, (), note)
        )
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


def rope_tables(model: Model) -> tuple[Rope, ...]:
    """Distinct tables: equal parameters share one."""
    return tuple(dict.fromkeys(rope for rope in model.ropes if rope.dim))


def rope_positions(rope: Rope) -> int:
    """Rows of the cos/sin table, by the class that vLLM takes for the scaling.

    >>> rope_positions(Rope(64, 10000.0, 163840, "yarn", 40.0, 4096))  # DeepSeek-V3: 20 MiB in BF16
    163840
    """
    match rope.scaling:
        case "yarn" | "deepseek_yarn":
            return int((rope.original_max_positions or rope.max_positions) * rope.factor)
        case "linear" | "dynamic":
            return int(rope.max_positions * rope.factor)
        case "mrope":
            return 4 * rope.max_positions
        case "longrope":
            return rope.original_max_positions + rope.max_positions
        case _:
            return rope.max_positions
