"""A training question made ready to be counted: every value is there, and the ranks fill the cards."""

from typing import NamedTuple

from ...errors import UsageError
from ...frameworks.deepspeed.zero_engine import ZeroEngine, engine_of
from ...ledger import Key
from ...model.model import Model
from ...run.cards import Hardware
from ...run.training import Mesh, Optimizer, Recipe, TrainingResolved, optimizer, recipe
from ...units import parse_bytes
from .states import on_host


class Job(NamedTuple):
    """One training step: what is trained, how, and on which ranks and cards."""

    model: Model
    request: TrainingResolved
    """Every value that is used, given or default."""
    mesh: Mesh
    """With its data-parallel size."""
    hardware: Hardware
    capacity_bytes: int
    """Memory of a card that training may use."""

    @property
    def recipe(self) -> Recipe:
        """The types of weights, gradients, master copies and moments."""
        return recipe(self.request.precision)

    @property
    def engine(self) -> ZeroEngine | None:
        """Return the DeepSpeed engine that runs it, if one does."""
        return engine_of(self.request, self.model.hidden_size)

    @property
    def on_host(self) -> frozenset[Key]:
        """The keys of states that lie in host memory."""
        return on_host(self.request, self.optimizer, self.engine)

    @property
    def optimizer(self) -> Optimizer:
        """What the optimizer keeps, and how its step runs."""
        return optimizer(self.request.optimizer)

    @property
    def made_in_step(self) -> int:
        """Return the bytes a value that the optimizer itself makes and frees where DeepSpeed's engine steps a
        partition as one tensor. Without ZeRO, files of torch 2.0's days name DeepSpeed's own Adam, whose
        wrapper takes 8 B in all (fp16/fused_optimizer.py)."""
        engine, rule = self.engine, self.optimizer
        twice = 8 if rule.moments == 2 and not rule.moment_bits else 0
        early = 8 if engine is None or engine.stage or engine.wide_gradients else 4
        return {"foreach": 4, "foreach-2.0": early, "loop": twice, "in-place": 4}.get(rule.step, 0)


def capacity_of(hardware: Hardware, reserve: str | None) -> int:
    """Return the bytes of a card that training may use: its memory less what is reserved for others."""
    if not hardware.card.memory_bytes:
        raise UsageError(f"{hardware.card.name} has no memory of its own", "give a size: 80GiB")
    capacity = hardware.card.memory_bytes - (parse_bytes(reserve) if reserve else 0)
    if capacity <= 0:
        raise UsageError(f"--reserve {reserve} leaves nothing of the card", "reserve less")
    return capacity
