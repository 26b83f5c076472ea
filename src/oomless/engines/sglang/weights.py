"""The tensors that a rank of SGLang holds after loading. Its layers derive from vLLM's; what divides them
does not.

models/deepseek_v2.py, deepseek_nextn.py, deepseek_v4.py and layers/vocab_parallel_embedding.py of 0.4.4 to
0.5.23.
"""

from math import prod
from typing import TYPE_CHECKING

from ...kept import Kept
from ...model.attention import MLA, V4, V41
from ...model.model import Model, Part, Tensor
from ...model.storage import DTYPES, F32, FP4_E8M0
from ...run.cards import Hardware
from ...run.serving import Resolved
from ..parameters import (
    KV_B,
    Member,
    allocations,
    fills_values,
    fused_name,
    fused_qkv_a,
    of_weights,
    unexplained,
)
from ..rank import Placed, Stage
from ..rotary_tables import rope_positions, rope_tables
from ..runtime_formats import check_quantization, is_fp8, runtime_format
from .rank_tensors import shard, stage_layers
from .release import OWN_AWQ, RELEASES, SglangRules, shared_clones

if TYPE_CHECKING:
    from ..requantised import Loading


def placed_weights(model: Model, asked: Resolved, hardware: Hardware, stage: Stage) -> list[Placed]:
    """Every tensor that one rank of a stage holds after loading. A draft counts from 0.5.14 on: before, it
    is loaded after the pool."""
    rules = RELEASES.at(asked.engine_version)
    check_quantization(model, asked)
    placed = [
        group for part in loaded_parts(rules) for group in placed_part(model, asked, hardware, stage, part)
    ]
    return placed + extra_tensors(model, asked, hardware, stage, rules)


def loading(model: Model, asked: Resolved, hardware: Hardware, stage: Stage) -> "Loading | None":
    """Return what a rank holds while it loads, where that is more than what stays: --quantization fp8 makes
    its layers in 16 bit and quantises them once all are there (layers/quantization/fp8.py, create_weights and
    process_weights_after_loading; sglang#2895, #17945).

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> from ...run.serving import Layout
    >>> asked = Resolved(engine="sglang", engine_version="0.5.5", quantization="fp8", layout=Layout(tp=8))
    >>> asked = asked._replace(dtype="bfloat16")
    >>> found = loading(load("llama-3.1-405b"), asked, parse_gpu("h100:8"), Stage(0, 1, 0, 126))
    >>> round(sum(group.total_bytes for group in found.placed) / 2**30, 2)
    94.56
    """
    if model.quantization or asked.quantization != "fp8":
        return None
    from ..requantised import FROM_16_BIT, Loading  # few questions come here

    return Loading(
        placed_weights(model, asked._replace(quantization=None), hardware, stage),
        f"--quantization fp8 of {asked.engine} {asked.engine_version} loads a rank in 16 bit before it "
        "halves it",
        "take a checkpoint that is published in FP8, or more ranks",
        "sglang/srt/layers/quantization/fp8.py",
        FROM_16_BIT in asked.engine_version,
    )


def loaded_parts(rules: SglangRules) -> tuple[Part, ...]:
    """The parts of a model that are loaded before the pool is made."""
    return ("main", "engram", "vision", "mtp") if rules.loads_draft_before_pool else ("main", "vision")


def placed_part(
    model: Model, asked: Resolved, hardware: Hardware, stage: Stage, part: Part
) -> tuple[Placed, ...]:
    """The tensors of one part of a model (main, mtp, engram, vision)."""
    rules = RELEASES.at(asked.engine_version)
    clones, decided = shared_clones(model, asked, hardware, rules), of_weights(asked)
    if model.family == "gpt_oss" and model.quantization == "mxfp4":
        from .mxfp4 import placed_gpt_oss  # rules of one family

        return tuple(placed_gpt_oss(members_of(model, asked, stage, part, rules, clones), asked, hardware))
    plain = makes_plain_experts(asked, hardware)
    return ALLOCATED.of(
        model,
        (decided, stage, part, clones, plain),
        lambda: tuple(allocations(members_of(model, decided, stage, part, rules, clones, plain))),
    )


