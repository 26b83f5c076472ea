"""Kinds of layers -> their tensors. The only file that knows which weights a kind has, their shapes and how
each may be cut."""

from collections.abc import Iterator
from typing import NamedTuple, assert_never

from .attention import DSA, GQA, MLA, V4, V41, Attention, Linear, Sliding
from .feedforward import Dense, FeedForward, MoE
from .model import EMBEDDING, HEAD, VOCABULARY, WHOLE, Cut, Layer, Part, Role, Tensor
from .storage import BF16, F32, I64, Format, Shape


class Storage(NamedTuple):
    """How a checkpoint stores each class of weight."""

    plain: Format
    """Embeddings, norms, routers, biases."""
    linear: Format
    """Matrices of attention, dense and shared feed-forward."""
    expert: Format
    """Matrices of routed experts."""

    def of(self, role: Role) -> Format:
        match role:
            case "plain":
                return self.plain
            case "linear":
                return self.linear
            case "expert":
                return self.expert
            case _:
                assert_never(role)


class Scope(NamedTuple):
    """Where a group of tensors belongs: the layers that have it, how they are stored, under which prefix, in
    which part."""

    layers: tuple[int, ...]
    stored: Storage
    prefix: str = "model.layers.{}."
    part: Part = "main"

    def tensor(
        self, name: str, shape: Shape, stored: Role | Format, cut: Cut = WHOLE, repeat: int = 1
    ) -> Tensor:
        """A group in this scope. A Format instead of a role is for weights whose type no quantisation
        changes."""
        role: Role = stored if isinstance(stored, str) else "plain"
        form = stored if isinstance(stored, Format) else self.stored.of(stored)
        return Tensor(self.prefix + name, shape, form, cut, self.layers, repeat, role, self.part)


def columns(units: int) -> Cut:
    return Cut("column", units)


def rows(units: int) -> Cut:
    return Cut("row", units)


