"""Which layers of a stage of SGLang have a tensor, and what a rank has of it (models/deepseek_v2.py,
layers/vocab_parallel_embedding.py of 0.4.4 to 0.5.23)."""

from ...model.model import EMBEDDING, HEAD, Model, Tensor
from ...run.serving import Resolved
from ..layers_dealt import layers_on
from ..rank import Stage
from ..shards import VOCABULARY_PAD, divide, experts_per_rank
from .release import RELEASES, attention_ranks, expert_ranks


def stage_layers(tensor: Tensor, model: Model, asked: Resolved, stage: Stage) -> tuple[int, ...] | None:
    """The layers of a stage that have this tensor; () if it is outside of the layers and belongs here; None
    if not here."""
    if tensor.copy_of or (tensor.part == "mtp" and not (asked.speculative and stage.last)):
        return None  # a draft shares embedding and head with its target
    if tensor.part == "vision" and asked.language_model_only:
        return None
    if tensor.part == "engram" and asked.engram == "host" and tensor.name.endswith("embedding.weight"):
        return None
    return tensor.layers if tensor.part == "mtp" else layers_on(tensor, stage, model.tied)


def shard(tensor: Tensor, model: Model, asked: Resolved, clones: int = 0) -> tuple[tuple[int, ...], int]:
    """(shape on one rank, tensors a layer) of a weight.

    Attention over the attention ranks, experts over the expert ranks and each of them over the rest, dense
    layers and head over all ranks; the embedding is whole under data-parallel attention, shared experts where
    tokens are sent to experts (layers/dp_attention.py, layers/communicator.py enable_moe_dense_fully_dp).

    >>> from ...model.load import load
    >>> from ...run.serving import Layout
    >>> asked = Resolved(layout=Layout(tp=8, dp=8, enable_dp_attention=True))
    >>> r1 = load("deepseek-r1")
    >>> {
    ...     t.name.split(".")[-2]: shard(t, r1, asked)[0]
    ...     for t in r1.tensors
    ...     if t.name.endswith(("o_proj.weight", "lm_head.weight"))
    ... }
    {'lm_head': (16160, 7168), 'o_proj': (7168, 16384)}
    """
    layout = asked.layout
    repeat, ranks = tensor.repeat, layout.tp
    whole_towers = model.family in RELEASES.at(asked.engine_version).keeps_towers_whole
    if tensor.part == "vision" and (whole_towers or asked.mm_encoder_tp_mode == "data"):
        ranks = 1
    elif tensor.role == "expert":
        divided = expert_ranks(asked)
        redundant = asked.num_redundant_experts if tensor.part == "main" else 0
        repeat, ranks = experts_per_rank(repeat + clones, divided, redundant), layout.tp // divided
        if tensor.part == "main" and asked.kt_num_gpu_experts is not None:
            repeat = min(repeat, asked.kt_num_gpu_experts)
    elif "shared_expert" in tensor.name and asked.moe_a2a_backend != "none":
        ranks = 1
    elif lies_as_attention(tensor, model, asked):
        ranks = attention_ranks(asked)
    elif tensor.name == EMBEDDING and layout.enable_dp_attention:
        ranks = 1
    elif tensor.name == HEAD and asked.enable_dp_lm_head:
        ranks = attention_ranks(asked)
    elif ".mlp." in tensor.name and asked.moe_dense_tp_size and model.kinds.has_experts:
        ranks = 1
    return cut(tensor, ranks), repeat


def lies_as_attention(tensor: Tensor, model: Model, asked: Resolved) -> bool:
    """Return whether the ranks that divide the attention have this tensor."""
    attends, rules = "attn." in tensor.name, RELEASES.at(asked.engine_version)
    if tensor.part != "vision":
        return attends
    whole = model.family in rules.divides_whole_towers_as_attention
    return whole or (attends and rules.divides_towers_as_attention)


def cut(tensor: Tensor, ranks: int) -> tuple[int, ...]:
    """A shape divided over ranks as its tensor may be; sinks stay whole."""
    return (
        tensor.shape
        if "attn_sink" in tensor.name
        else divide(tensor, ranks, f"a division over {ranks} ranks", VOCABULARY_PAD)
    )
