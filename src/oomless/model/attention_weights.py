"""Kinds of attention -> their tensors: which weights each has, their shapes and how each may be cut."""

from collections.abc import Iterator
from typing import assert_never

from .attention import DSA, GQA, MLA, V4, V41, Attention, Linear, Sliding
from .model import WHOLE, Tensor
from .scope import Scope, columns, rows
from .storage import BF16, F32


def attention_tensors(attention: Attention, hidden: int, scope: Scope) -> Iterator[Tensor]:
    """Weights of one attention block. Counts are those of knowledge: models.md section 2, checked against
    models_index.csv.

    >>> from .scope import Storage
    >>> v3 = MLA(128, 1536, 512, 128, 64, 128)
    >>> sum(t.num_parameters for t in attention_tensors(v3, 7168, Scope((0,), Storage(BF16, BF16, BF16))))
    187107328
    """
    tensor = scope.tensor
    match attention:
        case GQA():
            yield from _gqa(attention, hidden, scope)
        case Sliding():
            yield from _gqa(attention.inner, hidden, scope)
        case MLA():
            yield from _mla(attention, hidden, scope)
        case DSA():
            yield from _mla(attention.mla, hidden, scope)
            if attention.owns_indexer:
                heads, dim = attention.index_heads, attention.index_head_dim
                yield tensor(
                    "self_attn.indexer.wq_b.weight", (heads * dim, attention.mla.q_lora_rank), "linear"
                )
                yield tensor("self_attn.indexer.wk.weight", (dim, hidden), "linear")
                # V3.2 stores the LayerNorm in F32 beside its FP8 weights; BF16 checkpoints keep it in their
                # own type
                norm = F32 if scope.stored.linear.block else scope.stored.plain
                yield tensor("self_attn.indexer.k_norm.weight", (dim,), norm)
                yield tensor("self_attn.indexer.k_norm.bias", (dim,), norm)
                yield tensor("self_attn.indexer.weights_proj.weight", (heads, hidden), "plain")
        case V4():
            yield from _v4(attention, hidden, scope)
            if attention.ratio:
                yield from _compressor("attn.compressor.", attention.ratio, attention.head_dim, hidden, scope)
            if attention.has_indexer:
                heads, dim = attention.index_heads, attention.index_head_dim
                yield tensor("attn.indexer.wq_b.weight", (heads * dim, attention.q_lora_rank), "linear")
                yield tensor("attn.indexer.weights_proj.weight", (heads, hidden), "plain")
                yield from _compressor("attn.indexer.compressor.", attention.ratio, dim, hidden, scope)
        case V41():
            yield from _v4(attention, hidden, scope)
            heads, dim = attention.index_heads, attention.index_head_dim
            if attention.owns_cache:
                yield tensor("attn.compressor.wkv.weight", (attention.head_dim, hidden), BF16)
                if attention.ratio > 1:
                    yield tensor("attn.compressor.wgate.weight", (attention.head_dim, hidden), BF16)
                yield tensor("attn.compressor.norm.weight", (attention.head_dim,), BF16)
                yield tensor("attn.indexer.wk.weight", (dim, attention.head_dim), BF16)
                yield tensor("attn.indexer.k_norm.weight", (dim,), BF16)
            if attention.owns_index:
                yield tensor("attn.indexer.wq_b.weight", (heads * dim, attention.q_lora_rank), "linear")
                yield tensor("attn.indexer.weights_proj.weight", (heads, hidden), "plain")
        case Linear():
            from .linear_attention_weights import linear_tensors  # most models have none

            yield from linear_tensors(attention, hidden, scope)
        case _:
            assert_never(attention)


def _gqa(a: GQA, hidden: int, scope: Scope) -> Iterator[Tensor]:
    """h*d*(n + 2kv) + n*d*h, with biases, gates, key and query norms, sinks where the kind has them."""
    if not a.num_heads:  # a block without attention (Nemotron-NAS)
        return
    value_dim = a.value_dim or a.head_dim
    query_dim = a.head_dim * (2 if a.gated else 1)
    projections = [
        ("q", a.num_heads, query_dim),
        ("k", a.num_kv_heads, a.head_dim),
        ("v", a.num_kv_heads, value_dim),
    ]
    for name, heads, dim in projections[: 2 if a.shares_values else 3]:
        yield scope.tensor(f"self_attn.{name}_proj.weight", (heads * dim, hidden), "linear", columns(heads))
        if a.qkv_bias:
            yield scope.tensor(f"self_attn.{name}_proj.bias", (heads * dim,), "plain", columns(heads))
    yield scope.tensor(
        "self_attn.o_proj.weight", (hidden, a.num_heads * value_dim), "linear", rows(a.num_heads)
    )
    if a.output_bias:
        yield scope.tensor("self_attn.o_proj.bias", (hidden,), "plain")
    if a.qk_norm:
        for name, heads in (("q", a.num_heads), ("k", a.num_kv_heads)):
            width = heads * a.head_dim if a.wide_norm else a.head_dim
            yield scope.tensor(
                f"self_attn.{name}_norm.weight", (width,), "plain", columns(heads) if a.wide_norm else WHOLE
            )
    if a.wide_gate:
        gate = (a.num_heads * value_dim, hidden)
        yield scope.tensor("self_attn.gate_proj.weight", gate, "linear", columns(a.num_heads))
    if a.head_gate:
        yield scope.tensor("self_attn.g_proj.weight", (a.num_heads, hidden), "linear", columns(a.num_heads))
    if a.index_heads:
        yield scope.tensor(
            "self_attn.index_q_proj.weight",
            (a.index_heads * a.index_dim, hidden),
            "linear",
            columns(a.index_heads),
        )
        yield scope.tensor("self_attn.index_k_proj.weight", (a.index_dim, hidden), "linear")
        yield scope.tensor("self_attn.index_q_norm.weight", (a.index_dim,), "plain")
        yield scope.tensor("self_attn.index_k_norm.weight", (a.index_dim,), "plain")
    if a.sinks:
        yield scope.tensor("self_attn.sinks", (a.num_heads,), "plain", columns(a.num_heads))
    if a.cross:
        yield scope.tensor("cross_attn_attn_gate", (1,), "plain")
        yield scope.tensor("cross_attn_mlp_gate", (1,), "plain")


