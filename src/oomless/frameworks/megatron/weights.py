"""The parameters that Megatron-LM builds from its arguments, as groups with the way each one is cut, and a
rank's share of them."""

from collections.abc import Iterator
from functools import lru_cache
from math import prod
from typing import NamedTuple

from ...errors import UsageError
from ...model.model import VOCABULARY, WHOLE, Cut, Tensor
from ...model.storage import BF16, F16, F32, Format
from .placement import Chunk
from .run import Megatron, MegatronExperts

COLUMN, ROW = Cut("column"), Cut("row")


class Weight(NamedTuple):
    """One parameter of one rank."""

    name: str
    num: int
    """Elements."""
    rows: int
    """1: a vector."""
    expert: bool
    product: bool
    """A matrix that a linear module of Transformer Engine multiplies with."""


NO_PRODUCT = ("embeddings", "output_layer", "router", "conv1d", "lm_head", "pooler", "binary_head")
"""Matrices that are looked up, or that PyTorch multiplies with."""


def rank_weights(run: Megatron, chunk: Chunk) -> tuple[Weight, ...]:
    """A model chunk's parameters on one rank, in the order in which modules are built."""
    return _rank_weights(run.without_step, chunk)


@lru_cache(maxsize=256)
def _rank_weights(run: Megatron, chunk: Chunk) -> tuple[Weight, ...]:
    found: list[Weight] = []
    for tensor, repeat in _of_chunk(run, chunk):
        rows = tensor.shape[0] if len(tensor.shape) > 1 else 1
        expert = tensor.role == "expert"
        ranks = 1 if tensor.cut.how == "whole" else run.etp if expert else run.tp
        separate = expert and (run.ep > 1 or run.etp != run.tp)
        product = rows > 1 and not any(part in tensor.name for part in NO_PRODUCT)
        found += [Weight(tensor.name, prod(tensor.shape) // ranks, rows, separate, product)] * repeat
        if len(found) > MOST_TENSORS:
            raise UsageError(
                f"a rank has more than {MOST_TENSORS} parameters",
                "give fewer layers or experts, or more expert-parallel ranks",
            )
    return tuple(found)


MOST_TENSORS = 200_000


def _of_chunk(run: Megatron, chunk: Chunk) -> Iterator[tuple[Tensor, int]]:
    if chunk.embedding:
        yield from ((tensor, 1) for tensor in embedding(run))
    if run.encoder_layers and chunk.embedding:
        for index in range(run.encoder_layers):
            yield from ((tensor, 1) for tensor in attention_and_mlp(run, f"encoder.{index}"))
        yield from ((tensor, 1) for tensor in norm(run, "encoder.final_layernorm"))
    for index in chunk.layers:
        for tensor in layer(run, index):
            yield tensor, tensor.repeat // run.ep if tensor.role == "expert" else tensor.repeat
    if chunk.loss:
        yield from ((tensor, 1) for tensor in norm(run, "decoder.final_layernorm"))
    for index in range(chunk.mtp):
        for tensor in mtp(run, index):
            yield tensor, tensor.repeat // run.ep if tensor.role == "expert" else tensor.repeat
    if chunk.mtp and chunk.words and not chunk.embedding:
        yield next(embedding(run)), 1
    if chunk.loss:
        yield from ((tensor, 1) for tensor in head(run, shared=run.tied and chunk.embedding))


def format_of(run: Megatron) -> Format:
    return {"bf16": BF16, "fp16": F16, "fp32": F32}[run.dtype]


def _tensor(
    run: Megatron, name: str, *shape: int, cut: Cut = WHOLE, repeat: int = 1, expert: bool = False
) -> Tensor:
    return Tensor(name, shape, format_of(run), cut, repeat=repeat, role="expert" if expert else "plain")


def embedding(run: Megatron) -> Iterator[Tensor]:
    """Word embedding, learned positions, and BERT's two token types."""
    yield _tensor(run, "embedding.word_embeddings.weight", run.padded_vocab, run.hidden, cut=VOCABULARY)
    if run.position == "learned_absolute":
        yield _tensor(run, "embedding.position_embeddings.weight", run.max_positions, run.hidden)
    if run.family == "bert" and run.binary_head:
        yield _tensor(run, "embedding.tokentype_embeddings.weight", 2, run.hidden)


def norm(run: Megatron, name: str, width: int = 0) -> Iterator[Tensor]:
    yield _tensor(run, f"{name}.weight", width or run.hidden)
    if not run.rms_norm:
        yield _tensor(run, f"{name}.bias", width or run.hidden)


def head(run: Megatron, shared: bool) -> Iterator[Tensor]:
    """Output layer; BERT has a dense layer with a norm before it, and a pooler with two classes beside it."""
    h = run.hidden
    if run.family == "bert":
        yield _tensor(run, "lm_head.dense.weight", h, h)
        yield _tensor(run, "lm_head.dense.bias", h)
        yield from norm(run, "lm_head.layer_norm")
    if not shared:
        yield _tensor(run, "output_layer.weight", run.padded_vocab, h, cut=VOCABULARY)
    if run.family in ("bert", "t5"):
        yield _tensor(run, "output_layer.bias", run.padded_vocab, cut=VOCABULARY)
    if run.family == "bert" and run.binary_head:
        yield _tensor(run, "pooler.dense.weight", h, h)
        yield _tensor(run, "pooler.dense.bias", h)
        yield _tensor(run, "binary_head.weight", 2, h)
        yield _tensor(run, "binary_head.bias", 2)


def layer(run: Megatron, index: int) -> Iterator[Tensor]:
    """A decoder layer, by its kind."""
    kind = run.kinds.replace("|", "")[index]
    name = f"decoder.{index}"
    if kind == "M":
        yield from mamba(run, name)
    elif kind == "*":
        yield from attention(run, name)
    elif kind == "-":
        yield from mlp(run, name)
    elif kind == "E":
        yield from experts(run, name)
    elif kind == "e":
        yield from attention(run, name)
        yield from experts(run, name)
    elif run.family == "t5":
        yield from attention(run, name)
        yield from cross_attention(run, name)
        yield from mlp(run, name)
    else:
        yield from attention_and_mlp(run, name)


def attention_and_mlp(run: Megatron, name: str) -> Iterator[Tensor]:
    yield from attention(run, name)
    yield from mlp(run, name)


def _linear(run: Megatron, name: str, out: int, into: int, cut: Cut, bias: bool) -> Iterator[Tensor]:
    yield _tensor(run, f"{name}.weight", out, into, cut=cut)
    if bias:
        yield _tensor(run, f"{name}.bias", out, cut=COLUMN if cut is COLUMN else WHOLE)


def attention(run: Megatron, name: str) -> Iterator[Tensor]:
    """Input norm, query-key-value projection, output projection; or latent attention's five matrices."""
    yield from norm(run, f"{name}.input_layernorm")
    if run.latent is not None:
        yield from _latent(run, f"{name}.self_attention")
        return
    width = run.heads * run.head_dim
    if run.qk_norm:
        yield from norm(run, f"{name}.self_attention.q_layernorm", run.head_dim)
        yield from norm(run, f"{name}.self_attention.k_layernorm", run.head_dim)
    yield from _linear(run, f"{name}.self_attention.linear_proj", run.hidden, width, ROW, run.bias)
    yield from _linear(
        run,
        f"{name}.self_attention.linear_qkv",
        width + 2 * run.query_groups * run.head_dim,
        run.hidden,
        COLUMN,
        run.qkv_bias,
    )


def _latent(run: Megatron, name: str) -> Iterator[Tensor]:
    latent, heads, h = run.latent, run.heads, run.hidden
    assert latent is not None
    yield from _linear(run, f"{name}.linear_proj", h, heads * latent.v_dim, ROW, run.bias)
    query = heads * (latent.qk_dim + latent.rope_dim)
    if latent.q_rank:
        yield from _linear(run, f"{name}.linear_q_down_proj", latent.q_rank, h, WHOLE, False)
        yield from _linear(run, f"{name}.linear_q_up_proj", query, latent.q_rank, COLUMN, False)
    else:
        yield from _linear(run, f"{name}.linear_q_proj", query, h, COLUMN, False)
    yield from _linear(run, f"{name}.linear_kv_down_proj", latent.kv_rank + latent.rope_dim, h, WHOLE, False)
    yield from _linear(
        run,
        f"{name}.linear_kv_up_proj",
        heads * (latent.qk_dim + latent.v_dim),
        latent.kv_rank,
        COLUMN,
        False,
    )
    if run.qk_norm:
        if latent.q_rank:
            yield from norm(run, f"{name}.q_layernorm", latent.q_rank)
        yield from norm(run, f"{name}.kv_layernorm", latent.kv_rank)


def cross_attention(run: Megatron, name: str) -> Iterator[Tensor]:
    """Yield the norm, queries, keys with values, and output of a decoder's look at its encoder."""
    width = run.heads * run.head_dim
    yield from norm(run, f"{name}.pre_cross_attn_layernorm")
    yield from _linear(run, f"{name}.cross_attention.linear_proj", run.hidden, width, ROW, run.bias)
    yield from _linear(run, f"{name}.cross_attention.linear_q", width, run.hidden, COLUMN, run.bias)
    yield from _linear(run, f"{name}.cross_attention.linear_kv", 2 * width, run.hidden, COLUMN, run.bias)


def mlp(run: Megatron, name: str) -> Iterator[Tensor]:
    """Yield the norm and the two matrices of a feed-forward, the first with its gate."""
    yield from norm(run, f"{name}.pre_mlp_layernorm")
    yield from _linear(
        run, f"{name}.mlp.linear_fc1", run.ffn * (2 if run.gated else 1), run.hidden, COLUMN, run.bias
    )
    yield from _linear(run, f"{name}.mlp.linear_fc2", run.hidden, run.ffn, ROW, run.bias)


def experts(run: Megatron, name: str) -> Iterator[Tensor]:
    """Norm, router, routed experts (grouped or one module each), shared experts."""
    kind = run.experts
    assert kind is not None
    yield from norm(run, f"{name}.pre_mlp_layernorm")
    yield _tensor(run, f"{name}.mlp.router.weight", kind.num, run.hidden)
    yield from _routed(run, f"{name}.mlp.experts", kind)
    if kind.shared_width:
        yield from _linear(
            run,
            f"{name}.mlp.shared_experts.linear_fc1",
            kind.shared_width * (2 if run.gated else 1),
            run.hidden,
            COLUMN,
            run.bias,
        )
        yield from _linear(
            run, f"{name}.mlp.shared_experts.linear_fc2", run.hidden, kind.shared_width, ROW, run.bias
        )


def _routed(run: Megatron, name: str, kind: MegatronExperts) -> Iterator[Tensor]:
    width = kind.latent or run.hidden
    if kind.latent:
        yield from _linear(run, f"{name}.fc1_latent_proj", kind.latent, run.hidden, WHOLE, run.bias)
        yield from _linear(run, f"{name}.fc2_latent_proj", run.hidden, kind.latent, WHOLE, run.bias)
    up = kind.width * (2 if run.gated else 1)
    yield _tensor(run, f"{name}.linear_fc1.weight", up, width, cut=COLUMN, repeat=kind.num, expert=True)
    if run.bias:
        yield _tensor(run, f"{name}.linear_fc1.bias", up, cut=COLUMN, repeat=kind.num, expert=True)
    yield _tensor(run, f"{name}.linear_fc2.weight", width, kind.width, cut=ROW, repeat=kind.num, expert=True)
    if run.bias:
        yield _tensor(run, f"{name}.linear_fc2.bias", width, repeat=kind.num, expert=True)


def mamba(run: Megatron, name: str) -> Iterator[Tensor]:
    """Mamba-2 mixer: input projection for z, x, B, C and dt; a convolution over x, B and C; output
    projection."""
    kind = run.mamba
    assert kind is not None
    convolved = kind.inner + 2 * kind.groups * kind.state
    yield from norm(run, f"{name}.mixer.in_proj.layer_norm")
    yield _tensor(
        run, f"{name}.mixer.in_proj.weight", kind.inner + convolved + kind.num_heads, run.hidden, cut=COLUMN
    )
    yield _tensor(run, f"{name}.mixer.conv1d.weight", convolved, 4, cut=COLUMN)
    yield _tensor(run, f"{name}.mixer.conv1d.bias", convolved, cut=COLUMN)
    for part in ("dt_bias", "A_log", "D"):
        yield _tensor(run, f"{name}.mixer.{part}", kind.num_heads, cut=COLUMN)
    yield _tensor(run, f"{name}.mixer.norm.weight", kind.inner, cut=COLUMN)
    yield _tensor(run, f"{name}.mixer.out_proj.weight", run.hidden, kind.inner, cut=ROW)


def mtp(run: Megatron, index: int) -> Iterator[Tensor]:
    """A multi-token-prediction layer: two norms, a projection of both halves, a layer of the last kind, a
    final norm."""
    name = f"mtp.{index}"
    yield from norm(run, f"{name}.enorm")
    yield from norm(run, f"{name}.hnorm")
    yield from _linear(run, f"{name}.eh_proj", run.hidden, 2 * run.hidden, COLUMN, False)
    yield from layer(run, len(run.kinds.replace("|", "")) - 1)
    yield from norm(run, f"{name}.final_layernorm")


def all_tensors(run: Megatron) -> tuple[Tensor, ...]:
    """The whole network: each parameter once, a tied head not at all."""
    count = len(run.kinds.replace("|", ""))
    whole = Chunk(tuple(range(count)), True, True, run.mtp)
    return tuple(tensor for tensor, _ in _of_chunk(run._replace(ep=1), whole))
