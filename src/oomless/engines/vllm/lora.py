"""The slots that vLLM makes for LoRA adapters: A and B of the largest rank beside every matrix, for as many
adapters as may run at once.

vllm/lora/layers of 0.16 to 0.33: each part of a fused matrix has its own A; without --fully-sharded-loras
only one of the two is cut.
"""

from ...model.model import EMBEDDING, HEAD, Model, Tensor
from ...model.storage import DTYPES
from ...run.serving import Resolved
from ..rank import Placed, Stage
from .rank_tensors import shard, stage_layers
from .release import VllmRules

OF_TIED = 3
"""Places where the embedding has slots if it is the head too: under either name, and in front of the logits
(lora/model_manager.py of 0.13 to 0.31, _create_lora_modules). 64 adapters of rank 16 make 12.49 GiB of
Qwen3-4B (0.27.1, code index id 70469032009)."""


def adapter_tensors(model: Model, asked: Resolved, stage: Stage, rules: VllmRules) -> list[Placed]:
    """A and B of every matrix of a rank, for all slots.

    >>> from ...run.serving import Layout
    >>> from ...model.load import load
    >>> from .release import RELEASES
    >>> asked = Resolved(dtype="bfloat16", layout=Layout(), enable_lora=True, max_lora_rank=16)
    >>> sum(
    ...     each.total_bytes
    ...     for each in adapter_tensors(
    ...         load("deepseek-r1-distill-qwen-7b"), asked, Stage(0, 1, 0, 28), RELEASES.at("0.33.0")
    ...     )
    ... )
    80740352
    """
    layout, found = asked.layout, []
    tied = not any(tensor.name == HEAD for tensor in model.tensors)
    whole = model.family in rules.adapts_ends
    width = DTYPES[asked.dtype].bits // 8
    ranked = asked.max_loras * asked.max_lora_rank * width
    for tensor in model.tensors:
        ends = whole and tensor.name in (EMBEDDING, HEAD)
        if tensor.part != "main" or not (tensor.role in ("linear", "expert") or ends):
            continue
        if tensor.role == "expert" and not rules.adapts_experts:
            continue
        layers = stage_layers(tensor, model, asked, stage, rules)
        if layers is None or len(tensor.shape) != 2:
            continue
        rows, columns, repeat = cut(tensor, asked, rules)
        if ends:
            rows, columns = tensor.shape
            repeat *= OF_TIED if tied else 1
        first, second = columns, rows
        if asked.fully_sharded_loras and not ends:
            first = -(-first // layout.tp) if tensor.cut.how == "column" else first
            second = -(-second // layout.tp) if tensor.cut.how == "row" else second
        note = f"{asked.max_loras} slots of rank {asked.max_lora_rank}"
        found.append(Placed("weights.adapters", f"{tensor.name} A", ranked * first * repeat, 1, layers, note))
        found.append(
            Placed("weights.adapters", f"{tensor.name} B", ranked * second * repeat, 1, layers, note)
        )
    return found


def cut(tensor: Tensor, asked: Resolved, rules: VllmRules) -> tuple[int, int, int]:
    """(rows, columns, matrices a layer) of a tensor on one rank."""
    shape, repeat = shard(tensor, asked, rules, True)
    return shape[0], shape[1], repeat