def makes_plain_experts(asked: Resolved, hardware: Hardware) -> bool:
    """Return whether a checkpoint in AWQ gets experts of 16 bit: SGLang's own kernels of AWQ have none for
    them but on Ascend (layers/quantization/awq.py of 0.4.6 to 0.5.16, AWQConfig.get_quant_method), and
    Marlin's do not take the place of what was said (override_quantization_method).

    In each layer of MiniMax-M2.5 at TP4 1.125 GiB of w13_weight alone (sglang#21730):

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> from ...run.serving import Layout
    >>> asked = Resolved(quantization="awq", dtype="bfloat16", layout=Layout(tp=4))
    >>> model, cards = load("minimax-m2.5"), parse_gpu("a800-80gb:4")
    >>> for version in ("0.5.9", f"0.5.9 ({OWN_AWQ})"):
    ...     said = asked._replace(engine_version=version)
    ...     found = placed_part(model, said, cards, Stage(0, 1, 0, 62), "main")
    ...     print(next(round(each.num_bytes / 2**30, 3) for each in found if "w13_weight" in each.name))
    0.281
    1.125
    """
    return OWN_AWQ in asked.engine_version and hardware.card.vendor != "Huawei"


ALLOCATED = Kept[tuple[Placed, ...]](most=1024)
"""What a rank allocates for a part of a model: cards of one kind and shares of a load ask again."""


def members_of(
    model: Model,
    asked: Resolved,
    stage: Stage,
    part: Part,
    rules: SglangRules,
    clones: int,
    plain_experts: bool = False,
) -> list[Member]:
    """Return every piece of one part of the checkpoint that a rank has, and the parameter that it becomes.
    `plain_experts`: experts are made in 16 bit, whatever the checkpoint has."""
    members: list[Member] = []
    for tensor in model.tensors:
        layers = stage_layers(tensor, model, asked, stage) if tensor.part == part else None
        if layers is None or (clones and "shared_experts." in tensor.name):
            continue
        shape, repeat = shard(tensor, model, asked, clones)
        name, form = parameter_of(tensor, model, rules), runtime_format(tensor, model, asked)
        if plain_experts and tensor.role == "expert":
            form = DTYPES[asked.dtype]
        member = name, tensor.name, layers, shape, form, repeat
        members += [member] * (1 + fills_values(tensor, model))
    return members


def parameter_of(tensor: Tensor, model: Model, rules: SglangRules) -> str:
    """The parameter that a checkpoint's tensor becomes part of. q_a and kv_a are one from 0.4.6 on; MLA's
    q_proj stands alone."""
    name = tensor.name
    if rules.fuses_qkv_a and "_a_proj" in name:
        return fused_qkv_a(name, "fused_qkv_a_proj_with_mqa.")
    core = model.layer_at(tensor.layers[0]).attention.core if tensor.layers else None
    return name if "self_attn.q_proj" in name and isinstance(core, MLA) else fused_name(name)


def extra_tensors(
    model: Model, asked: Resolved, hardware: Hardware, stage: Stage, rules: SglangRules
) -> list[Placed]:
    """What loading leaves that no checkpoint stores: rotary tables (F32 on NVIDIA cards) and the absorbed MLA
    matrices."""
    extra: list[Placed] = []
    nvidia = hardware.card.is_nvidia
    kinds = stage.kinds(model)
    for rope in () if model.family in rules.turns_untabled else rope_tables(model):
        # of mrope vLLM's has four times the rows
        plain = model.family in rules.has_plain_tables or rope.scaling == "mrope"
        rows = rope.max_positions if plain else rope_positions(rope)
        size = rows * rope.dim * (F32 if nvidia else DTYPES[asked.dtype]).bits // 8
        extra.append(Placed("weights.rotary_tables", f"cos and sin, {rope.scaling}", size, 1, ()))
        if kinds.has(V4, V41):
            extra.append(
                Placed(
                    "weights.rotary_tables",
                    "complex table of V4's kernels",
                    rope.max_positions * rope.dim // 2 * 8,
                    1,
                    (),
                )
            )
    extra += absorbed(model, asked, hardware, stage, loaded_parts(rules))
    if kinds.has(V4, V41) and rules.keeps_loaded_mxfp4_scales and runs_fp4_by_marlin(hardware):
        extra += loaded_scales(model, asked, stage, loaded_parts(rules))
    if kinds.has(V4, V41) and hardware.card.vendor == "AMD":
        extra += padded_experts(model, asked, stage, rules)
    if rules.holds_loaded_experts or rules.holds_loaded_weights or rules.holds_experts_of_ranks:
        from .superseded import superseded  # a year's releases, and few families

        extra += superseded(model, asked, hardware, stage, rules)
    extra += unexplained(model, "rank")
    return extra


def runs_fp4_by_marlin(hardware: Hardware) -> bool:
    """Return whether V4's experts in FP4 are multiplied by Marlin: on Hopper, and on Blackwell without tensor
    memory (arg_groups/overrides.py of 0.5.15; the guide of the model for Hopper)."""
    return hardware.card.major == 9 or hardware.card.capability >= 12


