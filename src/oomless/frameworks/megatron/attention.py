"""Self and cross attention of Megatron-LM: what Transformer Engine's three backends and the local spec keep
for the backward.

Read in Transformer Engine 2.x attention/dot_product_attention (utils.get_attention_backend, backends.py) and
Megatron-LM core/transformer (attention.py, dot_product_attention.py, multi_latent_attention.py).
"""

from typing import Literal, NamedTuple

from .environment import Device
from .run import Megatron
from .tape import Tape

Backend = Literal["flash", "fused", "unfused"]


def backend(run: Megatron, device: Device) -> Backend:
    """The kernels that Transformer Engine picks.

    Hopper and later take cuDNN before flash-attn; Ampere takes flash-attn. Where algorithms must be
    deterministic, cuDNN's backward needs Hopper, and on Blackwell no dropout. flash-attn 2 needs equal widths
    of query and value heads, and 2.4.1 to be deterministic.
    """
    if run.attention == "unfused" or run.local:
        return "unfused"
    if run.attention == "fused":
        return "fused"
    equal = run.latent is None or run.latent.qk_dim + run.latent.rope_dim == run.latent.v_dim
    if run.attention == "flash":
        return "flash" if equal else "fused"
    cudnn = device.generation >= 9 if device.deterministic else True
    if device.deterministic and device.generation >= 10 and run.attention_dropout:
        cudnn = False
    if device.generation >= 9 and cudnn:
        return "fused"
    flash = equal and (device.flash_deterministic or not device.deterministic)
    return "flash" if flash else "fused" if cudnn else "unfused"


class Shape(NamedTuple):
    """Tokens of a micro-batch on a rank: of the residual stream (cut by sequence parallelism), and all of
    them."""

    residual: int
    tokens: int
    batch: int
    keys: int
    """Tokens of a sequence that are attended to on this rank: all of it over context parallelism, in turns.
    """


def shape(run: Megatron, seq_len: int) -> Shape:
    tokens = seq_len * run.micro_batch // run.cp
    return Shape(
        tokens // run.tp if run.sequence_parallel else tokens, tokens, run.micro_batch, seq_len // run.cp
    )


def norm(
    tape: Tape,
    run: Megatron,
    name: str,
    source: str,
    target: str,
    rows: int,
    width: int,
    module: str = "norm",
) -> None:
    """A norm keeps its input and an F32 mean and deviation a row (RMSNorm: the deviation)."""
    stats = rows * (4 if run.rms_norm else 8)
    tape.constant(f"{target}.stats")
    tape.op(
        name,
        source,
        {target: rows * width * run.num_bytes, f"{target}.stats": stats},
        f"{source} {target}.stats",
        module=module,
    )


def linear(
    tape: Tape,
    run: Megatron,
    name: str,
    source: str,
    target: str,
    num: int,
    *,
    column: bool,
    at: Shape,
    width: int,
    module: str = "",
) -> None:
    """A matrix product keeps its input. Under sequence parallelism a column-parallel one gathers it for a
    moment, forward and backward."""
    gathered = at.tokens * width * run.num_bytes if run.sequence_parallel else 0
    source = quantised(tape, run, source)
    tape.op(
        name,
        source,
        {target: num * run.num_bytes},
        source,
        module=module,
        product=True,
        forward_temp=gathered,
        backward_temp=gathered if column else 0,
    )


