"""Qwen4-Exp (Qwen3.8-Flash-Next): Qwen3.5's layers on four residual streams, mixed at low rank in place of
norms; indexers pick blocks for the full layers; one layer looks n-grams up in a table. Counts are those of
transformers' class and, with the MTP layer, the hub's."""

from collections.abc import Iterator
from math import isqrt

from ..attention import GQA, Linear
from ..config import Config
from ..layer_weights import BlockNorms
from ..model import VOCABULARY, Model, Tensor
from ..scope import Scope, Storage, columns
from ..storage import FP8_TENSOR, I64, NVFP4, Format

NONE = BlockNorms((), weight=False)
"""The streams' mixers norm what a block reads."""
PLACES, TYPE = "ple_layer_ids", "ple_embedding_dtype"
TABLES = {"": None, "float8_e4m3fn": FP8_TENSOR, "nvfp4": NVFP4}
"""As the rest of the model, or quantised for itself."""


def with_index(config: Config, full: GQA) -> GQA:
    """Return full attention behind its indexer, which keeps one key for several tokens."""
    if not config.has("indexer_n_heads"):
        return full
    config.has("indexer_budget")
    config.size("indexer_kv_heads", 1, most=1)
    return full._replace(
        index_heads=config.size("indexer_n_heads"),
        index_dim=config.size("indexer_head_dim"),
        index_pool=config.size("indexer_compress_ratio"),
    )


def mixer(scope: Scope, name: str, wide: int, rank: int, streams: int = 0) -> Iterator[Tensor]:
    """Return what joins the streams before a block, with the rows that spread its output over them."""
    yield scope.tensor(f"{name}.hc_norm.weight", (wide,), "plain")
    yield scope.tensor(f"{name}.input_mix_weight_down.weight", (rank + streams, wide), "plain")
    yield scope.tensor(f"{name}.input_mix_weight_up.weight", (wide, rank), "plain")


def with_streams(config: Config, model: Model, stored: Storage) -> Model:
    """Return the model with its mixers, those of the draft, and the tables of n-grams."""
    streams, rank, hidden = config.size("hc_count"), config.size("hc_lowrank"), model.hidden_size
    wide, first = streams * hidden, len(model.layers)
    main = Scope(tuple(range(first)), stored)
    last = Scope((), stored, "model.")
    tensors = [*model.tensors, *mixer(last, "hyper_connection_mixer", wide, rank)]
    scopes = [main]
    if model.draft:
        mtp = tuple(range(first, first + len(model.draft)))
        scopes.append(Scope(mtp, stored, "mtp.layers.{}.", "mtp"))
        tensors += mixer(scopes[-1], "hyper_connection_mixer", wide, rank)
    for scope in scopes:
        for part in ("attn", "mlp"):
            tensors += mixer(scope, f"{part}_hyper_connection", wide, rank, streams)
    ids = sorted(set(config.sizes(PLACES, least=1, most=first) if config.has(PLACES) else ()))
    if len(ids) > MOST_TABLES:
        config.fault(f"{PLACES} is {ids}, not a list of at most {MOST_TABLES} whole numbers")
        ids = []
    layers = list(model.layers)
    for order, layer in enumerate(ids):
        tensors += table(config, order, Scope((layer - 1,), stored, part="engram"), wide, hidden)
        attention = layers[layer - 1].attention
        if isinstance(attention, Linear):
            layers[layer - 1] = layers[layer - 1]._replace(attention=attention._replace(looks_up=True))
    return model._replace(tensors=tuple(tensors), layers=tuple(layers), streams=streams)


def table(config: Config, order: int, scope: Scope, wide: int, hidden: int) -> Iterator[Tensor]:
    """Return a table of n-grams, of which each head has as many rows as its prime, and what reads it."""
    sizes = config.size("ngram_size", 3, least=2, most=8)
    heads = (sizes - 1) * config.size("heads_per_ngram", 8, most=MOST_HEADS)
    base = config.size("ngram_vocab_size_base", 20_000_000, most=1 << 28)
    width = config.size("ple_embed_dim", hidden, least=heads)
    for key in ("ple_offload_embedding", "seed", "split_ngram_parts"):
        config.has(key)
    kind = config.word(TYPE, "")
    if kind not in TABLES:
        config.fault(f"{TYPE} is {kind!r}, not one of {', '.join(filter(None, TABLES))}")
    form: Format = TABLES.get(kind) or scope.stored.plain
    pad = config.size("make_ngram_vocab_size_divisible_by", 128)
    rows = -(-sum(primes(base, (order + 1) * heads)[-heads:]) // pad) * pad
    name = "ple.ple_embedding."
    yield scope.tensor(f"{name}ngram_embedding.weight", (rows, width // heads), form, VOCABULARY)
    yield scope.tensor(f"{name}hashes", (sizes + 2 * heads,), I64)
    yield scope.tensor("ple.key_proj.weight", (wide, width), "plain", columns(wide))
    yield scope.tensor("ple.value_proj.weight", (hidden, width), "plain", columns(hidden))
    for norm in ("key", "query", "conv"):
        yield scope.tensor(f"ple.norm_{norm}.weight", (wide,), "plain")
    yield scope.tensor("ple.conv1d.weight", (wide, 1, config.size("ple_conv_kernel_size", 4)), "plain")


MOST_HEADS, MOST_TABLES = 16, 4
"""Each head of each table takes the search for a prime."""


def primes(least: int, number: int) -> list[int]:
    """Return the first primes from a number on.

    >>> -(-sum(primes(20_000_000, 16)) // 128) * 128  # rows of Qwen3.8-Flash-Next's table
    320001536
    """
    found: list[int] = []
    while len(found) < number:
        if least == 2 or (
            least > 2 and least % 2 and all(least % by for by in range(3, isqrt(least) + 1, 2))
        ):
            found.append(least)
        least += 1
    return found