def padded_experts(model: Model, asked: Resolved, stage: Stage, rules: SglangRules) -> list[Placed]:
    """What experts in FP4 have more on AMD's cards, where aiter takes a rank's part of their width in
    multiples: weights and their scales (process_weights_after_loading_block_quant of
    layers/quantization/fp8.py).

    A layer of V4-Pro at TP8 on MI355X had 2.105 GiB with 384 values made 512, 1.592 without (sglang#31450),
    shared experts with them:

    >>> from ...model.load import load
    >>> from ...run.serving import Layout
    >>> asked, stage = Resolved(dtype="bfloat16", layout=Layout(tp=8)), Stage(0, 1, 0, 61)
    >>> rules = RELEASES.at("0.5.14")
    >>> round(padded_experts(load("deepseek-v4-pro"), asked, stage, rules)[0].num_bytes * 3 / 2**30, 3)
    0.523
    """
    found: list[Placed] = []
    for tensor in model.tensors:
        layers = stage_layers(tensor, model, asked, stage) if tensor.part in loaded_parts(rules) else None
        if not layers or tensor.role != "expert" or runtime_format(tensor, model, asked) != FP4_E8M0:
            continue
        shape, repeat = shard(tensor, model, asked)
        width, hidden = reversed(shape) if "down_proj" in tensor.name else shape
        more = FP4_E8M0.num_bytes((-width % rules.aligns_fp4_on_rocm, hidden)) * repeat
        if more:
            what = f"{tensor.name} to a multiple of {rules.aligns_fp4_on_rocm}"
            found.append(Placed("weights.routed_experts", what, more, 1, layers))
    return found


def loaded_scales(model: Model, asked: Resolved, stage: Stage, parts: tuple[Part, ...]) -> list[Placed]:
    """Scales of experts in FP4 as they were loaded, 4 B for 32 values, which stay beside those in Marlin's
    own order (layers/quantization/mxfp4_marlin_moe.py of 0.5.12 to 0.5.15; 0.5.16 lets them go).

    DeepSeek-V4-Pro at TP8 on H200, where a log says 125.65 GiB of weights (InferenceX#2128):

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> from ...run.serving import Layout
    >>> asked = Resolved(engine="sglang", engine_version="0.5.14", dtype="bfloat16", layout=Layout(tp=8))
    >>> placed = placed_weights(load("deepseek-v4-pro"), asked, parse_gpu("h200:8"), Stage(0, 1, 0, 61))
    >>> round(sum(group.total_bytes for group in placed) / 2**30, 2)
    125.46
    """
    found: dict[tuple[str, int], list[int]] = {}
    for tensor in model.tensors:
        layers = stage_layers(tensor, model, asked, stage) if tensor.part in parts else None
        if not layers or tensor.role != "expert" or runtime_format(tensor, model, asked) != FP4_E8M0:
            continue
        shape, repeat = shard(tensor, model, asked)
        size = prod(shape) * repeat // VALUES_OF_SCALE * F32.bits // 8
        found.setdefault((tensor.name, size), []).extend(layers)
    note = "F32, beside those in Marlin's order"
    return [
        Placed("weights.routed_experts", f"{name} scales as loaded", size, 1, tuple(layers), note)
        for (name, size), layers in found.items()
    ]


VALUES_OF_SCALE = 32


def absorbed(
    model: Model, asked: Resolved, hardware: Hardware, stage: Stage, parts: tuple[Part, ...]
) -> list[Placed]:
    """kv_b_proj of some parts of the model again, for the absorbed products (models/deepseek_v2.py,
    post_load_weights): in 16 bit, but an FP8 one in its own type before 0.4.6.post3 and on others' cards."""
    rules = RELEASES.at(asked.engine_version)
    wide = hardware.card.is_nvidia and rules.absorbs_in_16_bit
    found: dict[tuple[str, int, int], list[int]] = {}
    for tensor in model.tensors:
        wanted = tensor.part in parts and tensor.name.endswith(KV_B)
        layers = stage_layers(tensor, model, asked, stage) if wanted else None
        mla = model.layer_at(tensor.layers[0]).attention.core if layers else None
        if not layers or not isinstance(mla, MLA):
            continue
        width = 2 if wide or not is_fp8(runtime_format(tensor, model, asked)) else 1
        shape, _ = shard(tensor, model, asked)
        for name, dim in (("w_kc", mla.qk_nope_head_dim), ("w_vc", mla.v_head_dim)):
            elements = prod(shape) * dim // (mla.qk_nope_head_dim + mla.v_head_dim)
            found.setdefault((name, elements * width, width), []).extend(layers)
    return [
        Placed(
            "weights.attention",
            name,
            size,
            1,
            tuple(layers),
            f"kv_b_proj again in {width} B for the absorbed products (post_load_weights)",
        )
        for (name, size, width), layers in found.items()
    ]
