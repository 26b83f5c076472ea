"""The head and the loss as operations: from 2 to 20 bytes a logit, by how a framework writes it.

A training step's largest tensors are often the logits (tokens x vocabulary). Which copies of them live at
once is a matter of code: whether they are upcast and where, whether the shifted ones are a copy, whether the
caller still holds them, whether they are made in chunks, or never. Each such habit is a row of
facts/losses.csv; the graph follows from it, and frameworks/graphs/graph.py replays it. Weight gradients of
the head belong to the phases, except those that a fused loss makes in its forward.
"""

from typing import assert_never

from .graph import AutogradGraph, Op
from .loss_kinds import F32, Loss, LossShape, chunk_tokens

TARGET = 8
"""Bytes of a label."""


def loss_graph(loss: Loss, shape: LossShape) -> AutogradGraph:
    """From the last norm's output ("hidden") to the loss.

    Bytes of what autograd keeps and makes, from shapes; kernels' workspaces are not among them (cuBLAS:
    engines' facts). DeepSeek-V3 over 4,096 tokens, plain: 129,280 x 4,096 logits keep 4 bytes each, and 12 at
    the peak.

    >>> from .graph import walk
    >>> from .loss_kinds import loss_kind
    >>> shape = LossShape(4096, 7168, 129280)
    >>> logits = 4096 * 129280
    >>> plain = walk(loss_graph(loss_kind("plain"), shape))
    >>> (
    ...     round(plain.backward_peak / logits, 1),
    ...     round(walk(loss_graph(loss_kind("vocab-parallel"), shape)).backward_peak / logits, 1),
    ... )
    (12.1, 6.1)
    >>> round(
    ...     walk(loss_graph(loss_kind("fused"), shape._replace(trained_head=False))).forward_peak / logits, 2
    ... )
    0.47
    """
    match loss.kind:
        case "logits":
            return _logits(loss, shape)
        case "chunked-logits":
            return _chunked(loss, shape)
        case "fused-linear":
            return _fused_linear(loss, shape)
        case "cut":
            return _cut(shape)
        case "compiled":
            return _compiled(loss, shape)
        case "chunked-compiled":
            return _compiled(loss, shape, chunk_tokens(loss, shape))
        case "vocab-parallel":
            return _vocab_parallel(shape, fused=False)
        case "vocab-parallel-fused":
            return _vocab_parallel(shape, fused=True)
        case "in-place":
            return _in_place(loss, shape)
        case "loss-parallel":
            return _loss_parallel(shape)
        case "selected" | "selected-divided" | "selected-nll":
            return _selected(loss, shape)
        case "checkpointed":
            return _checkpointed(loss, shape)
        case "tiled":
            return _tiled(loss, shape)
        case _:
            assert_never(loss.kind)


def _sizes(shape: LossShape, **more: int) -> dict[str, int]:
    logits = shape.tokens * shape.vocab
    return {
        "hidden": shape.tokens * shape.hidden * shape.compute,
        "logits": logits * shape.compute,
        "target": shape.tokens * TARGET,
        "loss": F32,
        **more,
    }


def _head(*saves: str, module: str = "head") -> Op:
    return Op("head", ("hidden",), ("logits",), ("hidden", *saves), module=module, product=True)


