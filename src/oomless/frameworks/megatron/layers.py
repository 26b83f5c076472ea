"""Layers of Megatron-LM as operations: dense, mixture of experts, Mamba, encoder and decoder of T5."""

from ..graphs.graph import AutogradGraph
from .attention import attention, backend
from .core_attention import cross_attention
from .environment import Device
from .moe import experts
from .operations import Tape, back_to_residual, linear, norm, residual, shape, stored
from .run import Megatron


def layer_graph(run: Megatron, kind: str, device: Device) -> AutogradGraph:
    """The graph of a layer; kinds are those of Megatron.kinds, and `encoder` for T5's encoder."""
    seq = run.decoder_seq_len if run.family == "t5" and kind != "encoder" else run.seq_len
    at = shape(run, seq)
    tape = Tape(run, at, {"x": at.residual * run.hidden * run.num_bytes})
    match kind:
        case "M":
            mixed = mamba(tape, "x")
            residual(tape, "bda", mixed, "x", "y")
        case "*":
            residual(tape, "bda", attention(tape, device, "x"), "x", "y")
        case "-":
            residual(tape, "bda", mlp(tape, "x"), "x", "y")
        case "E":
            residual(tape, "bda", experts(tape, "x"), "x", "y")
        case _:
            residual(tape, "self attn bda", attention(tape, device, "x"), "x", "r1")
            source = "r1"
            if run.family == "t5" and kind != "encoder":
                crossed = cross_attention(tape, backend(run, device), "r1", shape(run, run.seq_len))
                residual(tape, "cross attn bda", crossed, "r1", "r2")
                source = "r2"
            mixed = experts(tape, source) if kind == "e" else mlp(tape, source)
            residual(tape, "mlp bda", mixed, source, "y")
    return tape.graph("x", "y")


def mlp(tape: Tape, source: str) -> str:
    """Norm, up projection, activation, down projection: the activation keeps its input, each product its
    own."""
    run, at = tape.run, tape.at
    norm(tape, "pre_mlp_layernorm", source, "ln2", at.residual, run.hidden)
    width = run.ffn // run.tp
    up = width * (2 if run.gated else 1)
    linear(
        tape,
        "linear_fc1",
        "ln2",
        "up",
        at.tokens * up,
        width=run.hidden,
        module="mlp",
    )
    activation(tape, "up", "act", at.tokens, up, width, "mlp")
    back_to_residual(tape, "linear_fc2", "act", "mlp", module="mlp")
    return "mlp"


def activation(tape: Tape, source: str, target: str, rows: int, up: int, width: int, module: str) -> None:
    """Fused with its bias it keeps its input; without the fusion the biased input is a tensor of its own in
    place of it."""
    run = tape.run
    b = run.num_bytes
    if run.bias and not run.fused_bias_gelu and not run.gated:
        tape.op("bias", source, {f"{source}.biased": rows * up * b}, module=module)
        source = f"{source}.biased"
    source = stored(tape, source)
    tape.op("activation", source, {target: rows * width * b}, source, module=module)


def mamba(tape: Tape, source: str) -> str:
    """Mamba-2 mixer on its memory-efficient path (mamba_split_conv1d_scan_combined): kept are the input
    projection's output and the output of the scan before its gated norm; convolution and scan run again in
    the backward, with their states of a chunk of 256 tokens in F32."""
    run, at = tape.run, tape.at
    kind, b = run.mamba, run.num_bytes
    assert kind is not None
    inner, groups, heads = kind.inner // run.tp, kind.groups // run.tp, kind.num_heads // run.tp
    convolved = inner + 2 * groups * kind.state
    norm(tape, "in_proj norm", source, "lnm", at.residual, run.hidden)
    linear(
        tape,
        "in_proj",
        "lnm",
        "zxbcdt",
        at.tokens * (inner + convolved + heads),
        width=run.hidden,
    )
    chunks = -(-run.seq_len // run.cp // CHUNK) * run.micro_batch
    states = chunks * heads * kind.head_dim * kind.state
    scan = at.tokens * inner
    tape.op(
        "scan",
        "zxbcdt",
        {"scanned": scan * b},
        "zxbcdt scanned",
        forward_temp=at.tokens * convolved * b + states * 4 + scan * b,
        backward_temp=2 * at.tokens * convolved * b + 2 * states * 4 + 3 * scan * b,
    )
    norm(tape, "gated norm", "scanned", "gated", at.tokens, inner)
    back_to_residual(tape, "out_proj", "gated", "mixed")
    return "mixed"


CHUNK = 256
"""Tokens of a chunk of the scan: MambaMixer's chunk_size is 128, the kernel's states are kept for each."""
