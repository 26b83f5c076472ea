"""Which part of a tensor one rank of vLLM has: its layers, and its share of rows, columns or experts."""

from ...model.model import EMBEDDING, Model, Tensor
from ...run.serving import Resolved
from ..layers_dealt import layers_on
from ..rank import Stage
from ..shards import VOCABULARY_PAD, divide, experts_per_rank
from .release import SHARED_WHOLE, VllmRules


def shard(
    tensor: Tensor, asked: Resolved, rules: VllmRules, num_main_experts: bool
) -> tuple[tuple[int, ...], int]:
    """(shape on one rank, tensors a layer) of a weight: what tensor, expert and data parallelism leave of it.

    Rows or columns that do not divide are an error, as in vLLM; key and value heads fewer than ranks are
    repeated.
    """
    layout = asked.layout
    shape, repeat = tensor.shape, tensor.repeat
    tp = layout.tp
    if tensor.role == "expert":
        ranks = layout.tp * layout.dp
        if layout.enable_expert_parallel:
            return shape, experts_per_rank(
                repeat, ranks, asked.num_redundant_experts if num_main_experts else 0
            )
        tp = ranks
    elif "shared_expert" in tensor.name and keeps_whole(asked, rules):
        tp = 1
    if tp == 1 and tensor.cut.how != "vocabulary":
        return shape, repeat
    return divide(tensor, tp, f"--tp {tp}", VOCABULARY_PAD), repeat


def keeps_whole(asked: Resolved, rules: VllmRules) -> bool:
    """Return whether each rank holds all of the shared experts: where ranks of data parallelism deal out the
    tokens to those of tensor parallelism (config/parallel.py, use_sequence_parallel_moe). vLLM-Ascend turns
    that off or does without (vllm_ascend/platform.py of 0.11 to 0.25, check_and_update_config;
    ops/linear_op.py of 0.26, get_parallel_op), but where enable_shared_expert_dp is asked for.

    >>> from ...run.serving import Layout
    >>> from .release import RELEASES
    >>> asked = Resolved(layout=Layout(tp=8, dp=2, enable_expert_parallel=True))
    >>> rules = RELEASES.at("0.20.0")
    >>> [keeps_whole(asked._replace(engine=name), rules) for name in ("vllm", "vllm-ascend")]
    [True, False]
    """
    layout = asked.layout
    if not layout.enable_expert_parallel or layout.tp == 1:
        return False
    if asked.engine == "vllm-ascend":
        return SHARED_WHOLE in rules.text
    return rules.keeps_shared_experts_whole and layout.dp > 1


def draft_layers(model: Model, asked: Resolved) -> int:
    """Return how many layers of the draft run: a checkpoint with DSpark's stages that is asked for MTP runs
    num_nextn_predict_layers of them (config/speculative.py, models/deepseek_v4/nvidia/mtp.py).

    vllm#51041: 150,992 tokens of DeepSeek-V4-Flash-0731 with MTP are those of one layer.

    >>> from ...model.load import load
    >>> from ...run.speculation import Speculation
    >>> model = load("deepseek-v4-flash-0731")
    >>> [draft_layers(model, Resolved(speculation=Speculation(method))) for method in ("mtp", "dspark")]
    [1, 3]
    """
    said = asked.speculation
    if not model.num_mtp or said is None or said.method.lower() == "dspark":
        return len(model.draft)
    return model.num_mtp


def is_shared(tensor: Tensor, model: Model, asked: Resolved, rules: VllmRules) -> bool:
    """Return whether a draft's copy of embedding or output head is the target's own: old releases kept those
    of MTP layers, and of a head the embedding, which it shares on one stage alone (v1/spec_decode/eagle.py,
    load_model)."""
    if tensor.copy_of == EMBEDDING and asked.layout.pp > 1:
        return False
    if model.drafter is None:
        return rules.shares_ends_with_draft
    return tensor.copy_of != EMBEDDING or rules.shares_embedding_with_head


def stage_layers(
    tensor: Tensor, model: Model, asked: Resolved, stage: Stage, rules: VllmRules
) -> tuple[int, ...] | None:
    """The layers of a stage that have this tensor; () if it is outside of the layers and belongs here; None
    if not here."""
    match tensor.part:
        case "engram":
            if asked.engram == "host" and tensor.name.endswith("embedding.weight"):
                return None
        case "mtp":
            if not asked.speculative or not stage.last:
                return None
            if tensor.copy_of and is_shared(tensor, model, asked, rules):
                return None
            end = len(model.layers) + draft_layers(model, asked)
            return tuple(layer for layer in tensor.layers if layer < end) or (None if tensor.layers else ())
        case "main" | "vision":
            unused = tensor.part == "vision" and asked.language_model_only and rules.skips_unused_towers
            if tensor.copy_of or unused:
                return None
    return layers_on(tensor, stage, model.tied)
