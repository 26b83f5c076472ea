"""What reinforcement learning takes between two updates beside frozen models and an engine.

Sources: trl/models/utils.py, unwrap_model_for_generation; trl/trainer/grpo_trainer.py, _move_model_to_vllm;
ms-swift rollout_mixin.py, split_batches.
"""

from collections import Counter

from ...frameworks import framework
from ...ledger import Line, exact, ranged
from ...run.training import TrainingResolved
from .head_and_loss import SAMPLING
from .rank_portions import portions, stages
from .reference_forward import cache_bytes
from .state_bytes import weight_bytes_of
from .training_estimate import TrainingEstimate

SOURCE = "estimate/training/rollout.py"


def is_gathered(request: TrainingResolved, engine: bool) -> bool:
    """Whether each rank has the whole policy between two updates; `engine`: another program generates.

    >>> asked = TrainingResolved(framework="trl", task="grpo", sharding="zero3")
    >>> adapted = asked._replace(method="lora")
    >>> [is_gathered(each, engine) for each in (asked, adapted) for engine in (False, True)]
    [True, False, True, True]
    >>> is_gathered(asked._replace(framework_version="trl 0.15.2"), True)
    True
    """
    if request.task not in SAMPLING or request.sharding != "zero3":
        return False
    of = framework(request.framework)
    match of.gathers:
        case "no":
            return False
        case "merged":
            whole = request.method != "full" or of.habits(request.framework_version).sends_whole
            return not engine or whole
        case "gathered":
            return True


def whole_policy(estimate: TrainingEstimate, batches: int = 1) -> Line:
    """Return the weights of the policy as ZeRO-3 gathers all of them, beside the rank's own share; in several
    batches of layers (ms-swift's move_model_batches: rlhf_trainers/rollout_mixin.py, split_batches) the
    largest of these, or what is no layer.

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> from .estimate import estimate_training
    >>> asked = TrainingResolved(framework="trl", task="grpo", sharding="zero3", precision="deepspeed-bf16")
    >>> whole_policy(estimate_training(load("deepseek-llm-7b"), asked, parse_gpu("h100:8"))).bytes
    13820731392
    >>> whole_policy(estimate_training(load("deepseek-llm-7b"), asked, parse_gpu("h100:8")), 6).bytes
    2023833600
    """
    request, mesh, job = estimate.request, estimate.mesh, estimate.job
    num_layers = len(estimate.model.layers)
    layers_each = -(-num_layers // batches)
    found = 0
    for stage in stages(num_layers, mesh):
        sizes = Counter[int]()
        for each in portions(estimate.model, mesh, stage, request):
            whole = weight_bytes_of(each, each.total, request, job.recipe)
            for layer in each.layers:
                sizes[layer // layers_each] += whole // len(each.layers)
            if not each.layers:
                sizes[-1 if batches > 1 else 0] += whole
        found = max(found, *sizes.values())
    what = "policy, whole weights on each rank"
    formula = f"{found:,} B" + (f", the largest of {batches} batches" if batches > 1 else "")
    return exact("communication.gathered", "policy", what, found, formula, SOURCE)


def generation(estimate: TrainingEstimate) -> list[Line]:
    """Return what a trainer takes that generates by itself: keys and values of one micro-batch, or of a
    whole step (TRL: steps_per_generation), and whole weights."""
    request = estimate.request
    if request.task not in SAMPLING or framework(request.framework).gathers == "no":
        return []
    num_bytes = cache_bytes(estimate.model, request, estimate.mesh)
    formula = f"{request.micro_batch} x {request.seq_len:,} tokens; all of a step: x {request.grad_accum}"
    cache = ranged(
        "activations.cache",
        "policy",
        "policy, cache of keys and values",
        (num_bytes, num_bytes, num_bytes * request.grad_accum),
        "assumed",
        formula,
        SOURCE,
    )
    return [cache, *([whole_policy(estimate)] if is_gathered(request, False) else [])]
