"""transformers' Trainer, with adapters of PEFT and without."""

from ..plan_space import PlanSpace
from ..record import of_facts

SPACE = PlanSpace(shardings=("none", "fsdp2"))
RECORDS = {name: of_facts(name)._replace(plan=SPACE, log="trainer.log") for name in ("transformers", "peft")}
