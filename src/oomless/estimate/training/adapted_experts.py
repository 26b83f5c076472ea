"""Which matrices adapters and packing reach: targets by name, and routed experts by family, framework and
release."""

from collections.abc import Iterator

from ...frameworks import framework
from ...model.model import Model, Tensor
from ...run.training import TrainingResolved

STACKED_BY_PEFT = frozenset(
    "deepseek_v2 deepseek_v3 deepseek_v32 glm4_moe glm4_moe_lite glm_moe_dsa qwen3_moe "
    "qwen3_next mixtral minimax_m2".split()
)
FUSED = ("gate_proj", "up_proj", "w1", "w3")
"""Families whose experts PEFT adapts as stacks, and the matrices that lie in one stack, whose adapter has
twice the rank (peft/utils/transformers_weight_conversion.py of 0.21, _MOE_TARGET_MODULE_MAPPING;
transformers/conversion_mapping.py of 5, which maps qwen2_moe to no other)."""
OF_EXPERTS = (*FUSED, "down_proj", "w2")
"""All matrices of a routed expert. Where PEFT adapts the stacks, their names leave its list of modules, and
with them shared experts and dense layers (transformers_weight_conversion.py, _convert_peft_config_moe)."""
ALWAYS_STACKED = ("gpt_oss", "llama4", "granitemoe", "granitemoehybrid")
"""Families whose experts were one tensor in transformers 4 already."""


def short_name(name: str) -> str:
    """The last part of a tensor's name: q_proj."""
    return name.removesuffix(".weight").rpartition(".")[2]


def is_target(name: str, targets: tuple[str, ...]) -> bool:
    """Whether a list of targets means this tensor: its last part, or the last parts that the target spells
    out."""
    whole = name.removesuffix(".weight")
    return any(whole == target or whole.endswith("." + target) for target in targets)


def experts_apart(model: Model, request: TrainingResolved) -> bool:
    """Whether each matrix of an expert is a module of its own, as in transformers 4: bitsandbytes then packs
    it, and PEFT adapts it."""
    habits = framework(request.framework).habits(request.framework_version)
    return habits.experts_apart and model.family not in ALWAYS_STACKED


def packs_apart(model: Model, request: TrainingResolved) -> bool:
    """Whether each matrix of an expert may be packed by itself."""
    split = request.method == "qlora" and model.family in framework(request.framework).split_experts
    return split or experts_apart(model, request)


def adapts_stacks(model: Model, request: TrainingResolved) -> bool:
    """Whether adapters reach routed experts: PEFT makes the changed stack of every layer anew, and autograd
    keeps it. Some frameworks put the names of linear modules in place of all-linear: those of experts are
    among them where shared experts or dense layers have the same.

    >>> from ...model.load import load
    >>> swift = TrainingResolved(framework="ms-swift", method="lora", lora_targets=("all-linear",))
    >>> [adapts_stacks(load(name), swift) for name in ("qwen3-30b-a3b", "deepseek-v2-lite")]
    [False, True]
    """
    if experts_apart(model, request):
        return False
    if request.method == "full" or request.adapter != "lora":
        return False
    if by_parameter(request) and framework(request.framework).peft:
        return True
    if model.family not in STACKED_BY_PEFT:
        return False
    of = framework(request.framework)
    rule, named = of.habits(request.framework_version).adapted_stacks, {*request.lora_targets}
    if rule and "all-linear" in named:
        named |= {short_name(tensor.name) for tensor in model.tensors if tensor.role == "linear"}
        named -= {"all-linear"}
    return of.peft and rule != "never" and not named.isdisjoint(("all-linear", *OF_EXPERTS))


def by_parameter(request: TrainingResolved) -> bool:
    """Return whether stacks are asked for by their own names, as `target_parameters` of PEFT: gate and up
    then share the first half of one adapter, of the rank that is asked for."""
    return any(target.startswith("experts.") for target in request.lora_targets)


def adapted_tensors(model: Model, request: TrainingResolved) -> Iterator[Tensor]:
    """Yield the matrices of layers that adapters of matrices stand beside; all-linear that PEFT reads itself
    means routers too, where it adapts stacked experts.

    >>> from ...model.load import load
    >>> asked = TrainingResolved(framework="trl", method="lora", lora_targets=("all-linear",))
    >>> [short_name(each.name) for each in adapted_tensors(load("qwen3-30b-a3b"), asked)]
    ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate', 'gate_proj', 'up_proj', 'down_proj']
    """
    of, targets = framework(request.framework), request.lora_targets
    everything, stacked = "all-linear" in targets, adapts_stacks(model, request)
    rule = of.habits(request.framework_version).adapted_stacks
    apart = of.groups_adapters or experts_apart(model, request)
    for tensor in model.tensors:
        short, expert = short_name(tensor.name), tensor.role == "expert"
        if not tensor.layers or tensor.part != "main" or len(tensor.shape) < 2:
            continue
        if tensor.role == "plain":
            if stacked and everything and not rule and short == "gate":
                yield tensor
        elif expert and not (stacked or apart) and (everything or rule):
            continue  # stacked experts are no nn.Linear
        elif (everything or is_target(tensor.name, targets)) and (
            expert or not stacked or short not in OF_EXPERTS
        ):
            yield tensor
