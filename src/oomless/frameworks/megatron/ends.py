"""First and last of a network: embedding with dropout, final norm, output layer and loss."""

from ..graphs.graph import AutogradGraph
from .operations import Shape, Tape, norm, shape
from .run import Megatron


def embedding_graph(run: Megatron, seq_len: int) -> AutogradGraph:
    """Word and position embeddings are summed; dropout keeps a mask of one byte an element."""
    at = shape(run, seq_len)
    tape = Tape(run, at, {"ids": at.tokens * 8})
    tape.constant("ids")
    elements = at.residual * run.hidden
    tape.op(
        "embedding",
        "ids",
        {"embedded": elements * run.num_bytes},
        "ids",
        forward_temp=elements * run.num_bytes,
    )
    if run.hidden_dropout:
        tape.constant("mask")
        tape.op("dropout", "embedded", {"x": elements * run.num_bytes, "mask": elements}, "mask")
        return tape.graph("ids", "x")
    return tape.graph("ids", "embedded")


def head_graph(run: Megatron) -> AutogradGraph:
    """Final norm, output layer over this rank's part of the vocabulary, cross entropy.

    Logits are made in 2 B and copied to F32, in which the softmax is made in place and kept: 6 B a logit at
    most. The fused loss is compiled functions whose results are new tensors: 2 + 4 + 4 = 10 B at most
    (core/tensor_parallel/cross_entropy.py, core/fusions/fused_cross_entropy.py). Transformer Engine's kernel
    writes the gradient over the logits: 2 B (transformer_engine/pytorch/triton/cross_entropy.py).
    """
    at = shape(run, run.decoder_seq_len)
    tape = Tape(run, at, {"x": at.residual * run.hidden * run.num_bytes})
    norm(tape, "final_layernorm", "x", "normed", at.residual, run.hidden)
    source = "normed"
    if run.family == "bert":
        source = _bert_head(tape, source)
    _loss(tape, source, "")
    return tape.graph("x", "loss")


def _bert_head(tape: Tape, source: str) -> str:
    run, at = tape.run, tape.at
    size = at.residual * run.hidden * run.num_bytes
    tape.op("lm_head dense", source, {"dense": size}, source, product=True)
    tape.op("lm_head gelu", "dense", {"gelu": size}, "dense")
    norm(tape, "lm_head layer_norm", "gelu", "head.normed", at.residual, run.hidden)
    return "head.normed"


def _loss(tape: Tape, source: str, name: str) -> None:
    run, at = tape.run, tape.at
    logits = at.tokens * run.padded_vocab // run.tp
    tape.constant(f"{name}softmax", f"{name}logits32")
    tape.op("output_layer", source, {f"{name}logits": logits * run.num_bytes}, source, product=True)
    read = f"{name}logits"
    if run.fused_loss and run.loss_kernel == "te":
        tape.op("cross entropy", read, {f"{name}loss": at.tokens * 4}, read, ready=read)
        return
    if run.fused_loss:
        tape.op("to F32", read, {f"{name}logits32": logits * 4})
        read = f"{name}logits {name}logits32"
    tape.op(
        "cross entropy", read, {f"{name}softmax": logits * 4, f"{name}loss": at.tokens * 4}, f"{name}softmax"
    )


def mtp_graph(run: Megatron, at: Shape) -> AutogradGraph:
    """What a multi-token-prediction layer has beside its transformer layer: two norms, the projection, a
    final norm and a loss of its own."""
    size = at.residual * run.hidden * run.num_bytes
    tape = Tape(run, at, {"x": size})
    norm(tape, "hnorm", "x", "h", at.residual, run.hidden)
    tape.sizes["next"] = size
    norm(tape, "enorm", "next", "e", at.residual, run.hidden)
    tape.op("concatenate", "h e", {"both": 2 * size})
    tape.op("eh_proj", "both", {"projected": size}, "both", product=True)
    norm(tape, "final_layernorm", "projected", "normed", at.residual, run.hidden)
    _loss(tape, "normed", "")
    return tape.graph("x", "loss")
