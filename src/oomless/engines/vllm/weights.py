"""The tensors that a rank of vLLM holds after loading: fused, cut, padded, and what loading adds to them."""

from functools import lru_cache
from typing import TYPE_CHECKING

from ...kept import Kept
from ...ledger import Line, exact
from ...model.attention import GQA, V4, V41
from ...model.feedforward import MoE
from ...model.model import EMBEDDING, HEAD, WHOLE, Model, Tensor
from ...model.storage import DTYPES, NVFP4
from ...run.cards import Hardware
from ...run.serving import Resolved
from ..parameters import Member, allocations, fills_values, fused_name, fused_qkv_a, of_weights
from ..rank import Placed, Stage
from ..releases import first_with
from ..runtime_formats import check_quantization, runtime_format
from .after_loading import extra_tensors
from .gguf_file import stored
from .rank_tensors import shard, stage_layers
from .release import FROM_HOST, RELEASES, VllmRules

if TYPE_CHECKING:
    from ..requantised import Loading


@lru_cache(maxsize=4096)
def parameter_of(name: str, rules: VllmRules) -> str:
    """Return the parameter of vLLM that a checkpoint's tensor becomes part of."""
    found = fused_name(name)
    if found != name:
        return found
    if rules.fuses_qkv_a and "_a_proj" in name:
        return fused_qkv_a(name, "fused_qkv_a_proj.")
    indexer = name.endswith(("indexer.wk.weight", "indexer.weights_proj.weight")) and "self_attn" in name
    if rules.fuses_indexer_inputs and indexer:
        return name.rpartition("indexer.")[0] + "indexer.wk_weights_proj.weight"
    return name


def leaves_blocks(model: Model, asked: Resolved) -> bool:
    """Return whether loading makes and drops tensors between those that stay: what is quantised is repacked,
    and later releases pass weights through the card. Before, a model in 16 bit is made whole, then filled
    (model_loader/base_loader.py, load_model).

    >>> from ...model.load import load
    >>> asked = [Resolved(engine_version=text) for text in ("0.19.0", "0.28.0")]
    >>> [leaves_blocks(load(name), each) for name in ("qwen3-8b", "qwen3-8b-fp8") for each in asked]
    [False, True, True, True]
    """
    quantised = model.quantization if asked.quantization is None else asked.quantization
    return bool(quantised) or RELEASES.at(asked.engine_version).loads_through_card


def loading(model: Model, asked: Resolved, hardware: Hardware, stage: Stage) -> "Loading | None":
    """Return what a rank holds while it loads, where that is more than what stays: before 0.16, quantising on
    loading held the whole rank in 16 bit first (fp8.py: from then on each layer is quantised as it comes).
    0.13 to 0.15 quantise each layer as it comes too, but what lists the parameters keeps those of 16 bit
    until all have come (vllm#29196, #31914).

    >>> from ...run.serving import Layout
    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> asked = Resolved(engine_version="0.8.5", quantization="fp8", layout=Layout(tp=8), dtype="bfloat16")
    >>> found = loading(load("llama-3.1-405b"), asked, parse_gpu("h100:8"), Stage(0, 1, 0, 126))
    >>> round(sum(group.total_bytes for group in found.placed) / 2**30, 2)
    94.53
    """
    rules = RELEASES.at(asked.engine_version)
    as_it_comes = rules.quantises_while_loading or FROM_HOST in rules.text
    if model.quantization or asked.quantization not in ("fp8", "tpu_int8") or as_it_comes:
        return None
    from ..requantised import FROM_16_BIT, Loading  # few questions come here

    whole = placed_weights(model, asked._replace(quantization=None), hardware, stage)
    if rules.keeps_16_bit_beside_copies:
        whole += [each for each in placed_weights(model, asked, hardware, stage) if each not in whole]
    since = first_with("vllm", "quantises_while_loading")
    return Loading(
        whole,
        f"--quantization {asked.quantization} of {asked.engine} {asked.engine_version} loads a rank in 16 "
        "bit before it halves it",
        f"take a checkpoint that is published in FP8, more ranks, or {since} and later, which quantises each "
        "layer as it comes",
        "vllm/model_executor/layers/quantization/fp8.py",
        FROM_16_BIT in rules.text,
    )


