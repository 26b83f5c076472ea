"""Axolotl: its YAML."""

from ..plan_space import PlanSpace, in_full_sequences
from ..record import of_facts
from .configuration import read

RECORDS = {
    "axolotl": of_facts("axolotl")._replace(
        title="Axolotl",
        marks=("base_model", "sequence_len", "micro_batch_size"),
        reads=read,
        log="axolotl.log",
        plan=PlanSpace(shardings=("none", "fsdp2"), ways=in_full_sequences),
    )
}
