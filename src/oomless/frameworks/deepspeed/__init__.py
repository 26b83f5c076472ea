"""DeepSpeed: its JSON, and ZeRO."""

from collections.abc import Iterator

from ...model.model import Model
from ...run.training import Mesh, TrainingAsked
from ..plan_space import PlannedCards, PlanSpace, as_it_is
from ..record import of_facts
from .configuration import read


def with_offload(base: TrainingAsked, model: Model, cards: PlannedCards) -> Iterator[TrainingAsked]:
    """Yield the sharding over all cards, and what it may put into host memory."""
    for asked in as_it_is(base, model, cards):
        yield asked
        if cards.spare_host:
            away = ("optimizer", "params") if base.sharding == "zero3" else ("optimizer",)
            yield asked._replace(mesh=Mesh(), offload=away)


RECORDS = {
    "deepspeed": of_facts("deepspeed")._replace(
        title="DeepSpeed",
        marks=("zero_optimization", "train_micro_batch_size_per_gpu", "train_batch_size"),
        reads=read,
        log="deepspeed.log",
        setup=(("pip", "install", "torch", "transformers", "accelerate", "deepspeed"),),
        plan=PlanSpace(shardings=("zero2", "zero3"), ways=with_offload),
    )
}
