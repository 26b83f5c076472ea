"""Self attention of Megatron-LM: what Transformer Engine's three backends and the local spec keep
for the backward.

Read in Transformer Engine 2.x attention/dot_product_attention (utils.get_attention_backend, backends.py) and
Megatron-LM core/transformer (attention.py, dot_product_attention.py, multi_latent_attention.py).
"""

from .core_attention import CORE, Backend, Heads, core_attention
from .environment import Device
from .operations import Tape, back_to_residual, linear, norm, quantised
from .run import Latent, Megatron


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


def attention(tape: Tape, device: Device, source: str) -> str:
    """Norm, projections, attention and output projection; returns the name of the output before the
    residual."""
    run, at = tape.run, tape.at
    norm(tape, "input_layernorm", source, "ln1", at.residual, run.hidden)
    heads = latent_heads(tape) if run.latent is not None else grouped_heads(tape)
    context = core_attention(tape, backend(run, device), heads)
    back_to_residual(
        tape,
        "linear_proj",
        context,
        "attention",
        module="attn_proj",
        kept_beside=CORE not in run.recompute_modules,
    )
    return "attention"


def grouped_heads(tape: Tape) -> Heads:
    """Query, key and value of one product. Transformer Engine takes views of one tensor as they are; if they
    are not that any more, each view is copied."""
    run = tape.run
    query, key, value = _qkv(tape)
    if not run.local and not query == key == value:
        query, key, value = _contiguous(tape, query, key, value)
    groups = max(run.query_groups // run.tp, 1)
    return Heads(query, key, value, run.head_dim, run.head_dim, groups)


def _qkv(tape: Tape) -> tuple[str, str, str]:
    """Query, key and value as views of one product; copies where grouping, norms or rotation make new
    tensors."""
    run, at = tape.run, tape.at
    b = run.num_bytes
    heads, groups = run.heads // run.tp, max(run.query_groups // run.tp, 1)
    q, kv = at.tokens * heads * run.head_dim, at.tokens * groups * run.head_dim
    linear(
        tape,
        "linear_qkv",
        "ln1",
        "qkv",
        q + 2 * kv,
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
            norm(tape, f"{name}_layernorm", f"{name}.in", f"{name}.normed", rows, run.head_dim)
        query, key = "q.normed", "k.normed"
    if run.position in ("rope", "yarn"):
        fused = run.fused_rope and run.position == "rope"  # training/arguments.py, validate_args
        temp = 0 if fused else 2 * q * b
        tape.op("rotate queries", query, {"q.rotated": q * b}, forward_temp=temp, backward_temp=temp)
        tape.op("rotate keys", key, {"k.rotated": kv * b})
        query, key = "q.rotated", "k.rotated"
    return query, key, "qkv"


def _contiguous(tape: Tape, query: str, key: str, value: str) -> tuple[str, str, str]:
    """Transformer Engine takes views of one tensor as they are; if query, key and value are not that any
    more, each view is copied."""
    run, at = tape.run, tape.at
    size = at.tokens * max(run.query_groups // run.tp, 1) * run.head_dim * run.num_bytes
    names = {}
    for what, name in (("key", key), ("value", value)):
        if name == "qkv":
            tape.op(f"{what} contiguous", "qkv", {what: size})
            names[what] = what
    return query, names.get("key", key), names.get("value", value)


UP = "mla_up_proj"
"""Module of the up-projections and what is made of them, as --recompute-modules calls it."""


def latent_heads(tape: Tape) -> Heads:
    """Query, key and value of all heads of a rank."""
    run, at = tape.run, tape.at
    latent, b = run.latent, run.num_bytes
    assert latent is not None
    rows, key_dim = at.tokens * (run.heads // run.tp), latent.qk_dim + latent.rope_dim
    _query(tape, latent)
    _key_value(tape, latent)
    tape.op("rotate queries", "q.up", {"query": rows * key_dim * b}, module=UP)
    tape.op("rotate keys", "kv.up kv.low", {"key": rows * key_dim * b}, module=UP)
    tape.op("values", "kv.up", {"value": rows * latent.v_dim * b}, module=UP)
    return Heads("query", "key", "value", key_dim, latent.v_dim, run.heads // run.tp)


def _query(tape: Tape, latent: Latent) -> None:
    """Queries, straight from the hidden state or through a latent of their own."""
    run, at = tape.run, tape.at
    values = at.tokens * (run.heads // run.tp) * (latent.qk_dim + latent.rope_dim)
    if not latent.q_rank:
        linear(tape, "linear_q_proj", "ln1", "q.up", values, width=run.hidden)
        return
    low = quantised(tape, "ln1")
    made = {"q.low": at.residual * latent.q_rank * run.num_bytes}
    tape.op("linear_q_down_proj", low, made, low, product=True)
    source = "q.low"
    if run.qk_norm:
        norm(tape, "q_layernorm", "q.low", "q.lown", at.residual, latent.q_rank, module=UP)
        source = "q.lown"
    linear(
        tape,
        "linear_q_up_proj",
        source,
        "q.up",
        values,
        width=latent.q_rank,
        module=UP,
    )


def _key_value(tape: Tape, latent: Latent) -> None:
    """Keys without rotation, and values, through their latent; beside it the rotary key that all heads
    share."""
    run, at = tape.run, tape.at
    low = quantised(tape, "ln1")
    width = latent.kv_rank + latent.rope_dim
    made = {"kv.low": at.residual * width * run.num_bytes}
    tape.op("linear_kv_down_proj", low, made, low, product=True)
    part = {"kv.part": at.residual * latent.kv_rank * run.num_bytes}
    tape.op("split latent", "kv.low", part, module=UP)
    source = "kv.part"
    if run.qk_norm:
        norm(tape, "kv_layernorm", "kv.part", "kv.lown", at.residual, latent.kv_rank, module=UP)
        source = "kv.lown"
    linear(
        tape,
        "linear_kv_up_proj",
        source,
        "kv.up",
        at.tokens * (run.heads // run.tp) * (latent.qk_dim + latent.v_dim),
        width=latent.kv_rank,
        module=UP,
    )
