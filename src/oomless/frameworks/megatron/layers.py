"""Layers of Megatron-LM as operations: dense, mixture of experts, Mamba, encoder and decoder of T5."""

from ..graphs.graph import AutogradGraph
from .attention import attention, backend
from .core_attention import cross_attention
from .environment import Device
from .moe import experts
from .operations import Shape, Tape, back_to_residual, linear, norm, residual, shape, stored
from .run import Megatron


def layer_graph(run: Megatron, kind: str, device: Device) -> AutogradGraph:
    """The graph of a layer; kinds are those of Megatron.kinds, and `encoder` for T5's encoder."""
    seq = run.decoder_seq_len if run.family == "t5" and kind != "encoder" else run.seq_len
    at = shape(run, seq)
    tape = Tape("x", at.residual * run.hidden * run.num_bytes)
    match kind:
        case "M":
            mixed = mamba(tape, run, "x", at)
            residual(tape, run, "bda", mixed, "x", "y", at)
        case "*":
            residual(tape, run, "bda", attention(tape, run, device, "x", at), "x", "y", at)
        case "-":
            residual(tape, run, "bda", mlp(tape, run, "x", at), "x", "y", at)
        case "E":
            residual(tape, run, "bda", experts(tape, run, "x", at), "x", "y", at)
        case _:
            residual(tape, run, "self attn bda", attention(tape, run, device, "x", at), "x", "r1", at)
            source = "r1"
            if run.family == "t5" and kind != "encoder":
                crossed = cross_attention(tape, run, backend(run, device), "r1", at, shape(run, run.seq_len))
                residual(tape, run, "cross attn bda", crossed, "r1", "r2", at)
                source = "r2"
            mixed = experts(tape, run, source, at) if kind == "e" else mlp(tape, run, source, at)
            residual(tape, run, "mlp bda", mixed, source, "y", at)
    return tape.graph("y")


def mlp(tape: Tape, run: Megatron, source: str, at: Shape) -> str:
    """Norm, up projection, activation, down projection: the activation keeps its input, each product its
    own."""
    norm(tape, run, "pre_mlp_layernorm", source, "ln2", at.residual, run.hidden)
    width = run.ffn // run.tp
    up = width * (2 if run.gated else 1)
    linear(
        tape,
        run,
        "linear_fc1",
        "ln2",
        "up",
        at.tokens * up,
        at=at,
        width=run.hidden,
        module="mlp",
    )
    activation(tape, run, "up", "act", at.tokens, up, width, "mlp")
    back_to_residual(tape, run, "linear_fc2", "act", "mlp", at, module="mlp")
    return "mlp"


def activation(
    tape: Tape, run: Megatron, source: str, target: str, rows: int, up: int, width: int, module: str
) -> None:
    """Fused with its bias it keeps its input; without the fusion the biased input is a tensor of its own in
    place of it."""
    b = run.num_bytes
    if run.bias and not run.fused_bias_gelu and not run.gated:
        tape.op("bias", source, {f"{source}.biased": rows * up * b}, module=module)
        source = f"{source}.biased"
    source = stored(tape, run, source)
    tape.op("activation", source, {target: rows * width * b}, source, module=module)


def mamba(tape: Tape, run: Megatron, source: str, at: Shape) -> str:
    """Mamba-2 mixer on its memory-efficient path (mamba_split_conv1d_scan_combined): kept are the input
    projection's output and the output of the scan before its gated norm; convolution and scan run again in
    the backward, with their states of a chunk of 256 tokens in F32."""
    kind, b = run.mamba, run.num_bytes
    assert kind is not None
    inner, groups, heads = kind.inner // run.tp, kind.groups // run.tp, kind.num_heads // run.tp
    convolved = inner + 2 * groups * kind.state
    norm(tape, run, "in_proj norm", source, "lnm", at.residual, run.hidden)
    linear(
        tape,
        run,
        "in_proj",
        "lnm",
        "zxbcdt",
        at.tokens * (inner + convolved + heads),
        at=at,
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
    norm(tape, run, "gated norm", "scanned", "gated", at.tokens, inner)
    back_to_residual(tape, run, "out_proj", "gated", "mixed", at)
    return "mixed"


CHUNK = 256
"""Tokens of a chunk of the scan: MambaMixer's chunk_size is 128, the kernel's states are kept for each."""
