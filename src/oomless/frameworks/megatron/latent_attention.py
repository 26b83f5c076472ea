"""Multi-latent attention of Megatron-LM: both latents with their norms, then full heads."""

from .core_attention import Heads
from .operations import Shape, Tape, linear, norm, quantised
from .run import Latent, Megatron

UP = "mla_up_proj"
"""Module of the up-projections and what is made of them, as --recompute-modules calls it."""


def latent_heads(tape: Tape, run: Megatron, at: Shape) -> Heads:
    """Query, key and value of all heads of a rank."""
    latent, b = run.latent, run.num_bytes
    assert latent is not None
    rows, key_dim = at.tokens * (run.heads // run.tp), latent.qk_dim + latent.rope_dim
    _query(tape, run, at, latent)
    _key_value(tape, run, at, latent)
    tape.op("rotate queries", "q.up", {"query": rows * key_dim * b}, module=UP)
    tape.op("rotate keys", "kv.up kv.low", {"key": rows * key_dim * b}, module=UP)
    tape.op("values", "kv.up", {"value": rows * latent.v_dim * b}, module=UP)
    return Heads("query", "key", "value", key_dim, latent.v_dim, run.heads // run.tp)


def _query(tape: Tape, run: Megatron, at: Shape, latent: Latent) -> None:
    """Queries, straight from the hidden state or through a latent of their own."""
    values = at.tokens * (run.heads // run.tp) * (latent.qk_dim + latent.rope_dim)
    if not latent.q_rank:
        linear(tape, run, "linear_q_proj", "ln1", "q.up", values, at=at, width=run.hidden)
        return
    low = quantised(tape, run, "ln1")
    made = {"q.low": at.residual * latent.q_rank * run.num_bytes}
    tape.op("linear_q_down_proj", low, made, low, product=True)
    source = "q.low"
    if run.qk_norm:
        norm(tape, run, "q_layernorm", "q.low", "q.lown", at.residual, latent.q_rank, module=UP)
        source = "q.lown"
    linear(
        tape,
        run,
        "linear_q_up_proj",
        source,
        "q.up",
        values,
        at=at,
        width=latent.q_rank,
        module=UP,
    )


def _key_value(tape: Tape, run: Megatron, at: Shape, latent: Latent) -> None:
    """Keys without rotation, and values, through their latent; beside it the rotary key that all heads
    share."""
    low = quantised(tape, run, "ln1")
    width = latent.kv_rank + latent.rope_dim
    made = {"kv.low": at.residual * width * run.num_bytes}
    tape.op("linear_kv_down_proj", low, made, low, product=True)
    part = {"kv.part": at.residual * latent.kv_rank * run.num_bytes}
    tape.op("split latent", "kv.low", part, module=UP)
    source = "kv.part"
    if run.qk_norm:
        norm(tape, run, "kv_layernorm", "kv.part", "kv.lown", at.residual, latent.kv_rank, module=UP)
        source = "kv.lown"
    linear(
        tape,
        run,
        "linear_kv_up_proj",
        source,
        "kv.up",
        at.tokens * (run.heads // run.tp) * (latent.qk_dim + latent.v_dim),
        at=at,
        width=latent.kv_rank,
        module=UP,
    )
