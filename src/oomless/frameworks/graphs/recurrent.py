"""Linear attention as its kernels run it: what comes before the scan is kept, the states of chunks are made
again in the backward."""

from ...model.attention import Linear
from .blocks import Builder, linear


def recurrent(b: Builder, kind: Linear, x: str, hidden: int, out: str) -> None:
    """Projections, short convolution, chunked scan, gate, projection back."""
    match kind.variant:
        case "gdn" | "kda":
            _delta_rule(b, kind, x, hidden, out)
        case "mamba2":
            _mamba2(b, kind, x, hidden, out)
        case _:
            _channels(b, kind, x, hidden, out)


SCAN_CHUNK = 64
"""Tokens of a chunk in the kernels of flash-linear-attention (fla/ops/gated_delta_rule, chunk_size)."""

SPLIT_SCAN_CHUNK = 256
"""Tokens for which mamba_split_conv1d_scan_combined holds a state."""


def _delta_rule(b: Builder, kind: Linear, x: str, hidden: int, out: str) -> None:
    """The gated delta rule: kept are the convolution's input, queries and keys normed and repeated for every
    value head, values, and a matrix of a chunk's tokens; the states are made again.

    Source: fla 0.2 to 0.6, ops/gated_delta_rule/chunk.py, ChunkGatedDeltaRuleFunction.save_for_backward and
    chunk_gated_delta_rule_bwd (h and dh have the type of k); ops/kda/chunk.py keeps decays of every channel
    in F32. modeling_qwen3_next.py and megatron/core/ssm/gated_delta_net repeat queries and keys. The latter
    norms them by a function of its own before that, and multiplies a norm's output by the gate in another
    (common.py, _prepare_input_for_gated_delta_rule and _apply_gated_norm, as core 0.17 to 0.19 have them).
    """
    work, rows = b.work, b.work.tokens
    element, tp = work.compute, work.tp
    width, value, heads = kind.conv_width // tp, kind.value_width // tp, kind.num_value_heads // tp
    keys = heads * kind.key_head_dim
    linear(b, "in_proj", x, hidden, width + value, "in")
    b.op("split", ("in",), {"conv.in": rows * width * element, "z": rows * value * element})
    b.op("conv", ("conv.in",), {"qkv": rows * width * element}, ("conv.in",))
    if work.norms_apart:
        normed = {"qk": rows * (width - value) * element}
        b.op("qk_norm", ("qkv",), normed, tuple(normed))
    sizes = {"q": rows * keys * element, "k": rows * keys * element, "v": rows * value * element}
    b.op("by_heads", ("qkv", "qk") if work.norms_apart else ("qkv",), sizes)
    read, chunk = tuple(sizes), rows * heads * SCAN_CHUNK * element
    if kind.variant == "kda":
        b.op("decay", (x,), {"decay": rows * keys * 4})
        read, chunk = (*read, "decay"), 2 * chunk
    states = -(-work.seq // SCAN_CHUNK) * work.batch * (kind.state_size // tp) * element
    kept = (*read, "inverse")
    if work.deterministic:
        chunk, kept = rows * heads * reference_bytes(kind.key_head_dim, kind.value_head_dim), ("inverse",)
        states = 0
    b.op(
        "scan",
        read,
        {"inverse": chunk, "mixed": rows * value * element},
        kept,
        forward_temp=states + rows * (keys + 2 * value) * element,
        backward_temp=2 * states + rows * (2 * keys + 4 * value) * element,
    )
    b.constants.add("inverse")
    mixed = "mixed"
    if work.norms_apart:
        mixed = "rescaled"
        b.op("out_norm", ("mixed",), {mixed: rows * value * element}, ("mixed",))
    b.op("gate", (mixed, "z"), {"gated": rows * value * element}, (mixed, "z"))
    linear(b, "out_proj", "gated", value, hidden, out)


def reference_bytes(key: int, value: int) -> int:
    """What autograd keeps of the gated delta rule in torch, a token of a head, all of it F32: seven of a
    key's width, three of a value's, six of a chunk's, what each row of a chunk's inverse is made of, the
    state of a chunk.

    Source: megatron/core/ssm/gated_delta_net/gdn.py, torch_chunk_gated_delta_rule, which deterministic mode
    takes; modeling_qwen3_next.py has the same.

    >>> reference_bytes(128, 128)
    13140
    """
    rows = sum(row * row + row for row in range(SCAN_CHUNK)) // SCAN_CHUNK
    return 4 * (7 * key + 3 * value + 6 * SCAN_CHUNK + rows + key * value // SCAN_CHUNK)


def _mamba2(b: Builder, kind: Linear, x: str, hidden: int, out: str) -> None:
    """Mamba-2 on its memory-efficient path: kept are the input projection's output and the scan's; the
    convolution and the scan run again, with F32 states.

    Source: mamba_ssm/ops/triton/ssd_combined.py, MambaSplitConv1dScanCombinedFn.save_for_backward, which
    transformers and Megatron-Core call in training.
    """
    work, rows = b.work, b.work.tokens
    element, tp = work.compute, work.tp
    width, inner = kind.conv_width // tp, kind.value_width // tp
    linear(b, "in_proj", x, hidden, width + inner + kind.num_value_heads // tp, "in")
    scan, convolved = rows * inner * element, rows * width * element
    states = 4 * -(-work.seq // SPLIT_SCAN_CHUNK) * work.batch * (kind.state_size // tp)
    b.op(
        "scan",
        ("in",),
        {"mixed": scan},
        ("in", "mixed"),
        forward_temp=convolved + states + scan,
        backward_temp=2 * convolved + 2 * states + 3 * scan,
    )
    b.op("norm", ("mixed",), {"gated": scan}, ("mixed",))
    linear(b, "out_proj", "gated", inner, hidden, out)


def _channels(b: Builder, kind: Linear, x: str, hidden: int, out: str) -> None:
    """Mamba-1, and a short convolution alone."""
    work, rows = b.work, b.work.tokens
    element, tp = work.compute, work.tp
    width, value = kind.conv_width // tp, kind.value_width // tp
    linear(b, "in_proj", x, hidden, width + value, "in")
    b.op("conv", ("in",), {"conv": rows * width * element}, ("in",))
    b.op("silu", ("conv",), {"qkv": rows * width * element}, ("conv",))
    chunks = -(-work.seq // SCAN_CHUNK) * work.batch
    states = chunks * (kind.state_size // tp) * 4 if kind.variant != "short_conv" else 0
    made = {"states": states, "mixed": rows * value * element}
    b.op("scan", ("qkv",), made, ("qkv", "states"), backward_temp=states)
    b.constants.add("states")
    b.op("gate", ("mixed", "in"), {"gated": rows * value * element}, ("mixed", "in"))
    linear(b, "out_proj", "gated", value, hidden, out)