def _logits(loss: Loss, shape: LossShape) -> AutogradGraph:
    """Log-softmax keeps its output alone; its backward holds it, the gradient handed in and the one made.

    Its forward runs inside of a loss that upcasts, whose names hold the upcast logits until it returns (a
    shifted copy then stands beside them), as the model's hold the others: 2 + 4 + 4 + 4 B a logit
    (transformers 4.46 to 4.49, whose runs have 14 to the byte). Of one sequence, contiguous() finds the
    shifted logits in one piece and copies nothing (torch: c10/core/Contiguity.h, dimensions of size 1).

    >>> from .graph import walk
    >>> from .loss_kinds import loss_kind
    >>> two = LossShape(20000, 5120, 152064)
    >>> peaks = [walk(_logits(loss_kind("plain-4.49"), each)) for each in (two, two._replace(sequences=1))]
    >>> [round(max(each.forward_peak, each.backward_peak) / (two.tokens * two.vocab), 1) for each in peaks]
    [14.1, 12.1]
    """
    copies = loss.shift_copy and shape.sequences > 1
    wide = shape.tokens * shape.vocab * (F32 if loss.upcast != "none" else shape.compute)
    held = loss.logits_alive and (loss.upcast != "model" or shape.compute == F32)
    ops = [_head(*(("logits",) if held else ()))]
    name = "logits"
    if loss.upcast != "none" and shape.compute != F32:
        ops.append(
            Op(
                "upcast",
                (name,),
                ("wide",),
                ("wide",) if loss.logits_alive and loss.upcast == "model" else (),
            )
        )
        name = "wide"
    if copies:
        ops.append(Op("shift", (name,), ("shifted",)))
        name = "shifted"
    named = shape.tokens * shape.vocab * shape.compute + (wide if copies else 0)
    if loss.upcast != "loss" or loss.logits_alive or shape.compute == F32:
        named = 0
    ops.append(Op("log_softmax", (name,), ("log_softmax",), ("log_softmax",), named, module="loss"))
    ops.append(Op("nll", ("log_softmax", "target"), ("loss",), ("target",), module="loss"))
    sizes = _sizes(shape, wide=wide, shifted=wide, log_softmax=wide)
    return AutogradGraph(tuple(ops), sizes, "hidden", "loss", frozenset({"target"}))


def _chunked(loss: Loss, shape: LossShape) -> AutogradGraph:
    """All chunks of logits are made, then the loss of one after the other: what is kept is whole, what passes
    is one chunk."""
    width = F32 if loss.upcast != "none" else shape.compute
    chunk = chunk_tokens(loss, shape) * shape.vocab
    wide = shape.tokens * shape.vocab * width
    upcast = chunk * width if width != shape.compute else 0
    alive = ("logits",) if loss.logits_alive else ()
    passing = 2 * chunk * width + _head_sums(shape)
    ops = (
        _head(*alive),
        Op(
            "loss",
            ("logits", "target"),
            ("log_softmax", "loss"),
            ("log_softmax", "target"),
            upcast,
            passing,
            "loss",
        ),
    )
    sizes = _sizes(shape, log_softmax=wide)
    return AutogradGraph(ops, sizes, "hidden", "loss", frozenset({"target"}))


def _head_sums(shape: LossShape) -> int:
    """Chunks add to the head's gradient: the sum so far and the share of a chunk, while other chunks' logits
    are there."""
    return 2 * shape.vocab * shape.hidden * shape.weight if shape.trained_head else 0


def _fused_linear(loss: Loss, shape: LossShape) -> AutogradGraph:
    """Gradients of hidden states and head are made in the forward, chunk by chunk, and kept.

    A chunk's logits, their upcasts and gradients pass; so does the chunk's share of the head's gradient,
    unless it is added in place.
    """
    chunk = chunk_tokens(loss, shape) * shape.vocab
    elements = shape.vocab * shape.hidden if shape.trained_head else 0
    passing = chunk * loss.chunk_bytes + elements * loss.product_bytes
    kept = ("hidden_gradient", "head_gradient")
    op = Op(
        "fused",
        ("hidden", "target"),
        (*kept, "loss"),
        kept,
        passing,
        0,
        "loss",
        ready=("hidden",),
    )
    sizes = _sizes(
        shape,
        hidden_gradient=shape.tokens * shape.hidden * shape.compute,
        head_gradient=elements * shape.weight,
    )
    return AutogradGraph((op,), sizes, "hidden", "loss", frozenset({"target"}))


def _cut(shape: LossShape) -> AutogradGraph:
    """Cut cross-entropy: logits live in registers; log-sum-exp of each token is kept. The head's gradient is
    made in the same kernel."""
    weight = shape.vocab * shape.hidden * shape.weight if shape.trained_head else 0
    op = Op("cut", ("hidden", "target"), ("lse", "loss"), ("hidden", "lse", "target"), 0, weight, "loss")
    return AutogradGraph(
        (op,), _sizes(shape, lse=shape.tokens * F32), "hidden", "loss", frozenset({"target"})
    )


