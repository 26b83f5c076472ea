"""What a plan may try of a framework: ways to divide states and layers that its launch files can say."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from ..model.model import Model
from ..run.training import Mesh, Recompute, Sharding, TrainingAsked


class PlannedCards(NamedTuple):
    """The cards that a candidate has."""

    num: int
    within: int
    """Of one machine."""
    spare_host: bool
    """Whether the user says how much host memory there is, so that something may be offloaded to it."""


def as_it_is(base: TrainingAsked, model: Model, cards: PlannedCards) -> Iterator[TrainingAsked]:
    """Yield the sharding over all cards; nothing on a single card, where nothing can be divided."""
    if cards.num > 1 or base.sharding not in SHARDS_WEIGHTS:
        yield base._replace(mesh=Mesh())


def in_full_sequences(base: TrainingAsked, model: Model, cards: PlannedCards) -> Iterator[TrainingAsked]:
    """Yield pairs, or fine-tuning on sequences of full length, which is what the files that are written
    say."""
    full = base if base.task == "dpo" else base._replace(task="sft", packed=True)
    yield from as_it_is(full, model, cards)


def with_copies(base: TrainingAsked, mesh: Mesh, cards: PlannedCards) -> Iterator[TrainingAsked]:
    """Yield the sharding over all ranks of a mesh, and over those of one machine, with a copy on each: HSDP,
    whose weights never pass between machines.

    >>> asked, cards = TrainingAsked(sharding="fsdp2"), PlannedCards(16, 8, False)
    >>> [(each.sharding, each.mesh.shard_size) for each in with_copies(asked, Mesh(tp=2), cards)]
    [('fsdp2', 0), ('hsdp', 4)]
    """
    yield base._replace(mesh=mesh)
    shards = cards.within // mesh.tp
    if cards.num > cards.within and shards > 1 and base.sharding == "fsdp2":
        yield base._replace(mesh=mesh._replace(shard_size=shards), sharding="hsdp")


LEAST_TOKENS = 4096
"""Tokens of a sequence that a rank keeps at least where a plan cuts sequences: NVIDIA's guides cut those of
8K and more."""


def context_sizes(base: TrainingAsked, cards: PlannedCards) -> tuple[int, ...]:
    """Return the sizes of context parallelism that a plan tries: powers of two within a machine.

    >>> [context_sizes(TrainingAsked(seq_len=n), PlannedCards(16, 8, False)) for n in (4096, 16384)]
    [(1,), (1, 2, 4)]
    """
    length = base.seq_len or LEAST_TOKENS
    sizes = (size for size in (2, 4, 8) if size <= cards.within and cards.num % size == 0)
    return (1, *(size for size in sizes if length % (2 * size) == 0 and length // size >= LEAST_TOKENS))


def even_alone(base: TrainingAsked, model: Model, cards: PlannedCards) -> Iterator[TrainingAsked]:
    """Yield the sharding over all cards, on a single one too, and a copy on each machine: its script knows no
    other way."""
    yield from with_copies(base, Mesh(), cards)


SHARDS_WEIGHTS = ("zero3", "fsdp1", "fsdp2")


class PlanSpace(NamedTuple):
    """What a plan may try. `shardings` are ways that the launch files can say; "none" copies everything to
    each card."""

    shardings: tuple[Sharding | None, ...] = (None,)
    recompute: tuple[Recompute, ...] = ("none", "full")
    """What its files can say, from the fastest to the one that keeps least."""
    ways: Callable[[TrainingAsked, Model, PlannedCards], Iterator[TrainingAsked]] = as_it_is
    """A sharding -> the questions that try it."""
