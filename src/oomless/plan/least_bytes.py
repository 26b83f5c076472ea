"""What the states of a training question take at the very least, before it is estimated."""

from typing import NamedTuple

from ..frameworks.defaults import resolved
from ..model.model import Model
from ..run.training import Mesh, Sharding, TrainingAsked, optimizer, recipe

LEAST_FROZEN_BYTES = {"lora": 2.0, "qlora": 0.5}
"""Of a frozen weight, whatever the recipe."""


class LeastStates(NamedTuple):
    """Bytes of a parameter over all ranks: its weight, its gradient, its master copy and moments."""

    weight: float
    gradient: float
    kept: float


class LeastBytes:
    """Bounds of one search over a model."""

    def __init__(self, model: Model) -> None:
        self.parameters = model.num_parameters
        self.experts = sum(
            tensor.num_parameters
            for tensor in model.tensors
            if tensor.role == "expert" and tensor.part == "main" and not tensor.copy_of
        )
        self.known: dict[tuple[str, Sharding | None, str | None], LeastStates] = {}

    def of(self, asked: TrainingAsked, num: int) -> float:
        """States of a rank at the very least: parameters x bytes of the recipe, each over all the ranks that
        may share it. Gradients of sharded states pass, and count nothing."""
        if asked.offload:
            return 0.0
        if asked.method != "full":
            shared = num if asked.sharding in ("zero3", "fsdp1", "fsdp2") else 1
            return self.parameters * LEAST_FROZEN_BYTES[asked.method] / shared
        weight, gradient, kept = self.least_states(asked)
        here, num_all = self.of_a_rank(asked.mesh), self.parameters
        match asked.sharding:
            case "distopt":
                return here * (weight + gradient) + num_all * kept / num
            case "zero2":
                return here * weight + num_all * kept / num
            case "none" | None:
                return here * (weight + kept)
        return num_all * (weight + kept) / num

    def of_a_rank(self, mesh: Mesh) -> float:
        """Return the parameters of a rank before data-parallel sharding, of the mean pipeline stage."""
        experts = mesh.ep * (mesh.etp or 1) if mesh.ep > 1 else mesh.tp
        return ((self.parameters - self.experts) / mesh.tp + self.experts / experts) / mesh.pp

    def least_states(self, asked: TrainingAsked) -> LeastStates:
        """Return what a parameter keeps at the least: what pages, is factored or projected counts nothing."""
        key = asked.framework, asked.sharding, asked.precision
        if key not in self.known:
            chosen = resolved(asked)
            form, rule = recipe(chosen.precision), optimizer(chosen.optimizer)
            moments = 0.0
            if not (rule.paged or rule.factored or rule.projected):
                moments = rule.moments * (rule.moment_bits / 8 or form.moment)
            self.known[key] = LeastStates(form.weight, form.gradient, form.master + moments)
        return self.known[key]
