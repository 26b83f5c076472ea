"""Measured single operations -> bytes: what a benchmark holds all along, and the operation's graph replayed
on top.

A benchmark repeats forward and backward of one module: its inputs, weights and their gradients stay from one
round to the next. Liger's (benchmark/scripts of 0.2 to 0.4) makes the modules of both providers first,
retains graphs and hands in a gradient; xtuner's script (docs, loss.md) runs once, and keeps the logits.
"""

import re

from ..errors import UnsupportedError
from ..frameworks.graphs.blocks import Builder, MicroBatchWork, gated, rms_norm
from ..frameworks.graphs.graph import AutogradGraph, walk
from ..frameworks.graphs.loss import loss_graph
from ..frameworks.graphs.loss_kinds import LossShape, chunk_tokens, loss_kind
from ..units import KIB, MIB
from .tables import Incomplete
from .training_words import framework_of

F32, BF16 = 4, 2
WORKSPACE = 8 * MIB + 128 * KIB
"""What cuBLAS keeps for each handle on an A100 (:4096:2:16:8); forward and backward threads have one each."""


def is_operation(model: str) -> bool:
    """Whether a row's model is a single operation.

    >>> is_operation("OP:swiglu"), is_operation("Llama-2-7B")
    (True, False)
    """
    return model.startswith("OP:")


def operation_bytes(row: dict[str, str]) -> int:
    """Peak of a benchmark of one operation.

    The numbers are to the byte but for scalars: cross-entropy of 16,384 x 131,072 F32 logits, whose input,
    gradient, kept log-softmax and two gradients on the way make 20 bytes a logit.

    >>> row = {
    ...     "model": "OP:cross_entropy",
    ...     "arch_if_not_public": "V=131072 {B: 8, T: 2048}",
    ...     "loss_impl": "plain",
    ... }
    >>> round(operation_bytes(row) / MIB, 3)
    40960.125
    """
    size = {
        name.lower(): int(text)
        for name, text in re.findall(r"\b(\w+)[=:] ?(\d+)\b", row["arch_if_not_public"])
    }
    fused = row["loss_impl"].startswith("fused")
    try:
        match row["model"]:
            case "OP:cross_entropy":
                return _cross_entropy(size["b"] * size["t"], size["v"], fused)
            case "OP:fused_linear_cross_entropy":
                return _head(size["bt"], size["h"], size["v"], fused)
            case "OP:linear+cross_entropy":
                return _script(size["t"], size["h"], size["v"], row)
            case "OP:rms_norm":
                return _norm(size["m"], size["h"], fused)
            case "OP:swiglu":
                return _swiglu(size["b"] * size["t"], size["hidden_size"], size["intermediate_size"], fused)
    except KeyError as error:
        raise Incomplete(f"the operation's size {error} is not given") from None
    raise UnsupportedError(f"operation {row['model']} is not known")


def _cross_entropy(tokens: int, vocab: int, fused: bool) -> int:
    """F32 logits and labels in, a loss out. Liger writes the gradient over the logits, which so are their own
    gradient."""
    logits, target = tokens * vocab * F32, tokens * 8
    if fused:
        mask_and_checked = tokens * (1 + 8)
        return logits + target + tokens * F32 + mask_and_checked
    shape = LossShape(tokens, 1, vocab, F32)
    whole = loss_graph(loss_kind("plain")._replace(upcast="none", logits_alive=False), shape)
    graph = AutogradGraph(whole.ops[1:], whole.sizes, "logits", "loss", whole.constants)
    return 2 * logits + target + walk(graph).backward_peak - F32


def _head(tokens: int, hidden: int, vocab: int, fused: bool) -> int:
    """Head and loss in bfloat16. Both providers' heads are there; hidden states and the head in use keep
    their gradients."""
    weight, inputs = vocab * hidden * BF16, tokens * hidden * BF16
    held = 2 * weight + weight + 2 * inputs + tokens * 8 + 2 * WORKSPACE
    shape = LossShape(tokens, hidden, vocab, BF16)
    loss = (
        loss_kind("fused", "liger-0.4")
        if fused
        else loss_kind("plain")._replace(upcast="none", logits_alive=False)
    )
    replay = walk(loss_graph(loss, shape))
    return held + max(replay.forward_peak, replay.backward_peak) - inputs


def _script(tokens: int, hidden: int, vocab: int, row: dict[str, str]) -> int:
    """One forward and backward of head and loss, whose logits stay in a variable."""
    loss_impl = row["loss_impl"]
    weight, inputs = vocab * hidden * BF16, tokens * hidden * BF16
    shape = LossShape(tokens, hidden, vocab, BF16)
    loss = loss_kind("plain")._replace(upcast="none", logits_alive=True)
    if loss_impl.startswith("chunked"):
        loss = loss_kind("chunked", framework_of(row["model"]))._replace(
            chunk_tokens=int(loss_impl.partition(" ")[2] or 1024)
        )
        assert chunk_tokens(loss, shape) <= tokens
    replay = walk(loss_graph(loss, shape))
    return (
        weight
        + max(replay.forward_peak, replay.backward_peak)
        + (inputs if loss.kind == "fused-linear" else 0)
    )


def _norm(rows: int, width: int, fused: bool) -> int:
    """RMSNorm of bfloat16 with an F32 weight: its output and the gradient handed in are F32."""
    b = Builder(MicroBatchWork(1, rows, BF16, BF16, False, kernels="liger" if fused else "eager"))
    b.sizes["x"] = rows * width * BF16
    rms_norm(b, "x", width, "y")
    output = rows * width * (BF16 if fused else F32)
    b.sizes["y"] = output
    replay = walk(b.graph("x", "y"), retained=True)
    state = 2 * b.sizes["x"] + 2 * output
    return state + replay.backward_peak - (b.sizes["x"] if fused else 0)


def _swiglu(tokens: int, hidden: int, inner: int, fused: bool) -> int:
    """SwiGLU in bfloat16: three matrices with their gradients, each added to while a new one is alive."""
    b = Builder(MicroBatchWork(1, tokens, BF16, BF16, False, kernels="liger" if fused else "eager"))
    b.sizes["x"] = tokens * hidden * BF16
    gated(b, "x", hidden, inner, "y")
    weight = hidden * inner * BF16
    ops = tuple(op._replace(backward_temp=weight) if op.product else op for op in b.ops)
    graph = b.graph("x", "y")._replace(ops=ops)
    if fused:  # the gradients of gate and up are written over them, which the benchmark retains
        over = next(op.reads for op in ops if op.name == "silu_multiply")
        graph = graph._replace(constants=graph.constants | frozenset(over))
    replay = walk(graph, retained=True)
    return 6 * weight + 2 * b.sizes["x"] + b.sizes["y"] + 2 * WORKSPACE + replay.backward_peak - b.sizes["x"]
