"""Megatron-LM: its arguments, its own rules for what a rank holds, and the meshes that a plan may try."""

from collections.abc import Iterator

from ...model.feedforward import MoE
from ...model.model import Model
from ...run.training import Mesh, TrainingAsked
from ..plan_space import PlannedCards, PlanSpace
from ..record import of_facts
from .step_arguments import RECOMPUTED


def meshes(base: TrainingAsked, model: Model, cards: PlannedCards) -> Iterator[TrainingAsked]:
    """Yield tensor parallelism within a machine, pipelines over machines, experts over what is left."""
    experts = any(isinstance(layer.ffn, MoE) for layer in model.layers)
    most_stages = min(len(model.layers), 2 * max(cards.num // cards.within, 1))
    for tp in (1, 2, 4, 8):
        for pp in (1, 2, 4, 8, 16):
            if tp > cards.within or cards.num % (tp * pp) or pp > most_stages:
                continue
            dp = cards.num // (tp * pp)
            for ep in (1, min(8, dp * tp)) if experts and dp * tp > 1 else (1,):
                yield base._replace(
                    mesh=Mesh(tp=tp, pp=pp, ep=ep, etp=1 if ep > 1 else 0, sequence_parallel=tp > 1)
                )


SPACE = PlanSpace(shardings=("distopt",), recompute=("none", "selective", "full"), ways=meshes)
MODULES = (*RECOMPUTED, "norm")
"""Words of --recompute-modules, and what other frameworks call layernorm."""
RECORDS = {
    name: of_facts(name)._replace(modules=MODULES, plan=SPACE) for name in ("megatron-lm", "megatron-bridge")
}
