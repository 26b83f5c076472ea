"""torchtitan: its TOML, and the ways that it cuts layers and states."""

from collections.abc import Iterator

from ...model.model import Model
from ...run.training import Mesh, TrainingAsked
from ..plan_space import PlannedCards, PlanSpace, context_sizes, with_copies
from ..record import of_facts
from .configuration import read


def with_tensor_parallelism(
    base: TrainingAsked, model: Model, cards: PlannedCards
) -> Iterator[TrainingAsked]:
    """Yield the sharding over all cards and over those of a machine, with the sequence cut or not, and over
    what tensor parallelism within a machine leaves.

    Experts are cut by a degree of their own, and nothing is sharded over one rank. Nothing on a single card.
    """
    if cards.num == 1:
        return
    for cp in context_sizes(base, cards):
        yield from with_copies(base, Mesh(cp=cp, etp=1), cards)
    if cards.within > 1:
        mesh = Mesh(tp=cards.within, etp=1, sequence_parallel=True)
        yield base._replace(mesh=mesh, sharding=base.sharding if cards.num > cards.within else "none")


RECORDS = {
    "torchtitan": of_facts("torchtitan")._replace(
        title="torchtitan",
        marks=("training", "parallelism", "activation_checkpoint"),
        reads=read,
        log="torchtitan.log",
        setup=(("pip", "install", "torchtitan<0.3"),),
        plan=PlanSpace(
            shardings=("fsdp2",), recompute=("none", "selective", "full"), ways=with_tensor_parallelism
        ),
    )
}
