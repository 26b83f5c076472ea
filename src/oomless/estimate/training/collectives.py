"""Bytes that one rank sends in a collective, by the algorithm that moves least; and in the two ways to cut a
layer over ranks.

All of them are counts of payload: no headers, no retries. What a library adds (gloo carries out a
reduce-scatter as an all-reduce) is not part of them; NCCL's ring and tree algorithms send what is written
here, give or take a chunk.
"""

from math import isqrt
from typing import Literal, NamedTuple

from ...model.model import Model, Tensor

Axis = Literal["dp", "tp", "cp", "ep", "pp"]
Collective = Literal["all-reduce", "all-gather", "reduce-scatter", "all-to-all", "send"]


class Transfer(NamedTuple):
    """One kind of collective of a step, as one rank takes part in it."""

    axis: Axis
    collective: Collective
    what: str
    ranks: int
    """Ranks that take part."""
    num_calls: int
    """In one step; where a framework puts tensors into buckets, the calls without buckets."""
    sent_bytes: int
    """What one rank sends in one step, all calls."""
    formula: str


def all_reduce(payload: int, ranks: int) -> int:
    """Bytes sent by one rank to sum `payload` bytes over `ranks`: 2 (d - 1) / d x payload.

    Source: reduce-scatter and all-gather one after the other, each (d - 1) / d (Rabenseifner; NCCL's ring).
    Counted on gloo: within 0.2 %.

    >>> all_reduce(
    ...     2 * 4096 * 7168, 8
    ... )  # one sequence of 4,096 tokens of DeepSeek-V3's hidden state in BF16, TP 8
    102760448
    """
    return -(-2 * (ranks - 1) * payload // ranks)


def gather(payload: int, ranks: int) -> int:
    """Bytes sent by one rank in an all-gather, a reduce-scatter or an all-to-all of `payload` bytes in all:
    (d - 1) / d x payload.

    In a ring each of d parts passes d - 1 ranks; in an all-to-all a rank keeps one part of its own `payload`.
    Counted on gloo: all-gather and all-to-all within 0.2 %; its reduce-scatter is an all-reduce and sends
    twice that.

    >>> gather(2 * 4096 * 7168, 8)
    51380224
    """
    return -(-(ranks - 1) * payload // ranks)


class Widths(NamedTuple):
    """Numbers a token that tensor parallelism moves in one layer: what row-cut products put out, what
    column-cut ones read."""

    out: int
    into: int
    num_out: int = 0
    """Exchanges: of outputs in the forward, of gradients of inputs in the backward."""
    num_into: int = 0


def layer_widths(tensors: tuple[Tensor, ...], layer: int, shared: int = 0, apart: bool = False) -> Widths:
    """What ranks must exchange a token where one layer is cut as Megatron cuts it (arXiv 1909.08053).

    A row-cut product leaves partial sums of its output on every rank; a column-cut one leaves partial sums of
    its input's gradient. Products of one block that read the same input (q, k, v; gate, up; experts and the
    shared one) share the exchange, unless each module is cut `apart` (transformers' tp_plan). `shared` are
    values that all heads read without a product: MLA's rotary key. DeepSeek-V3's attention gets back 1536 +
    512 + 64 numbers instead of 7168.

    >>> from ...model.load import load
    >>> layer_widths(load("deepseek-v3").tensors, 0, 64), layer_widths(load("deepseek-llm-7b").tensors, 0)
    (Widths(out=14336, into=9280, num_out=2, num_into=3), Widths(out=8192, into=8192, num_out=2, num_into=2))
    """
    out: set[tuple[str, int]] = set()
    into: set[tuple[str, int]] = set()
    for tensor in matrices(tensors, layer):
        if tensor.cut.how == "row":
            out.add((block(tensor), tensor.shape[0]))
        elif tensor.cut.how == "column" and not tensor.name.endswith(
            "wo_a.weight"
        ):  # V4's grouped output reads a rank's own heads
            into.add((tensor.name if apart else operand(tensor), tensor.shape[1]))
    return Widths(
        sum(width for _, width in out), sum(width for _, width in into) + shared, len(out), len(into)
    )


def matrices(tensors: tuple[Tensor, ...], layer: int) -> list[Tensor]:
    """The matrices of one layer that products use."""
    return [
        t
        for t in tensors
        if layer in t.layers
        and len(t.shape) == 2
        and t.role != "plain"
        and t.part == "main"
        and not t.copy_of
    ]


def block(tensor: Tensor) -> str:
    """The block of a layer that a tensor is of: self_attn, mlp, ..."""
    return tensor.name.removeprefix("model.layers.{}.").split(".")[0]


def operand(tensor: Tensor) -> str:
    """A name for what a matrix reads: all that a block's first products read is one tensor, later ones have
    their own."""
    leaf = tensor.name.split(".")[-2]
    later = tensor.cut.how == "row" or leaf in ("q_b_proj", "kv_b_proj", "wq_b", "wo_a")
    return tensor.name if later else block(tensor)


class Grid(NamedTuple):
    """A dense layer stack in two dimensions (SUMMA on q x q ranks), beside one dimension on the same ranks,
    forward and backward."""

    ranks: int
    tokens: int
    one_dimension: int
    """Numbers that one rank sends, all layers."""
    two_dimensions: int
    equal_tokens: int | None
    """Tokens from which on two dimensions move less; None: never on so many ranks."""
    largest_saving: float
    """Share that two dimensions save with endlessly many tokens; negative: they lose."""


def one_dimension(tokens: int, widths: int, ranks: int) -> int:
    """Numbers that one rank sends: 2 (p - 1) / p x n x widths, all-reduces of what row-cut products put out
    and column-cut ones read.

    >>> one_dimension(4096, 4 * 5120, 4)  # a layer of 13B
    125829120
    """
    return all_reduce(tokens * widths, ranks)


def two_dimensions(tokens: int, inputs: int, weights: int, ranks: int) -> int:
    """Numbers that one rank sends, on average: 3 (q - 1) / q^2 x (n x inputs + weights) with q x q ranks.

    A product's forward broadcasts both operands, the gradient of its input the weights, and of its weights
    the input; both gradients are reduced.

    >>> two_dimensions(4096, 7 * 5120, 12 * 5120 * 5120, 4)  # the same layer moves 2.75 times as much
    346030080
    """
    q = isqrt(ranks)
    return -(-3 * (q - 1) * (tokens * inputs + weights) // ranks)


def grid(model: Model, ranks: int, tokens: int) -> Grid | None:
    """What one and two dimensions of tensor parallelism send for `tokens` tokens of a micro-batch.

    1D: 2 (p - 1) / p x n x (out + into) a layer. 2D, q = sqrt(p): each product broadcasts or reduces both of
    its operands, three times a step: 3 (q - 1) / q^2 x (n x sum of distinct inputs + sum of in x out).
    Source: SUMMA as Optimus has it (arXiv 2104.05343: the output stays, both operands move) with broadcasts
    and reductions that move least; a layer with h, 4h and MHA gives 8 (p - 1) / p n h and 3 (q - 1) / q^2 (7
    n h + 12 h^2). Ignored: norms, loss, embedding; forms that keep the wider operand of each product in its
    place. None where it is not defined: p is no square, or the layers have experts, which expert parallelism
    divides.

    >>> from ...model.load import load
    >>> grid(load("deepseek-llm-67b"), 16, 4096)[2:5]
    (23907532800, 47180021760, 11050)
    """
    q = isqrt(ranks)
    if q * q != ranks or any(t.role == "expert" for t in model.tensors):
        return None
    widths = inputs = weights = 0
    for layer in range(len(model.layers)):
        widths += sum(layer_widths(model.tensors, layer)[:2])
        group = matrices(model.tensors, layer)
        inputs += sum(width for _, width in {(operand(t), t.shape[1]) for t in group})
        weights += sum(t.shape[0] * t.shape[1] for t in group)
    one, two = one_dimension(tokens, widths, ranks), two_dimensions(tokens, inputs, weights, ranks)
    gain = 2 * (ranks - 1) * widths - 3 * (q - 1) * inputs  # a token, times p
    if ranks == 1:
        return Grid(1, tokens, 0, 0, None, 0.0)
    equal = -(-3 * (q - 1) * weights // gain) if gain > 0 else None
    return Grid(ranks, tokens, one, two, equal, gain / (2 * (ranks - 1) * widths))


def tokens_for_saving(model: Model, ranks: int, saving: float) -> int | None:
    """Tokens of a micro-batch from which on two dimensions move a share `saving` less than one; None: never.

    >>> from ...model.load import load
    >>> [tokens_for_saving(load("profile-deepseek-pro-13b"), p, 0.4) for p in (4, 16, 64)]
    [None, 26936, 7121]
    """
    found = grid(model, ranks, MANY)
    bare = grid(model, ranks, 0)
    if found is None or bare is None or ranks == 1:
        return None
    left = (1 - saving) * found.one_dimension - (found.two_dimensions - bare.two_dimensions)
    return None if left <= 0 else -int(-bare.two_dimensions * MANY // left)


MANY = 1_000_000
"""Tokens for which both ways are reckoned to find where they cross: what both send is linear in tokens."""