def _mla(a: MLA, hidden: int, scope: Scope) -> Iterator[Tensor]:
    """h*r_q + r_q + r_q*n*(d_nope+d_rope) (or h*n*(...)), h*(r_kv+d_rope) + r_kv + r_kv*n*(d_nope+d_v) +
    n*d_v*h."""
    n, query = a.num_heads, a.qk_nope_head_dim + a.qk_rope_head_dim
    if a.q_lora_rank:
        yield scope.tensor("self_attn.q_a_proj.weight", (a.q_lora_rank, hidden), "linear")
        if a.bias:
            yield scope.tensor("self_attn.q_a_proj.bias", (a.q_lora_rank,), "plain")
        yield scope.tensor("self_attn.q_a_layernorm.weight", (a.q_lora_rank,), "plain")
        yield scope.tensor("self_attn.q_b_proj.weight", (n * query, a.q_lora_rank), "linear", columns(n))
    else:
        yield scope.tensor("self_attn.q_proj.weight", (n * query, hidden), "linear", columns(n))
    yield scope.tensor("self_attn.kv_a_proj_with_mqa.weight", (a.latent_dim, hidden), "linear")
    if a.bias:
        yield scope.tensor("self_attn.kv_a_proj_with_mqa.bias", (a.latent_dim,), "plain")
        yield scope.tensor("self_attn.o_proj.bias", (hidden,), "plain")
    yield scope.tensor("self_attn.kv_a_layernorm.weight", (a.kv_lora_rank,), "plain")
    yield scope.tensor(
        "self_attn.kv_b_proj.weight",
        (n * (a.qk_nope_head_dim + a.v_head_dim), a.kv_lora_rank),
        "linear",
        columns(n),
    )
    if a.gated:
        yield scope.tensor("self_attn.g_proj.weight", (n * a.v_head_dim, hidden), "linear", columns(n))
    yield scope.tensor("self_attn.o_proj.weight", (hidden, n * a.v_head_dim), "linear", rows(n))


def _v4(a: V4 | V41, hidden: int, scope: Scope) -> Iterator[Tensor]:
    """The part that V4's and V4.1's layers share: low-rank queries, one key-value head, grouped low-rank
    output, sinks."""
    width = a.num_heads * a.head_dim
    yield scope.tensor("attn.wq_a.weight", (a.q_lora_rank, hidden), "linear")
    yield scope.tensor("attn.q_norm.weight", (a.q_lora_rank,), "plain")
    yield scope.tensor("attn.wq_b.weight", (width, a.q_lora_rank), "linear", columns(a.num_heads))
    yield scope.tensor("attn.wkv.weight", (a.head_dim, hidden), "linear")
    yield scope.tensor("attn.kv_norm.weight", (a.head_dim,), "plain")
    yield scope.tensor(
        "attn.wo_a.weight", (a.o_groups * a.o_lora_rank, width // a.o_groups), "linear", columns(a.o_groups)
    )
    yield scope.tensor("attn.wo_b.weight", (hidden, a.o_groups * a.o_lora_rank), "linear", rows(a.o_groups))
    yield scope.tensor("attn.attn_sink", (a.num_heads,), F32, columns(a.num_heads))


def _compressor(prefix: str, ratio: int, dim: int, hidden: int, scope: Scope) -> Iterator[Tensor]:
    """V4's compressor: wkv and wgate (BF16), a position table (F32), a norm; ratio 4 keeps two overlapping
    windows."""
    width = dim * (2 if ratio == 4 else 1)
    yield scope.tensor(prefix + "wkv.weight", (width, hidden), BF16)
    yield scope.tensor(prefix + "wgate.weight", (width, hidden), BF16)
    yield scope.tensor(prefix + "ape", (ratio, width), F32)
    yield scope.tensor(prefix + "norm.weight", (dim,), BF16)
