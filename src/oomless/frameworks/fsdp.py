"""torch's fully_shard in a loop of one's own."""

from .plan_space import PlanSpace, even_alone
from .record import of_facts

RECORDS = {
    "fsdp": of_facts("fsdp")._replace(
        plan=PlanSpace(shardings=("fsdp2",), ways=even_alone),
        setup=(("pip", "install", "torch", "transformers"),),
    )
}
