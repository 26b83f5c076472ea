"""A model around its layers: embedding, head, norms, rotary tables, and what every config says of them."""

from collections.abc import Iterable

from ..attention import GQA, Sliding
from ..config import Config
from ..layer_weights import PAIR, BlockNorms, ends, stack_tensors
from ..model import Layer, Model, Rope, Tensor
from ..scope import Storage
from .rope_and_storage import read_rope, read_storage


def read_heads(config: Config) -> tuple[int, int, int]:
    """Return the heads of queries, those of keys and values, and the width of one; a fault where they do not
    divide."""
    hidden, heads = config.size("hidden_size"), config.size("num_attention_heads")
    if not config.has("head_dim") and hidden % heads:
        config.fault(
            f"hidden_size {hidden} is no multiple of num_attention_heads {heads}, and head_dim is missing"
        )
    kv_heads = config.size("num_key_value_heads", heads)
    if heads % kv_heads and not config.faults:  # a missing one was said already
        config.fault(f"num_attention_heads {heads} is no multiple of num_key_value_heads {kv_heads}")
    return heads, kv_heads, config.size("head_dim", hidden // heads or 1)


def decoder(
    config: Config,
    name: str,
    layers: tuple[Layer, ...],
    *,
    norms: BlockNorms = PAIR,
    ropes: tuple[Rope, ...] | None = None,
    tied: bool = False,
    head_bias: bool = False,
) -> Model:
    """Return the model of plain layers. `tied` is the default of the family's class; without `ropes` the
    heads of the first layer are rotated whole."""
    hidden, vocab = config.size("hidden_size"), config.size("vocab_size")
    stored, quantization = read_storage(config)
    tied = config.flag("tie_word_embeddings", tied)
    if ropes is None:
        first = layers[0].attention
        inner = first.inner if isinstance(first, Sliding) else first
        assert isinstance(inner, GQA)
        ropes = (read_rope(config, inner.head_dim, config.size("max_position_embeddings")),)
    config.check()
    tensors = (
        *ends(hidden, vocab, stored, tied, norms, head_bias),
        *stack_tensors(layers, hidden, vocab, stored, norms),
    )
    return assembled(config, name, stored, quantization, layers, tensors, ropes, tied=tied)


def assembled(
    config: Config,
    name: str,
    stored: Storage,
    quantization: str,
    layers: tuple[Layer, ...],
    tensors: Iterable[Tensor],
    ropes: tuple[Rope, ...],
    *,
    tied: bool = False,
    draft: tuple[Layer, ...] = (),
    streams: int = 1,
) -> Model:
    """Return the model of layers and tensors, with the sizes that all configs spell alike."""
    return Model(
        name=name,
        family=config.word("model_type"),
        hidden_size=config.size("hidden_size"),
        vocab_size=config.size("vocab_size"),
        max_positions=config.size("max_position_embeddings"),
        dtype=stored.plain,
        quantization=quantization,
        layers=layers,
        tensors=tuple(tensors),
        ropes=ropes,
        tied=tied,
        draft=draft,
        streams=streams,
    )
