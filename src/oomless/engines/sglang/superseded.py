"""Weights as they were loaded, which SGLang held on to after a kernel had put them into its own order."""

from ...ledger import Key
from ...model.model import Model
from ...run.cards import Hardware
from ...run.serving import Resolved
from ..rank import Placed, Stage
from ..runtime_formats import runtime_format
from .rank_tensors import shard, stage_layers
from .release import OWN_AWQ, SglangRules, expert_ranks

BY_MARLIN = ("awq", "gptq")
AMPERE = 8.0
OWN_FP8 = ("gfx942",)
"""Architectures of AMD whose FP8 is not that of checkpoints (layers/quantization/fp8_kernel.py,
is_fp8_fnuz)."""


def superseded(
    model: Model, asked: Resolved, hardware: Hardware, stage: Stage, rules: SglangRules
) -> list[Placed]:
    """Return what stays of the weights that are made anew while they are processed.

    routed_experts_weights_of_layer holds experts (models/qwen3_moe.py of 0.4.7 to 0.4.10; sglang#8748),
    _cached_params_dict all parameters (0.5.1 to 0.5.9; sglang#18255). Marlin reorders what is in AWQ and GPTQ
    (layers/quantization/utils.py, replace_parameter), aiter experts in 16 bit on ROCm, and those in 8 bit are
    transposed on Ascend. FP8 of a checkpoint is changed in place, but where EPMoE, whose ranks have whole
    experts, names them before they get MI300's own FP8 and aiter's order (w13_weight_fp8 of 0.4.8 to 0.5.3):
    DeepSeek-R1 took 166.59 GiB (sglang#7691).

    Qwen3-235B in GPTQ on two A100, which ran out under 0.4.9 and not in vLLM (sglang#8362), GiB:

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> from ...run.serving import Layout
    >>> from .release import RELEASES
    >>> asked = Resolved(quantization="gptq", dtype="bfloat16", layout=Layout(tp=2))
    >>> model, stage, card = load("qwen3-235b-a22b"), Stage(0, 1, 0, 94), parse_gpu("a100-80gb:2")
    >>> for version in ("0.4.9", "0.5.3", "0.5.10"):
    ...     found = superseded(model, asked, card, stage, RELEASES.at(version))
    ...     print(round(sum(each.total_bytes for each in found) / 2**30, 1))
    54.9
    56.6
    0.0
    """
    card, form = hardware.card, asked.quantization or model.quantization
    by_marlin = form in BY_MARLIN and card.is_nvidia and card.capability >= AMPERE
    by_marlin = by_marlin and OWN_AWQ not in rules.text
    whole = rules.holds_experts_of_ranks and expert_ranks(asked) > 1
    note = "held by a dictionary of the model beside those in the kernel's order"
    if whole and card.compute_capability in OWN_FP8 and model.quantization == "fp8":
        note = "held by the class of whole experts beside those in the kernel's order"
    else:
        on_amd = card.vendor == "AMD" and not form
        held = model.family in rules.holds_loaded_experts or model.family in rules.holds_loaded_weights
        on_ascend = card.vendor == "Huawei" and form == "w8a8" and rules.copies_experts_on_ascend
        if not held or not (by_marlin or on_amd or on_ascend):
            return []
    found = []
    for tensor in model.tensors:
        taken = tensor.role == "expert" or (
            by_marlin and rules.holds_loaded_weights and tensor.role == "linear" and tensor.part == "main"
        )
        layers = stage_layers(tensor, model, asked, stage) if taken else None
        if not layers:
            continue
        shape, repeat = shard(tensor, model, asked)
        size = runtime_format(tensor, model, asked).num_bytes(shape) * repeat
        key: Key = "weights.routed_experts" if tensor.role == "expert" else "weights.attention"
        found.append(Placed(key, f"{tensor.name} as loaded", size, 1, layers, note))
    return found
