"""The attention itself, and cross attention of T5: what each backend keeps for the backward."""

from typing import Literal, NamedTuple, assert_never

from .operations import Shape, Tape, back_to_residual, linear, norm
from .run import Megatron

Backend = Literal["flash", "fused", "unfused"]
CORE = "core_attn"
"""Its module, as --recompute-modules calls it."""


class Heads(NamedTuple):
    """Names and sizes of what attention reads. Views of one tensor have one name."""

    query: str
    key: str
    value: str
    key_dim: int
    value_dim: int
    groups: int
    """Heads of keys and values on a rank."""

    @property
    def names(self) -> str:
        """Return the tensors that are read, each once."""
        return " ".join(dict.fromkeys((self.query, self.key, self.value)))


def core_attention(tape: Tape, kernel: Backend, heads: Heads) -> str:
    """Write the attention down; returns what the output projection reads."""
    match kernel:
        case "unfused":
            _unfused(tape, heads)
        case "flash":
            _flash(tape, heads)
        case "fused":
            return _fused(tape, heads)
        case _:
            assert_never(kernel)
    return "context"


def _context_bytes(run: Megatron, at: Shape, heads: Heads) -> int:
    return at.tokens * (run.heads // run.tp) * heads.value_dim * run.num_bytes


def _unfused(tape: Tape, heads: Heads) -> None:
    """Scores, softmax, dropout and context as operations of their own."""
    run, at = tape.run, tape.at
    b, context = run.num_bytes, _context_bytes(run, at, heads)
    scores = at.tokens * (run.heads // run.tp) * at.keys
    kept = {"weights": scores * b}
    if run.full_scores:
        made = {"scores32": scores * 4}
        tape.op("scale and mask in F32", heads.names, made, module=CORE, forward_temp=scores * b)
        tape.op("softmax in F32", "scores32", {"weights32": scores * 4}, "weights32", module=CORE)
        tape.op("half", "weights32", kept, module=CORE)
    else:
        tape.op("scores", heads.names, {"scores": scores * b}, heads.names, module=CORE, product=True)
        tape.op("softmax", "scores", kept, "weights", module=CORE)
    source = "weights"
    if run.attention_dropout:
        tape.constant("dropped.mask")
        made = {"dropped": scores * b, "dropped.mask": scores}
        tape.op("dropout", "weights", made, "dropped.mask", module=CORE)
        source = "dropped"
    read = f"{source} {heads.value}"
    tape.op("context", read, {"context.bhsd": context}, read, module=CORE, product=True)
    tape.op("permute", "context.bhsd", {"context": context}, module=CORE)


def _flash(tape: Tape, heads: Heads) -> None:
    """flash-attn reads copies in another order, and keeps them with its output and an F32 a row and head."""
    run, at = tape.run, tape.at
    b, rows = run.num_bytes, at.tokens * (run.heads // run.tp)
    context, groups = _context_bytes(run, at, heads), at.tokens * heads.groups
    tape.constant("lse")
    made = {
        "q.bshd": rows * heads.key_dim * b,
        "k.bshd": groups * heads.key_dim * b,
        "v.bshd": groups * heads.value_dim * b,
    }
    tape.op("to bshd", heads.names, made, module=CORE)
    names = " ".join(made)
    out = {"context.bshd": context, "lse": rows * 4}
    tape.op("flash attention", names, out, f"{names} context.bshd lse", module=CORE, product=True)
    tape.op("to sbhd", "context.bshd", {"context": context}, module=CORE)


def _fused(tape: Tape, heads: Heads) -> str:
    """cuDNN keeps what it reads, its output and an F32 a row and head; its backward sums the query's gradient
    in F32.

    Where DeepSeek-V3 was trained (DualPipe), the output is kept in E5M6 beside activations in FP8, with a
    scale for 128 values (arXiv 2412.19437, 3.3.3): 12 bits a value.
    """
    run, at = tape.run, tape.at
    rows, size = at.tokens * (run.heads // run.tp), _context_bytes(run, at, heads)
    tape.constant("lse")
    made, kept = {"context": size, "lse": rows * 4}, "context"
    if run.dualpipe and run.fp8_inputs and CORE not in run.recompute_modules:
        kept, values = "context.e5m6", size // run.num_bytes
        made[kept] = values * 12 // 8 + values // 32
    tape.op(
        "cuDNN attention",
        heads.names,
        made,
        f"{heads.names} {kept} lse",
        module=CORE,
        product=True,
        backward_temp=rows * heads.key_dim * 4,
    )
    return kept


def cross_attention(tape: Tape, kernel: Backend, source: str, encoder: Shape) -> str:
    """T5: queries of the decoder, keys and values of the encoder's output."""
    run, at = tape.run, tape.at
    b, heads = run.num_bytes, run.heads // run.tp
    width = heads * run.head_dim
    norm(tape, "pre_cross_attn_layernorm", source, "lnx", at.residual, run.hidden)
    linear(tape, "linear_q", "lnx", "xq", at.tokens * width, width=run.hidden)
    tape.sizes["encoded"] = encoder.residual * run.hidden * b
    tape.op("linear_kv", "encoded", {"xkv": 2 * encoder.tokens * width * b}, "", product=True)
    scores = at.tokens * heads * encoder.keys
    context = at.tokens * width * b
    if kernel == "unfused":
        tape.op("cross scores", "xq xkv", {"xscores": scores * b}, "xq xkv", module=CORE, product=True)
        tape.op("cross softmax", "xscores", {"xweights": scores * b}, "xweights", module=CORE)
        weights = "xweights"
        if run.attention_dropout:
            tape.constant("xmask")
            tape.op(
                "cross dropout",
                "xweights",
                {"xdropped": scores * b, "xmask": scores},
                "xmask",
                module=CORE,
            )
            weights = "xdropped"
        tape.op(
            "cross context",
            f"{weights} xkv",
            {"xcontext.bhsd": context},
            f"{weights} xkv",
            module=CORE,
            product=True,
        )
        tape.op("cross permute", "xcontext.bhsd", {"xcontext": context}, module=CORE)
    else:
        tape.op(
            "cross attention",
            "xq xkv",
            {"xcontext": context},
            "xq xkv xcontext",
            module=CORE,
            product=True,
        )
    back_to_residual(tape, "cross proj", "xcontext", "cross")
    return "cross"