def placed_weights(model: Model, asked: Resolved, hardware: Hardware, stage: Stage) -> list[Placed]:
    """Every tensor that one rank of a stage holds after loading, in the order of creation within a layer."""
    rules = RELEASES.at(asked.engine_version)
    model, file = stored(model, asked), model
    if model is not file:
        asked = asked._replace(quantization=None)  # its types are the file's
    check_quantization(model, asked)
    published, model = model, with_whole_tower(model, asked)
    if asked.speculative and not rules.charges_draft:
        model = model._replace(tensors=tuple(tensor for tensor in model.tensors if tensor.part != "mtp"))
    if model.family == "gpt_oss" and model.quantization == "mxfp4":
        from . import mxfp4  # rules of one family

        placed = mxfp4.placed(members_of(model, asked, stage, rules), hardware, rules)
    else:
        decided, multiple = of_weights(asked), expert_multiple(model, hardware, rules)
        placed = [
            *ALLOCATED.of(
                published,
                (decided, stage, multiple),
                lambda: tuple(allocations(members_of(model, decided, stage, rules, multiple))),
            )
        ]
    extra = extra_tensors(model, asked, hardware, stage, rules)
    if asked.cpu_offload_gb:
        from .offload import stay_on_card  # few leave weights on the host

        placed, extra = stay_on_card(placed, extra, asked, stage, rules.v0), []
    if asked.enable_lora and not forgets_adapters(rules):
        from .lora import adapter_tensors

        extra = extra + adapter_tensors(model, asked, stage, rules)
    return [*placed, *extra]


ALLOCATED = Kept[tuple[Placed, ...]](most=1024)
"""What a rank allocates: cards of one kind and shares of a load ask again."""


def expert_multiple(model: Model, hardware: Hardware, rules: VllmRules) -> int:
    """Return the multiple to which a rank's width of an expert in 4 bit is rounded up.

    NVFP4 experts without a gate get whole blocks of scales (modelopt.py, intermediate_size_pad).

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> model = load("nemotron-3-nano-30b-a3b-nvfp4")
    >>> [expert_multiple(model, parse_gpu(card), RELEASES.at("0.13.0")) for card in ("rtx-5080:2", "h100")]
    [128, 1]
    """
    if model.kinds.has(V4, V41):
        from . import mxfp4  # rules of few families

        return mxfp4.multiple(hardware, rules)
    ungated = any(isinstance(each, MoE) and not each.gated for each in model.kinds.ffns)
    in_nvfp4 = any(each.role == "expert" and each.format == NVFP4 for each in model.tensors)
    return SCALE_ROWS if ungated and in_nvfp4 and hardware.card.capability >= 10 else 1


SCALE_ROWS = 128
"""Rows of a block of NVFP4's scales in the order of CUTLASS."""