def _compiled(loss: Loss, shape: LossShape, chunk: int = 0) -> AutogradGraph:
    """One kernel keeps logits as it is given them, and two statistics of each token; the gradient is made
    once. Where the model upcasts, both are F32, and 16-bit gradients are made of them.

    In chunks, each of which the head makes by itself, the gradient of one passes at a time.

    >>> from .graph import walk
    >>> from .loss_kinds import loss_kind
    >>> shape = LossShape(12288, 4096, 151936, trained_head=False)
    >>> found = walk(_compiled(loss_kind("sampled", "deepspeed"), shape))
    >>> [round(peak / (12288 * 151936), 1) for peak in (found.forward_peak, found.backward_peak)]
    [6.1, 10.1]
    """
    wide = loss.upcast == "model" and shape.compute != F32
    given = "wide" if wide else "logits"
    named = ("wide",) if loss.logits_alive else ()
    op = Op(
        "loss",
        (given, "target"),
        ("statistics", "loss"),
        (given, "statistics", "target"),
        0,
        chunk * shape.vocab * shape.compute + (_head_sums(shape) if chunk else 0),
        "loss",
        ready=("logits",) if chunk else (),
    )
    upcast = (Op("upcast", ("logits",), ("wide",), named),) if wide else ()
    sizes = _sizes(shape, statistics=shape.tokens * 2 * F32, wide=shape.tokens * shape.vocab * F32)
    return AutogradGraph((_head(), *upcast, op), sizes, "hidden", "loss", frozenset({"target"}))


def _vocab_parallel(shape: LossShape, fused: bool) -> AutogradGraph:
    """Megatron: F32 copies, exponentiated in place, are kept, and the gradient is written over them.

    The fused one is compiled in pieces: each makes its F32 output beside its input, while the caller holds
    the logits. 6 and 10 bytes a logit (training logs).
    """
    wide = shape.tokens * shape.vocab * F32
    beside = wide + shape.tokens * shape.vocab * shape.compute if fused else 0
    ops = (
        _head(),
        Op("upcast", ("logits",), ("wide",), module="loss"),
        Op(
            "cross_entropy",
            ("wide", "target"),
            ("softmax", "loss"),
            ("softmax", "target"),
            beside,
            0,
            "loss",
            in_place=True,
            ready=("wide",),
        ),
    )
    return AutogradGraph(ops, _sizes(shape, wide=wide, softmax=wide), "hidden", "loss", frozenset({"target"}))


def _in_place(loss: Loss, shape: LossShape) -> AutogradGraph:
    """One kernel reads the logits and writes their gradient over them; of logits that the model gives out the
    caller may make an F32 copy, which goes with the output."""
    copy = shape.tokens * shape.vocab * F32 if loss.upcast == "model" else 0
    op = Op("loss", ("logits", "target"), ("loss",), ("logits",), copy, module="loss", ready=("logits",))
    return AutogradGraph((_head(), op), _sizes(shape), "hidden", "loss", frozenset({"target"}))


def _loss_parallel(shape: LossShape) -> AutogradGraph:
    """torch's loss_parallel: operation by operation on a rank's share of the vocabulary, in F32.

    Forward: the upcast logits, those less their maximum, and their exponentials. Backward: log-probabilities,
    the gradient handed in (zeros with the labels' entries), exponentials and the sum of both: 16 bytes a
    logit, where log_softmax's own backward has 12.
    """
    wide = shape.tokens * shape.vocab * F32
    ops = (
        _head(),
        Op("upcast", ("logits",), ("wide",)),
        Op("log_softmax", ("wide",), ("log_softmax",), ("log_softmax",), wide, wide, "loss"),
        Op("nll", ("log_softmax", "target"), ("loss",), ("target",), module="loss"),
    )
    return AutogradGraph(
        ops, _sizes(shape, wide=wide, log_softmax=wide), "hidden", "loss", frozenset({"target"})
    )


