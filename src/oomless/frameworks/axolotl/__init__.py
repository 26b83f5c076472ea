"""Axolotl: its YAML."""

from collections.abc import Iterator

from ...model.model import Model
from ...run.training import TrainingAsked
from ..plan_space import PlannedCards, PlanSpace, as_it_is
from ..record import of_facts
from .configuration import read


def in_full_sequences(base: TrainingAsked, model: Model, cards: PlannedCards) -> Iterator[TrainingAsked]:
    """Yield fine-tuning on sequences of full length, which is what the files that are written say."""
    yield from as_it_is(base._replace(task="sft", packed=True), model, cards)


RECORDS = {
    "axolotl": of_facts("axolotl")._replace(
        title="Axolotl",
        marks=("base_model", "sequence_len", "micro_batch_size"),
        reads=read,
        log="axolotl.log",
        plan=PlanSpace(shardings=("none", "fsdp2"), ways=in_full_sequences),
    )
}