def attention_tensors(attention: Attention, hidden: int, scope: Scope) -> Iterator[Tensor]:
    """Weights of one attention block. Counts are those of knowledge: models.md section 2, checked against
    models_index.csv.

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
            yield from _linear(attention, hidden, scope)
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


def _linear(a: Linear, hidden: int, scope: Scope) -> Iterator[Tensor]:
    """Projections in and out, a convolution over the last tokens, decay and step of each head, a norm before
    the output.

    >>> qwen = Linear(16, 48, 128, 128, 4)
    >>> sum(t.num_parameters for t in attention_tensors(qwen, 5120, Scope((0,), Storage(BF16, BF16, BF16))))
    115876064
    """
    keys, values, heads = a.key_width, a.value_width, a.num_value_heads
    name = "linear_attn."
    match a.variant:
        case "gdn":
            for key, width in (("q", keys), ("k", keys), ("v", values), ("z", values)):
                yield scope.tensor(
                    f"{name}in_proj_{key}.weight", (width, hidden), "linear", columns(a.num_key_heads)
                )
            for key in ("b", "a"):  # two rows a head are not worth quantising: formats leave them out
                yield scope.tensor(f"{name}in_proj_{key}.weight", (heads, hidden), "plain", columns(heads))
            yield scope.tensor(
                f"{name}conv1d.weight", (a.conv_width, 1, a.conv_kernel), "plain", columns(a.num_key_heads)
            )
            yield scope.tensor(f"{name}dt_bias", (heads,), "plain", columns(heads))
            yield scope.tensor(f"{name}A_log", (heads,), "plain", columns(heads))
            yield scope.tensor(f"{name}norm.weight", (a.value_head_dim,), "plain")
            yield scope.tensor(f"{name}out_proj.weight", (hidden, values), "linear", rows(heads))
        case "mamba2":
            width = values + a.conv_width + heads
            yield scope.tensor("mamba.in_proj.weight", (width, hidden), "linear", columns(heads))
            yield scope.tensor(
                "mamba.conv1d.weight", (a.conv_width, 1, a.conv_kernel), "plain", columns(heads)
            )
            if a.conv_bias:
                yield scope.tensor("mamba.conv1d.bias", (a.conv_width,), "plain", columns(heads))
            for key in ("A_log", "D", "dt_bias"):
                yield scope.tensor(f"mamba.{key}", (heads,), "plain", columns(heads))
            if a.plain_norm:
                yield scope.tensor("mamba.norm.weight", (values,), "plain", columns(heads))
            yield scope.tensor("mamba.out_proj.weight", (hidden, values), "linear", rows(heads))
        case "short_conv":
            yield scope.tensor("conv.in_proj.weight", (3 * values, hidden), "linear", columns(values))
            yield scope.tensor("conv.conv.weight", (values, 1, a.conv_kernel), "plain", columns(values))
            if a.conv_bias:  # LFM2's one key is for both projections too
                yield scope.tensor("conv.in_proj.bias", (3 * values,), "plain", columns(values))
                yield scope.tensor("conv.conv.bias", (values,), "plain", columns(values))
                yield scope.tensor("conv.out_proj.bias", (hidden,), "plain")
            yield scope.tensor("conv.out_proj.weight", (hidden, values), "linear", rows(values))
        case "mamba1":
            state, rank = a.key_head_dim, a.rank
            yield scope.tensor("mamba.in_proj.weight", (2 * values, hidden), "linear", columns(values))
            yield scope.tensor("mamba.conv1d.weight", (values, 1, a.conv_kernel), "plain", columns(values))
            if a.conv_bias:
                yield scope.tensor("mamba.conv1d.bias", (values,), "plain", columns(values))
            yield scope.tensor("mamba.x_proj.weight", (rank + 2 * state, values), "linear", rows(values))
            yield scope.tensor("mamba.dt_proj.weight", (values, rank), "linear", columns(values))
            yield scope.tensor("mamba.dt_proj.bias", (values,), "plain", columns(values))
            yield scope.tensor("mamba.A_log", (values, state), "plain", columns(values))
            yield scope.tensor("mamba.D", (values,), "plain", columns(values))
            for key, width in (("dt", rank), ("b", state), ("c", state)) if a.inner_norms else ():
                yield scope.tensor(f"mamba.{key}_layernorm.weight", (width,), "plain")
            yield scope.tensor("mamba.out_proj.weight", (hidden, values), "linear", rows(values))
        case "kda":
            for key, width in (("q", keys), ("k", keys), ("v", values)):
                yield scope.tensor(f"self_attn.{key}_proj.weight", (width, hidden), "linear", columns(heads))
            yield scope.tensor(
                "self_attn.conv1d.weight", (a.conv_width, 1, a.conv_kernel), "plain", columns(heads)
            )
            if a.rank:
                yield scope.tensor("self_attn.f_a_proj.weight", (a.rank, hidden), "linear")
                yield scope.tensor("self_attn.f_b_proj.weight", (values, a.rank), "linear", columns(heads))
            else:
                yield scope.tensor("self_attn.f_proj.weight", (values, hidden), "linear", columns(heads))
            if a.full_gate:
                yield scope.tensor("self_attn.g_proj.weight", (values, hidden), "linear", columns(heads))
            else:
                yield scope.tensor("self_attn.g_a_proj.weight", (a.rank, hidden), "linear")
                yield scope.tensor("self_attn.g_b_proj.weight", (values, a.rank), "linear", columns(heads))
            yield scope.tensor("self_attn.b_proj.weight", (heads, hidden), "linear", columns(heads))
            yield scope.tensor("self_attn.dt_bias", (values,), F32, columns(heads))
            yield scope.tensor("self_attn.A_log", (heads,), F32, columns(heads))
            yield scope.tensor("self_attn.o_norm.weight", (a.value_head_dim,), "plain")
            yield scope.tensor("self_attn.o_proj.weight", (hidden, values), "linear", rows(heads))
        case _:
            assert_never(a.variant)


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


def ffn_tensors(
    ffn: FeedForward, hidden: int, vocab: int, scope: Scope, name: str = "mlp."
) -> Iterator[Tensor]:
    """Weights of one feed-forward block.

    >>> v3 = MoE(256, 8, 2048, shared_width=2048, router_biases=1)
    >>> sum(t.num_parameters for t in ffn_tensors(v3, 7168, 129280, Scope((3,), Storage(BF16, BF16, BF16))))
    11320164608
    """
    match ffn:
        case Dense():
            names = ("gate_proj", "up_proj") if ffn.gated else ("up_proj",)
            width = ffn.intermediate_size
            if not width:
                return
            for part in names:
                yield scope.tensor(f"{name}{part}.weight", (width, hidden), "linear", columns(width))
                if ffn.bias:
                    yield scope.tensor(f"{name}{part}.bias", (width,), "plain", columns(width))
            yield scope.tensor(f"{name}down_proj.weight", (hidden, width), "linear", rows(width))
            if ffn.bias:
                yield scope.tensor(f"{name}down_proj.bias", (hidden,), "plain")
        case MoE():
            experts, width = ffn.num_experts, ffn.expert_width
            yield scope.tensor(f"{name}gate.weight", (experts, hidden), "plain")
            if ffn.router_linear_bias:
                yield scope.tensor(f"{name}gate.bias", (experts,), "plain")
            if ffn.hash_routed:
                yield scope.tensor(f"{name}gate.tid2eid", (vocab, ffn.num_active_experts), I64)._replace(
                    lookup=True
                )
            elif ffn.router_biases:
                bias = f"{name}gate.e_score_correction_bias"
                yield scope.tensor(bias, (experts,), F32, repeat=ffn.router_biases)
            inner = ffn.latent_width or hidden
            if ffn.latent_width:
                yield scope.tensor(f"{name}fc1_latent_proj.weight", (inner, hidden), "linear")
                yield scope.tensor(f"{name}fc2_latent_proj.weight", (hidden, inner), "linear")
            for part in ("gate_proj", "up_proj") if ffn.gated else ("up_proj",):
                yield scope.tensor(
                    f"{name}experts.{part}.weight", (width, inner), "expert", columns(width), experts
                )
            yield scope.tensor(
                f"{name}experts.down_proj.weight", (inner, width), "expert", rows(width), experts
            )
            if ffn.expert_bias:
                for part, out in (("gate_proj", width), ("up_proj", width), ("down_proj", hidden)):
                    cut = columns(width) if out == width and part != "down_proj" else WHOLE
                    biases = scope.tensor(
                        f"{name}experts.{part}.bias", (out,), scope.stored.plain, cut, experts
                    )
                    yield biases._replace(role="expert")
            if ffn.shared_width:
                shared = Dense(ffn.shared_width, ffn.shared_bias, ffn.gated)
                yield from ffn_tensors(shared, hidden, vocab, scope, f"{name}shared_experts.")
            if ffn.dense_width:
                yield from ffn_tensors(Dense(ffn.dense_width), hidden, vocab, scope, f"{name}beside.")
            if ffn.shared_gate:
                yield scope.tensor(f"{name}shared_expert_gate.weight", (1, hidden), "plain")
        case _:
            assert_never(ffn)


class BlockNorms(NamedTuple):
    """The norms of a block and whether they have biases (LayerNorm) beside their weights."""

    names: tuple[str, ...] = ("input", "post_attention")
    bias: bool = False
    weight: bool = True
    """False: norms without parameters (OLMo-1)."""

    def tensors(self, hidden: int, scope: Scope) -> Iterator[Tensor]:
        for name in self.names:
            if self.weight:
                yield scope.tensor(f"{name}_layernorm.weight", (hidden,), "plain")
            if self.bias:
                yield scope.tensor(f"{name}_layernorm.bias", (hidden,), "plain")


PAIR = BlockNorms()
"""One norm before attention and one before the feed-forward block: most decoders."""


def block_tensors(
    layer: Layer, hidden: int, vocab: int, scope: Scope, norms: BlockNorms = PAIR
) -> Iterator[Tensor]:
    """One layer: attention, feed-forward and its norms."""
    yield from attention_tensors(layer.attention, hidden, scope)
    yield from ffn_tensors(layer.ffn, hidden, vocab, scope)
    yield from norms.tensors(hidden, scope)


def stack_tensors(
    layers: tuple[Layer, ...], hidden: int, vocab: int, stored: Storage, norms: BlockNorms = PAIR
) -> Iterator[Tensor]:
    """All layers of a plain decoder; equal layers become one group of tensors."""
    for layer, indices in equal_layers(layers):
        yield from block_tensors(layer, hidden, vocab, Scope(indices, stored), norms)


def equal_layers(layers: tuple[Layer, ...]) -> list[tuple[Layer, tuple[int, ...]]]:
    """The distinct layers, each with the indices that have it. Kinds carry their name, so no two kinds
    compare equal."""
    groups: dict[Layer, list[int]] = {}
    for index, layer in enumerate(layers):
        groups.setdefault(layer, []).append(index)
    return [(layer, tuple(indices)) for layer, indices in groups.items()]


def ends(
    hidden: int, vocab: int, stored: Storage, tied: bool, norms: BlockNorms = PAIR, head_bias: bool = False
) -> Iterator[Tensor]:
    """Embedding, last norm, and a head unless the embedding serves as one."""
    yield Tensor(EMBEDDING, (vocab, hidden), stored.plain, VOCABULARY, lookup=True)
    if norms.weight:
        yield Tensor("model.norm.weight", (hidden,), stored.plain)
    if norms.bias:
        yield Tensor("model.norm.bias", (hidden,), stored.plain)
    if not tied:
        yield Tensor(HEAD, (vocab, hidden), stored.plain, VOCABULARY)
    if head_bias:
        yield Tensor("lm_head.bias", (vocab,), stored.plain, VOCABULARY)