def quantised(tape: Tape, run: Megatron, source: str) -> str:
    """What a product of Transformer Engine keeps of its input: the tensor, or under FP8 a copy of a byte a
    value.

    Scales of blocks add 1/32 (mxfp8) or 1/32 (blockwise, F32 for 128 values) to it; those of whole tensors
    nothing.
    """
    if not run.fp8 or run.local:
        return source
    name = f"{source}.fp8"
    if name not in tape.sizes:
        values = tape.sizes[source] // run.num_bytes
        tape.op(
            "quantise",
            source,
            {name: values + (values // 32 if run.fp8_recipe in ("mxfp8", "blockwise") else 0)},
        )
    return name


def residual(tape: Tape, run: Megatron, name: str, source: str, skip: str, target: str, at: Shape) -> None:
    """Bias, dropout and addition in one; a mask of one byte an element is kept where there is dropout."""
    elements = at.residual * run.hidden
    if run.hidden_dropout:
        tape.constant(f"{target}.mask")
        tape.op(
            name,
            f"{source} {skip}",
            {target: elements * run.num_bytes, f"{target}.mask": elements},
            f"{target}.mask",
        )
    else:
        tape.op(name, f"{source} {skip}", {target: elements * run.num_bytes})


def attention(tape: Tape, run: Megatron, device: Device, source: str, at: Shape, masked: bool = True) -> str:
    """Norm, projections, attention and output projection; returns the name of the output before the
    residual."""
    norm(tape, run, "input_layernorm", source, "ln1", at.residual, run.hidden)
    if run.latent is not None:
        query, key, value, key_dim, value_dim, groups = _latent(tape, run, at)
    else:
        query, key, value = _qkv(tape, run, at)
        key_dim = value_dim = run.head_dim
        if not run.local and not query == key == value:
            query, key, value = _contiguous(tape, run, at, query, key, value)
        groups = max(run.query_groups // run.tp, 1)
    _core(tape, run, backend(run, device), at, query, key, value, key_dim, value_dim, groups, at.keys)
    linear(
        tape,
        run,
        "linear_proj",
        "context",
        "attention",
        at.residual * run.hidden,
        column=False,
        at=at,
        width=run.hidden,
        module="attn_proj",
    )
    return "attention"


def _qkv(tape: Tape, run: Megatron, at: Shape) -> tuple[str, str, str]:
    """Query, key and value as views of one product; copies where grouping, norms or rotation make new
    tensors."""
    b = run.num_bytes
    heads, groups = run.heads // run.tp, max(run.query_groups // run.tp, 1)
    q, kv = at.tokens * heads * run.head_dim, at.tokens * groups * run.head_dim
    linear(
        tape,
        run,
        "linear_qkv",
        "ln1",
        "qkv",
        q + 2 * kv,
        column=True,
        at=at,
        width=run.hidden,
        module="qkv_linear",
    )
    query = key = "qkv"
    if heads != groups:
        tape.op("group queries", "qkv", {"q": q * b})
        query = "q"
    if run.qk_norm:
        for name, size, rows in (("q", q, at.tokens * heads), ("k", kv, at.tokens * groups)):
            tape.op(f"{name} contiguous", query if name == "q" else "qkv", {f"{name}.in": size * b})
            norm(tape, run, f"{name}_layernorm", f"{name}.in", f"{name}.normed", rows, run.head_dim)
        query, key = "q.normed", "k.normed"
    if run.position in ("rope", "yarn"):
        temp = 0 if run.fused_rope else 2 * q * b
        tape.op("rotate queries", query, {"q.rotated": q * b}, forward_temp=temp, backward_temp=temp)
        tape.op("rotate keys", key, {"k.rotated": kv * b})
        query, key = "q.rotated", "k.rotated"
    return query, key, "qkv"


def _contiguous(
    tape: Tape, run: Megatron, at: Shape, query: str, key: str, value: str
) -> tuple[str, str, str]:
    """Transformer Engine takes views of one tensor as they are; if query, key and value are not that any
    more, each view is copied."""
    size = at.tokens * max(run.query_groups // run.tp, 1) * run.head_dim * run.num_bytes
    names = {}
    for what, name in (("key", key), ("value", value)):
        if name == "qkv":
            tape.op(f"{what} contiguous", "qkv", {what: size})
            names[what] = what
    return query, names.get("key", key), names.get("value", value)


def _latent(tape: Tape, run: Megatron, at: Shape) -> tuple[str, str, str, int, int, int]:
    """Multi-latent attention: both latents with their norms, then full heads of query, key and value."""
    latent, b = run.latent, run.num_bytes
    assert latent is not None
    heads, key_dim = run.heads // run.tp, latent.qk_dim + latent.rope_dim
    up = "mla_up_proj"
    if latent.q_rank:
        low = quantised(tape, run, "ln1")
        tape.op("linear_q_down_proj", low, {"q.low": at.residual * latent.q_rank * b}, low, product=True)
        source = "q.low"
        if run.qk_norm:
            norm(tape, run, "q_layernorm", "q.low", "q.lown", at.residual, latent.q_rank, module=up)
            source = "q.lown"
        linear(
            tape,
            run,
            "linear_q_up_proj",
            source,
            "q.up",
            at.tokens * heads * key_dim,
            column=True,
            at=at,
            width=latent.q_rank,
            module=up,
        )
    else:
        linear(
            tape,
            run,
            "linear_q_proj",
            "ln1",
            "q.up",
            at.tokens * heads * key_dim,
            column=True,
            at=at,
            width=run.hidden,
        )
    low = quantised(tape, run, "ln1")
    tape.op(
        "linear_kv_down_proj",
        low,
        {"kv.low": at.residual * (latent.kv_rank + latent.rope_dim) * b},
        low,
        product=True,
    )
    source = "kv.low"
    tape.op("split latent", "kv.low", {"kv.part": at.residual * latent.kv_rank * b}, module=up)
    source = "kv.part"
    if run.qk_norm:
        norm(tape, run, "kv_layernorm", "kv.part", "kv.lown", at.residual, latent.kv_rank, module=up)
        source = "kv.lown"
    width = latent.qk_dim + latent.v_dim
    linear(
        tape,
        run,
        "linear_kv_up_proj",
        source,
        "kv.up",
        at.tokens * heads * width,
        column=True,
        at=at,
        width=latent.kv_rank,
        module=up,
    )
    rows = at.tokens * heads
    tape.op("rotate queries", "q.up", {"query": rows * key_dim * b}, module=up)
    tape.op("rotate keys", "kv.up kv.low", {"key": rows * key_dim * b}, module=up)
    tape.op("values", "kv.up", {"value": rows * latent.v_dim * b}, module=up)
    return "query", "key", "value", key_dim, latent.v_dim, heads


def _core(
    tape: Tape,
    run: Megatron,
    kernel: Backend,
    at: Shape,
    query: str,
    key: str,
    value: str,
    key_dim: int,
    value_dim: int,
    groups: int,
    keys: int,
) -> None:
    """The attention itself. `context` is what the output projection reads."""
    b, heads = run.num_bytes, run.heads // run.tp
    read = " ".join(dict.fromkeys((query, key, value)))
    context, rows = at.tokens * heads * value_dim * b, at.tokens * heads
    match kernel:
        case "unfused":
            scores = rows * keys
            kept = {"weights": scores * b}
            if run.full_scores:
                tape.op(
                    "scale and mask in F32",
                    read,
                    {"scores32": scores * 4},
                    module="core_attn",
                    forward_temp=scores * b,
                )
                tape.op(
                    "softmax in F32", "scores32", {"weights32": scores * 4}, "weights32", module="core_attn"
                )
                tape.op("half", "weights32", kept, module="core_attn")
            else:
                tape.op("scores", read, {"scores": scores * b}, read, module="core_attn", product=True)
                tape.op("softmax", "scores", kept, "weights", module="core_attn")
            source = "weights"
            if run.attention_dropout:
                tape.constant("dropped.mask")
                tape.op(
                    "dropout",
                    "weights",
                    {"dropped": scores * b, "dropped.mask": scores},
                    "dropped.mask",
                    module="core_attn",
                )
                source = "dropped"
            tape.op(
                "context",
                f"{source} {value}",
                {"context.bhsd": context},
                f"{source} {value}",
                module="core_attn",
                product=True,
            )
            tape.op("permute", "context.bhsd", {"context": context}, module="core_attn")
        case "flash":
            tape.constant("lse")
            q, k = at.tokens * heads * key_dim * b, at.tokens * groups * key_dim * b
            made = {"q.bshd": q, "k.bshd": k, "v.bshd": at.tokens * groups * value_dim * b}
            tape.op("to bshd", read, made, module="core_attn")
            names = " ".join(made)
            tape.op(
                "flash attention",
                names,
                {"context.bshd": context, "lse": rows * 4},
                f"{names} context.bshd lse",
                module="core_attn",
                product=True,
            )
            tape.op("to sbhd", "context.bshd", {"context": context}, module="core_attn")
        case "fused":
            tape.constant("lse")
            tape.op(
                "cuDNN attention",
                read,
                {"context": context, "lse": rows * 4},
                f"{read} context lse",
                module="core_attn",
                product=True,
                backward_temp=rows * key_dim * 4,
            )


def cross_attention(tape: Tape, run: Megatron, device: Device, source: str, at: Shape, encoder: Shape) -> str:
    """T5: queries of the decoder, keys and values of the encoder's output."""
    b, heads = run.num_bytes, run.heads // run.tp
    width = heads * run.head_dim
    norm(tape, run, "pre_cross_attn_layernorm", source, "lnx", at.residual, run.hidden)
    linear(tape, run, "linear_q", "lnx", "xq", at.tokens * width, column=True, at=at, width=run.hidden)
    tape.sizes["encoded"] = encoder.residual * run.hidden * b
    tape.op("linear_kv", "encoded", {"xkv": 2 * encoder.tokens * width * b}, "", product=True)
    scores = at.tokens * heads * encoder.keys
    context = at.tokens * width * b
    kernel = backend(run, device)
    if kernel == "unfused":
        tape.op("cross scores", "xq xkv", {"xscores": scores * b}, "xq xkv", module="core_attn", product=True)
        tape.op("cross softmax", "xscores", {"xweights": scores * b}, "xweights", module="core_attn")
        weights = "xweights"
        if run.attention_dropout:
            tape.constant("xmask")
            tape.op(
                "cross dropout",
                "xweights",
                {"xdropped": scores * b, "xmask": scores},
                "xmask",
                module="core_attn",
            )
            weights = "xdropped"
        tape.op(
            "cross context",
            f"{weights} xkv",
            {"xcontext.bhsd": context},
            f"{weights} xkv",
            module="core_attn",
            product=True,
        )
        tape.op("cross permute", "xcontext.bhsd", {"xcontext": context}, module="core_attn")
    else:
        tape.op(
            "cross attention",
            "xq xkv",
            {"xcontext": context},
            "xq xkv xcontext",
            module="core_attn",
            product=True,
        )
    linear(
        tape,
        run,
        "cross proj",
        "xcontext",
        "cross",
        at.residual * run.hidden,
        column=False,
        at=at,
        width=run.hidden,
    )
    return "cross"
