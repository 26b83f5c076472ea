"""What a graph depends on beside the model, and the copies that a card is sent of what lies on the host."""

from typing import NamedTuple

from .ggml import Graph, Node

F32, F16, I32, I64 = 4, 2, 4, 8


class Left(NamedTuple):
    """Bytes that a card is sent of a layer that lies on the host: its matrices one after the other, then its
    cache.

    Of linear attention `query` is the matrix of queries, keys and values, `key` that of the gate.
    """

    query: int
    key: int
    value: int
    out: int
    up: int
    gate: int
    down: int
    keys: int
    values: int
    """The cache of all cells, which the host keeps and attention needs on the card that computes it."""


class Batch(NamedTuple):
    """What the graph of one device depends on, beside the model."""

    num_cells: int
    num_tokens: int
    num_outputs: int = 0
    """Tokens whose logits are kept; 0: all."""
    flash: bool = True
    mla_mode: int | None = None
    """ik_llama.cpp's -mla; None: llama.cpp, which multiplies queries into the latent space if the file's kv_b
    is split."""
    most_scores: int = 0
    """-amb in MiB; 0: no limit."""
    key_type: str = "F16"
    host: bool = False
    """No card at all: inputs lie in the same buffer, and the cache's own type is used throughout."""
    copied_matrix: int = 0
    """Bytes of one matrix (up or gate) of a layer's host experts, if a card multiplies it for a micro-batch:
    then it is copied over."""
    copied_down: int = 0
    """The same of the matrix that leads back."""
    split_kv_b: bool = True
    early: bool = False
    """ik_llama.cpp before 2025-03-18 (#260): keys and values of all heads and cells at once, by way of F32.
    """
    transposed_values: bool = False
    """llama.cpp with -fa off from the start: values are cached transposed, else each layer transposes a copy
    of them."""
    num_copies: int = 1
    """Copies of each input: 4 where llama.cpp runs micro-batches through several cards at once."""
    has_output: bool = True
    copied_output: int = 0
    """Bytes of the output matrix, if it lies on the host and the card multiplies it for a whole micro-batch.
    """
    row_indices: bool = False
    """llama.cpp since #14959 (2025-08): rows of the cache to write to are an input, one a token; of
    transposed values one a value."""
    embedded_input: bool = False
    """llama.cpp on a host since #18898 (2026-01): room for embeddings as input, beside those that it looks
    up."""
    casts_mask: bool = False
    """llama.cpp before #23764 (2026-05): with flash attention too the mask comes in F32 and is cast."""
    window_cells: int = 0
    """Cells of layers with a window, which have a mask of their own; 0: they share cells and mask with the
    others."""
    index_heads: int = 0
    """Heads whose scores of all cells the indexer of sparse attention keeps: one where it is one operation,
    0: no indexer."""
    num_seqs: int = 1
    """Slots whose states one micro-batch carries on."""
    num_states: int = 1
    """States that a layer writes for each slot: one, and one for each drafted token."""

    cast_keys: int = 0
    """llama.cpp since #23907 (2026-06): streams of the cache whose keys flash attention reads in F16, stored
    in another type; the copy has its place behind the product. 0: none, or the backend's pool has it."""
    cast_values: int = 0
    """The same of values."""

    turns_keys: bool = False
    """llama.cpp since #21038 (2026-04): a matrix turns queries and keys whose cache is quantised."""
    turns_values: bool = False
    """The same of values, and of what attention makes of them."""

    keeps_states: bool = False
    """The last states of all tokens stay, for the layer that drafts (embeddings_nextn)."""

    host_activation: bool = False
    """The host computes the activation of a feed-forward layer, for which the card has no kernel."""

    joins_sinks: bool = False
    """Ollama before 0.11.5: the sinks are joined to the scores, and cut off after."""

    left: Left | None = None
    """The layer lies on the host, and the card multiplies it for a whole micro-batch."""

    def in_16_bit(self, key_width: int, value_width: int) -> int:
        """Return the bytes of the copies in F16 that flash attention makes of keys and values of all cells.

        >>> Batch(262144, 512, cast_keys=1, cast_values=1).in_16_bit(1024, 1024) // 2**20
        1024
        """
        return self.num_cells * F16 * (self.cast_keys * key_width + self.cast_values * value_width)

    @property
    def ik(self) -> bool:
        return self.mla_mode is not None


def sent(graph: Graph, *sizes: int) -> list[Node]:
    """Copies of what an operation needs from the host, which begin a split: they live until it has read
    them."""
    return [graph.expand(graph.input(size)) for size in sizes if size]


def arriving(graph: Graph, batch: Batch, size: int) -> Node:
    """What another device made: as many copies as micro-batches are under way, which then stay."""
    for _ in range(batch.num_copies - 1):
        graph.expand(graph.input(size, first=True, lasts=True))
    return graph.input(size, first=batch.host or batch.num_copies > 1, lasts=batch.num_copies > 1)
