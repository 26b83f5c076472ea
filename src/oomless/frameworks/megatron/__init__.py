"""Megatron-LM: its arguments, its own rules for what a rank holds, and the meshes that a plan may try."""

from collections.abc import Iterator
from itertools import product

from ...model.feedforward import MoE
from ...model.model import Model
from ...run.training import Mesh, TrainingAsked
from ..plan_space import PlannedCards, PlanSpace, context_sizes
from ..record import of_facts
from .step_arguments import RECOMPUTED

MOST_EXPERT_RANKS = 64
"""As many as DeepSeek-V3's own run has."""


def expert_ranks(experts: int, ranks: int) -> tuple[int, ...]:
    """Return the sizes of expert parallelism that a plan tries: none, a machine's eight cards, and on, as
    long as they divide the experts.

    >>> expert_ranks(256, 128), expert_ranks(60, 4), expert_ranks(0, 8)
    ((1, 8, 16, 32, 64), (1, 4), (1,))
    """
    sizes = {1, min(8, ranks), *(size for size in (16, 32, MOST_EXPERT_RANKS) if size <= ranks)}
    return tuple(sorted(size for size in sizes if size == 1 or (experts and experts % size == 0)))


def meshes(base: TrainingAsked, model: Model, cards: PlannedCards) -> Iterator[TrainingAsked]:
    """Yield tensor and context parallelism within a machine, pipelines over machines, experts over what is
    left."""
    experts = max((layer.ffn.num_experts for layer in model.layers if isinstance(layer.ffn, MoE)), default=0)
    most_stages = min(len(model.layers), 2 * max(cards.num // cards.within, 1))
    for tp, cp in product((1, 2, 4, 8), context_sizes(base, cards)):
        for pp in (1, 2, 4, 8, 16):
            if tp * cp > cards.within or cards.num % (tp * cp * pp) or pp > most_stages:
                continue
            ranks = cards.num // pp  # over which experts are cut
            for ep in expert_ranks(experts, ranks):
                yield base._replace(
                    mesh=Mesh(tp=tp, pp=pp, cp=cp, ep=ep, etp=1 if ep > 1 else 0, sequence_parallel=tp > 1)
                )


SPACE = PlanSpace(shardings=("distopt",), recompute=("none", "selective", "full"), ways=meshes)
MODULES = (*RECOMPUTED, "norm")
"""Words of --recompute-modules, and what other frameworks call layernorm."""
SETUP = (
    ("git", "clone", "--depth", "1", "https://github.com/NVIDIA/Megatron-LM", "/tmp/Megatron-LM"),
    ("cp", "-rn", "/tmp/Megatron-LM/.", "."),
    ("pip", "install", "pybind11", "transformer-engine[pytorch]"),
)
"""pretrain_gpt.py stands in Megatron-LM's own folder."""
RECORDS = {
    name: of_facts(name)._replace(modules=MODULES, plan=SPACE, log="megatron.log", setup=SETUP)
    for name in ("megatron-lm", "megatron-bridge")
}