def members_of(
    model: Model, asked: Resolved, stage: Stage, rules: VllmRules, multiple: int = 1
) -> list[Member]:
    """Every part of the checkpoint that a rank has, and the parameter that it becomes part of."""
    members: list[Member] = []
    for tensor in model.tensors:
        layers = stage_layers(tensor, model, asked, stage, rules)
        if layers is None:
            continue
        shape, repeat = shard(tensor, asked, rules, tensor.part == "main")
        if tensor.role == "expert" and tensor.format.bits == 4 and multiple > 1:
            cut = tensor.cut.how == "row"  # down projections are cut by columns
            shape = (*shape[:cut], -(-shape[cut] // multiple) * multiple, *shape[cut + 1 :])
        if tensor.part == "vision" and repeat > 1 and not layers:
            layers, repeat = tuple(range(-repeat, 0)), 1  # block after block, as layers of the decoder are
        name = parameter_of(tensor.name, rules)
        if name.endswith("qkv_proj.weight") and not _has_kv(model, tensor):
            name = tensor.name  # MLA without q_lora: its q_proj stands alone
        form = runtime_format(tensor, model, asked)
        member = name, tensor.name, layers, shape, form, repeat
        members += [member] * (1 + fills_values(tensor, model))
    return members


def with_whole_tower(model: Model, asked: Resolved) -> Model:
    """A tower whose heads do not divide, or that is asked to, runs whole on every rank (models/vision.py,
    is_vit_use_data_parallel)."""
    tp = asked.layout.tp
    if asked.mm_encoder_tp_mode != "data" and not any(
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


def forgets_adapters(rules: VllmRules) -> bool:
    """Return whether slots of adapters are made between the weights, whose size is taken, and the profile
    run, whose increase is: in no budget (worker/model_runner.py of 0.6.5 to 0.7.3, load_model; utils.py,
    memory_profiling)."""
    return rules.v0 and rules.makes_adapters_uncounted


def uncharged_weights(model: Model, asked: Resolved, stage: Stage, rules: VllmRules) -> list[Line]:
    """The weights of a draft and the slots of adapters, where the budget does not know them and they come on
    top of it.

    >>> from ...run.serving import Layout
    >>> from ...model.load import load
    >>> asked = Resolved(dtype="float16", layout=Layout(), enable_lora=True, max_lora_rank=32)
    >>> held = load("llama-3.1-8b"), asked, Stage(0, 1, 0, 32)
    >>> [
    ...     [line.bytes >> 20 for line in uncharged_weights(*held, RELEASES.at(text))]
    ...     for text in ("0.7.3", "0.8.1")
    ... ]
    [[176], []]
    """
    found = []
    if asked.enable_lora and forgets_adapters(rules):
        from .lora import adapter_tensors

        size = sum(each.total_bytes for each in adapter_tensors(model, asked, stage, rules))
        formula = f"{asked.max_loras} slots of rank {asked.max_lora_rank}"
        source = "vllm/worker/model_runner.py of 0.6.5 to 0.7.3, load_model"
        found.append(
            exact("runtime.workspaces", "engine", "LoRA slots, beside the budget", size, formula, source)
        )
    if rules.charges_draft or not (asked.speculative and stage.last and model.draft):
        return found
    alone = model._replace(tensors=tuple(tensor for tensor in model.tensors if tensor.part == "mtp"))
    held = allocations(members_of(alone, asked, stage, rules))
    return [
        *found,
        exact(
            "weights.draft",
            "draft",
            "draft, beside the budget",
            sum(group.total_bytes for group in held),
            f"{len(model.draft)} layers that draft, with what they do not share",
            "vllm/spec_decode/spec_decode_worker.py: blocks are counted by the target's worker",
        ),
    ]


def released_ends(model: Model, asked: Resolved, stage: Stage, rules: VllmRules) -> list[Line]:
    """The embedding and the head that MTP layers are made with, in no format of a checkpoint, until they are
    let go for the target's: a card holds them beside all weights, once.

    Qwen3.8-27B in INT4 on an RTX 3090 died of the second of two tables of 2.37 GiB (vllm#53887).

    >>> from ...model.load import load
    >>> from ...run.serving import Layout
    >>> from ...run.speculation import Speculation
    >>> asked = Resolved(speculation=Speculation("mtp", 1), dtype="bfloat16", layout=Layout())
    >>> lines = released_ends(load("qwen3.8-27b"), asked, Stage(0, 1, 0, 64), RELEASES.at("0.27.1"))
    >>> [line.bytes >> 20 for line in lines]
    [4850]
    """
    if not (asked.speculative and stage.last and model.draft and rules.shares_ends_with_draft):
        return []
    shared = [EMBEDDING] * (asked.layout.pp == 1) + [HEAD]
    ends = [each for each in model.tensors if each.part == "main" and each.name in shared]
    if model.drafter is not None or not ends:
        return []
    size = sum(DTYPES[asked.dtype].num_bytes(shard(each, asked, rules, True)[0]) for each in ends)
    what = "embedding and head that the draft is made with"
    formula = " + ".join(f"{each.name} {each.shape[0]:,} x {each.shape[1]:,}" for each in ends)
    return [exact("weights.draft", "draft", what, size, formula, "vllm#53887, vllm#54201")]
