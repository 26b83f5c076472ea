"""transformers' Trainer, with adapters of PEFT and without, and TRL's, which are made of it."""

from ..plan_space import PlanSpace, in_full_sequences
from ..record import of_facts
from .configuration import read

SPACE = PlanSpace(shardings=("none", "fsdp2"))
RECORDS = {
    name: of_facts(name)._replace(plan=SPACE, log="trainer.log", reads=read)
    for name in ("transformers", "peft")
}
RECORDS["trl"] = of_facts("trl")._replace(
    title="TRL", reads=read, plan=SPACE._replace(ways=in_full_sequences)
)