def _selected(loss: Loss, shape: LossShape) -> AutogradGraph:
    """Each label's logit less the logsumexp of its row, sequence by sequence, whose exponentials pass; the
    F32 logits are kept. The gradients of both readers are added up: 12 B a logit, 16 of one sequence, whose
    difference and exponentials pass together, and 6 to 10 in the forward (TRL's function on a CPU). Of logits
    in 16 bits it keeps log-probabilities: 4 to 8. Logits that were divided in place are a view of what the
    model gives, for whose gradient autograd copies theirs (CopySlices): 16 and 8 of any number of sequences.
    ORPO's cross-entropy of the chosen half keeps log_softmax of it: 14.

    >>> from .graph import walk
    >>> from .loss_kinds import loss_kind
    >>> two, one = LossShape(1024, 64, 32000), LossShape(1024, 64, 32000, sequences=1)
    >>> found = [walk(_selected(loss_kind("selected"), each)) for each in (two, one)]
    >>> found += [walk(_selected(loss_kind(name, "trl"), two)) for name in ("sampled", "orpo")]
    >>> [round(each.backward_peak / (1024 * 32000), 1) for each in found]
    [12.0, 16.0, 16.0, 14.0]
    """
    wide = shape.tokens * shape.vocab * (F32 if loss.upcast != "none" else shape.compute)
    name, held = "logits", 0
    ops = [_head()]
    if loss.upcast != "none":
        ops.append(Op("upcast", (name,), ("wide",)))
        name = "wide"
    if loss.shift_copy:
        ops.append(Op("shift", (name,), ("shifted",)))
        name, held = "shifted", wide
    twice = shape.sequences < 2 or loss.kind == "selected-divided"
    passing, back = held + wide // shape.sequences, wide * (1 + twice)
    kept = ("chosen",) if loss.kind == "selected-nll" else ()
    made, saved = ("loss", *kept), (name, "target", *kept)
    ops.append(Op("select", (name, "target"), made, saved, passing, back, "loss"))
    sizes = _sizes(shape, wide=wide, shifted=wide, chosen=wide // 2)
    return AutogradGraph(tuple(ops), sizes, "hidden", "loss", frozenset({"target"}))


def _checkpointed(loss: Loss, shape: LossShape) -> AutogradGraph:
    """A chunk's logits live in its own forward and, made again, in its own backward, where the head's share
    of the gradient is made beside the sum so far. Hidden states are copied without what labels leave out."""
    elements = shape.vocab * shape.hidden
    chunk = chunk_tokens(loss, shape) * shape.vocab * loss.chunk_bytes
    again = chunk + elements * (loss.product_bytes + (shape.weight if shape.trained_head else 0))
    op = Op(
        "chunks", ("hidden", "target"), ("labelled", "loss"), ("labelled", "target"), chunk, again, "loss"
    )
    sizes = _sizes(shape, labelled=shape.tokens * shape.hidden * shape.compute)
    return AutogradGraph((op,), sizes, "hidden", "loss", frozenset({"target", "labelled"}))


def _tiled(loss: Loss, shape: LossShape) -> AutogradGraph:
    """Tiles of logits are folded into statistics of their tokens, and made again in the backward, which adds
    gradients up in F32: 0.4 GiB where whole logits of 8,192 tokens of Llama 3.1 have 12.

    >>> from .graph import walk
    >>> from .loss_kinds import loss_kind
    >>> shape = LossShape(8192, 4096, 128256, trained_head=False)
    >>> round(walk(_tiled(loss_kind("chunked", "trl"), shape)).forward_peak / 2**30, 2)
    0.38
    """
    tile = chunk_tokens(loss, shape) * min(loss.chunk_bytes, shape.vocab * shape.compute)
    head = shape.vocab * shape.hidden * (F32 + shape.weight % F32) if shape.trained_head else 0
    again = tile + shape.tokens * shape.hidden * F32 + head
    made, kept = ("labelled", "statistics", "loss"), ("labelled", "statistics", "target")
    op = Op("tiles", ("hidden", "target"), made, kept, tile, again, "loss")
    labelled = shape.tokens * shape.hidden * shape.compute
    sizes = _sizes(shape, labelled=labelled, statistics=shape.tokens * 2 * F32)
    return AutogradGraph((op,), sizes, "hidden", "loss", frozenset({"target", "labelled", "statistics"}))
