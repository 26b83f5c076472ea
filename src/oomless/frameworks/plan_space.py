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


def even_alone(base: TrainingAsked, model: Model, cards: PlannedCards) -> Iterator[TrainingAsked]:
    """Yield the sharding over all cards, on a single one too: its script knows no other way."""
    yield base._replace(mesh=Mesh())


SHARDS_WEIGHTS = ("zero3", "fsdp1", "fsdp2")


class PlanSpace(NamedTuple):
    """What a plan may try. `shardings` are ways that the launch files can say; "none" copies everything to
    each card."""

    shardings: tuple[Sharding | None, ...] = (None,)
    recompute: tuple[Recompute, ...] = ("none", "full")
    """What its files can say, from the fastest to the one that keeps least."""
    ways: Callable[[TrainingAsked, Model, PlannedCards], Iterator[TrainingAsked]] = as_it_is
    """A sharding -> the questions that try it."""
