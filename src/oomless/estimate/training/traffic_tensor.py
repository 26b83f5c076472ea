"""What tensor and sequence parallelism send in a step: sums of partial results, once a micro-batch."""

from collections.abc import Iterator
from math import prod
from typing import assert_never

from ...frameworks import framework
from ...model.attention import DSA, GQA, MLA, V4, V41, Attention, Linear, Sliding
from ...model.model import Model
from ...run.training import Mesh, TrainingResolved, recipe
from .collectives import Transfer, Widths, all_reduce, gather, layer_widths
from .head_and_loss import vocab_parallel
from .rank_portions import PipelineStage
from .traffic_layers import micro_batch_tokens, value_bytes


def shared_key(attention: Attention) -> int:
    """Numbers a token that all heads read without a column-cut product: MLA's rotary key, V4's one key-value
    head."""
    match attention:
        case MLA():
            return attention.qk_rope_head_dim
        case DSA():
            return attention.mla.qk_rope_head_dim
        case V4() | V41():
            return attention.head_dim
        case GQA() | Sliding() | Linear():
            return 0
        case _:
            assert_never(attention)


def tensor_parallel(
    model: Model, asked: TrainingResolved, mesh: Mesh, stage: PipelineStage
) -> Iterator[Transfer]:
    """Megatron's cut of layers, embedding, head and loss, with or without sequence parallelism.

    Without: a layer sums n x out numbers forward and n x into backward (layer_widths), 2 (t - 1) / t of them
    sent. With: each sum is a reduce-scatter and what is read is gathered first, so the bytes are the same;
    Megatron keeps inputs cut and gathers them once more for the gradient of weights, and gradients of what
    every rank holds whole are summed. The embedding's output and the gradient of the head's input are sums as
    well; the loss sums three F32 a token over vocabulary shards, or gathers all logits (plain). Full
    recomputation repeats the forward, but for its last sum where checkpointing stops early (torch). Source:
    arXiv 1909.08053, 2205.05198; torch.distributed.tensor.parallel.

    >>> from .rank_portions import stages
    >>> from ...model.load import load
    >>> asked = TrainingResolved(
    ...     framework="megatron-lm",
    ...     precision="megatron-bf16",
    ...     loss="vocab-parallel",
    ...     recompute="none",
    ...     seq_len=4096,
    ... )
    >>> [
    ...     t.sent_bytes
    ...     for t in tensor_parallel(
    ...         load("deepseek-llm-7b"), asked, Mesh(tp=8, pp=2), stages(30, Mesh(pp=2))[0]
    ...     )
    ... ]
    [3523215360, 58720256]
    """
    if mesh.tp == 1:
        return
    yield _exchange("layers", summed_widths(model, asked, mesh, stage), asked, mesh)
    first, last, hidden = stage.first, stage.last, model.hidden_size
    if first or last:
        widths = Widths(hidden * first, hidden * last, first + last, 0)
        yield _exchange("embedding and head", widths, asked, mesh)
    if last:
        yield of_loss(model, asked, mesh)
    if mesh.sequence_parallel and asked.method == "full":
        yield of_whole_tensors(model, asked, mesh, stage)


def summed_widths(model: Model, asked: TrainingResolved, mesh: Mesh, stage: PipelineStage) -> Widths:
    """Numbers a token that the layers of a stage exchange, those of full recomputation among them."""
    of = framework(asked.framework)
    cut = tuple(each for each in model.tensors if mesh.ep == 1 or each.role != "expert")
    out = into = calls = 0
    for layer in stage.layers:
        found = layer_widths(cut, layer, shared_key(model.layers[layer].attention), of.cuts_modules_apart)
        again = found.out - (0 if of.megatron_core else model.hidden_size) if asked.recompute == "full" else 0
        out, into, calls = out + found.out + again, into + found.into, calls + found.num_out + found.num_into
    return Widths(out, into, calls, 0)


def of_loss(model: Model, asked: TrainingResolved, mesh: Mesh) -> Transfer:
    """Three F32 a token over vocabulary shards, or all logits, gathered."""
    tokens, size, t, m = micro_batch_tokens(asked, mesh), value_bytes(asked), mesh.tp, asked.grad_accum
    if vocab_parallel(asked):
        sent = m * 3 * all_reduce(4 * tokens, t)
        formula = f"{m} x 3 x 2 ({t} - 1) / {t} x {tokens:,} x 4 B"
        return Transfer("tp", "all-reduce", "loss", t, 3 * m, sent, formula)
    sent = m * gather(tokens * model.vocab_size * size, t)
    formula = f"{m} x ({t} - 1) / {t} x {tokens:,} x {model.vocab_size:,} x {size} B"
    return Transfer("tp", "all-gather", "logits", t, m, sent, formula)


def of_whole_tensors(model: Model, asked: TrainingResolved, mesh: Mesh, stage: PipelineStage) -> Transfer:
    """Gradients of what every rank holds whole (norms, biases) while the sequence is cut."""
    mine, t = set(stage.layers), mesh.tp
    whole = [
        (each, each.repeat * len(mine.intersection(each.layers)))
        for each in model.tensors
        if each.cut.how == "whole" and each.part == "main" and each.role != "expert"
    ]
    values = sum(prod(each.shape) * num for each, num in whole)
    summed = values * recipe(asked.precision).gradient
    return Transfer(
        "tp",
        "all-reduce",
        "gradients of what is not cut",
        t,
        sum(num for _, num in whole),
        all_reduce(summed, t),
        f"2 ({t} - 1) / {t} x {summed:,} B",
    )


def _exchange(what: str, widths: Widths, asked: TrainingResolved, mesh: Mesh) -> Transfer:
    """The sums of one micro-batch's forward and backward, times the micro-batches; `num_out` counts them."""
    tokens, size, t, m = micro_batch_tokens(asked, mesh), value_bytes(asked), mesh.tp, asked.grad_accum
    width = widths.out + widths.into
    if not mesh.sequence_parallel:
        formula = f"{m} x 2 ({t} - 1) / {t} x {tokens:,} x {width:,} x {size} B"
        return Transfer(
            "tp", "all-reduce", what, t, m * widths.num_out, m * all_reduce(tokens * width * size, t), formula
        )
    again = widths.into if framework(asked.framework).megatron_core else 0
    formula = f"{m} x ({t} - 1) / {t} x {tokens:,} x (2 x {width:,} + {again:,}) x {size} B"
    sent = m * gather(tokens * (2 * width + again) * size, t)
    return Transfer(
        "tp", "reduce-scatter", f"{what} (and all-gather)", t, 2 * m * widths.num_out, sent, formula
    )
