"""How frameworks write their losses: rows of facts/losses.csv, and how many tokens a chunk of one has."""

from functools import cache
from math import ceil
from typing import Literal, NamedTuple

from ... import facts
from ...errors import UsageError, did_you_mean
from ...units import GIB

Kind = Literal[
    "logits",
    "chunked-logits",
    "fused-linear",
    "cut",
    "compiled",
    "chunked-compiled",
    "vocab-parallel",
    "vocab-parallel-fused",
    "in-place",
    "loss-parallel",
    "selected",
    "selected-divided",
    "selected-nll",
    "checkpointed",
    "tiled",
]
F32 = 4


class Loss(NamedTuple):
    """How a framework computes the loss: a row of facts/losses.csv."""

    kind: Kind
    upcast: Literal["none", "loss", "model"]
    """Where logits become F32: nowhere, in the loss (the caller keeps the others), in the model."""
    shift_copy: bool
    """Logits without the last position are a copy, unless there is one sequence: it lies in one piece."""
    logits_alive: bool
    """The caller holds the logits until the backward is over."""
    chunks: int
    chunk_tokens: int
    """Tokens of a chunk where that is fixed, else 0; both 0: Liger's rule."""
    chunk_bytes: int
    """Of kinds that work in chunks, bytes of a chunk's logit, all copies that live at once; tiled: bytes of
    a token in a tile."""
    product_bytes: int
    """fused-linear: bytes of an element of the head's gradient while a chunk's share is added: 0 if in place;
    checkpointed: of the head's copy that a chunk reads."""
    frozen_bytes: int
    """Log-probabilities of whole sequences: bytes of a logit of a forward without a graph, at its fullest."""
    named_bytes: int
    """Bytes of a logit that keep a name until the step's function returns, and that autograd does not keep.
    """
    chunk_gib: float
    """GiB that the F32 logits of a chunk take at most; 0: no such bound."""
    room_share: float
    """Part of what the card leaves that they take at most; 0: no such bound."""


class LossShape(NamedTuple):
    """Sizes on one rank."""

    tokens: int
    hidden: int
    vocab: int
    """This rank's share of the vocabulary."""
    compute: int = 2
    """Bytes of a logit as the head makes it."""
    trained_head: bool = True
    """Whether the head's weight gets a gradient."""
    weight: int = 2
    """Bytes of an element of the head's gradient."""
    sequences: int = 2
    """Sequences of a micro-batch: rows of the logits."""
    room: int = 0
    """Bytes that the card leaves beside the weights."""


def loss_kind(name: str, framework: str = "") -> Loss:
    """The row of facts/losses.csv: that of the framework if there is one, else the general one.

    >>> loss_kind("plain").upcast, loss_kind("chunked", "litgpt").chunk_tokens
    ('loss', 128)
    """
    rows = [
        row for row in facts.table("losses") if row["loss"] == name and row["framework"] in ("", framework)
    ]
    if not rows:
        known = sorted({row["loss"] for row in facts.table("losses")})
        raise UsageError(f"unknown loss {name!r}", did_you_mean(name, known, "oomless train --help"))
    row = max(rows, key=lambda each: bool(each["framework"]))
    kind: Kind = row["kind"]  # type: ignore[assignment]
    upcast: Literal["none", "loss", "model"] = row["upcast"]  # type: ignore[assignment]
    chunks, tokens, chunk, product, frozen, named = (int(row[key] or 0) for key in Loss._fields[4:-2])
    return Loss(
        kind,
        upcast,
        row["shift_copy"] == "yes",
        row["logits_alive"] == "yes",
        chunks,
        tokens,
        chunk,
        product,
        frozen,
        named,
        float(row["chunk_gib"] or 0),
        float(row["room_share"] or 0),
    )


def has_loss(name: str, framework: str) -> bool:
    """Whether facts/losses.csv has a loss for a framework, of its own or for all.

    >>> has_loss("sampled", "fsdp"), has_loss("sampled", "litgpt")
    (True, False)
    """
    return any(row["loss"] == name and row["framework"] in ("", framework) for row in facts.table("losses"))


@cache
def sized_by_room(framework: str) -> bool:
    """Whether a loss of a framework runs in chunks as large as what a card leaves.

    >>> sized_by_room("unsloth"), sized_by_room("axolotl")
    (True, False)
    """
    rows = facts.table("losses")
    return any(row["room_share"] and row["framework"] in ("", framework) for row in rows)


def chunk_tokens(loss: Loss, shape: LossShape) -> int:
    """Tokens of the largest chunk.

    Liger: next_power_of_2(ceil(tokens / ceil(vocabulary / hidden))), fused_linear_cross_entropy.py.
    Unsloth: those whose F32 logits are within a share of the card, and within some GiB (unsloth_zoo,
    get_chunk_size). Their number is rounded to fours, so that a longer sequence may have smaller ones than
    these, the largest of any length up to it.

    >>> chunk_tokens(loss_kind("fused"), LossShape(4096, 7168, 129280))
    256
    >>> long = LossShape(100_000, 4096, 128256, room=6 << 30)
    >>> [chunk_tokens(loss_kind(name, "unsloth"), long) for name in ("chunked", "chunked-half", "chunked-1")]
    [6278, 12557, 4185]
    """
    if loss.chunk_tokens:
        return min(loss.chunk_tokens, shape.tokens)
    if loss.chunk_gib or loss.room_share:
        bounds = (loss.chunk_gib * GIB, loss.room_share * shape.room)
        least = min((bound for bound in bounds if bound), default=0)
        return min(max(1, int(least) // (F32 * shape.vocab)), shape.tokens) if least else shape.tokens
    if loss.chunks:
        return ceil(shape.tokens / loss.chunks)
    rows = ceil(shape.tokens / ceil(shape.vocab / shape.hidden))
    return min(1 << (rows - 1).bit_length(), shape.tokens)
