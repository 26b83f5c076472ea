"""Layers -> their tensors, with norms; and the ends of a model: embedding, last norm, head."""

from collections.abc import Iterator

from ..records import Record
from .attention_weights import attention_tensors
from .feed_forward_weights import ffn_tensors
from .model import EMBEDDING, HEAD, VOCABULARY, Layer, Tensor
from .scope import Scope, Storage


class BlockNorms(Record):
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
