"""A training step on one rank: what it computes in its forward and backward passes, and in how long."""

from typing import NamedTuple

from ..model.model import Model
from ..run.cards import Hardware
from ..run.training import Mesh, Recipe, TrainingResolved, recipe
from .machine import Machine, machines_of
from .network import Network, network
from .steady import added


class TrainingStep(NamedTuple):
    """What a step does, and on what."""

    model: Model
    asked: TrainingResolved
    mesh: Mesh
    hardware: Hardware
    machine: Machine
    net: Network
    states: Recipe
    length: int
    kind: str
    """The type of the matrix products."""
    conditions: frozenset[str]
    """The words of efficiencies.csv that hold."""
    frozen: int = 0
    """Forward passes without a graph beside each micro-batch: of a reference, or of the policy itself."""

    @property
    def ranks_of_layer(self) -> int:
        """Return the ranks that share the matrices of the model."""
        return self.mesh.tp * self.mesh.pp

    @property
    def micro_tokens(self) -> float:
        """Return the tokens of a micro-batch on one rank."""
        return self.asked.micro_batch * self.length / self.mesh.cp

    def forward_flops(self, tokens: float) -> float:
        """Return the operations of a forward pass: two a value of every matrix that a token passes, and
        attention over half of the sequence."""
        return tokens * 2 * self.net.active_params + self.attention_flops(tokens)

    def attention_flops(self, tokens: float) -> float:
        """Return the operations of attention in a forward pass, over half of the sequence."""
        return tokens * added(
            cache.num_layers
            * cache.prefill_flops
            * (min(cache.limit, self.length / 2) if cache.limit else self.length / 2)
            for cache in self.net.caches
        )

    def seconds_of(self, flops: float, attention: float) -> float:
        """Return the seconds of operations in matrix units, of which some are attention, which stays in 16
        bit."""
        products = (flops - attention) / self.machine.peak(self.kind)
        products /= self.machine.reached("matrix", "train", self.conditions)
        wide = "bf16" if self.states.compute == 2 else "fp32"
        reached = self.machine.reached("attention", "train", self.conditions)
        return products + attention / self.machine.peak(wide) / reached

    def tiles_s(self) -> float:
        """Return the seconds that a forward pass of a micro-batch spends on tiles of narrow experts: their
        inputs are read once more for every tile and each expert's rows are filled up, as in serving
        (speed/matrices.py)."""
        tile = self.machine.reached("tile", "train", self.conditions)
        a_value = added(
            each.num_layers * each.num_active * each.params_each / each.width for each in self.net.experts
        )
        return self.micro_tokens * 2 * a_value * tile / self.machine.bytes_per_s / self.ranks_of_layer


def training_step(
    model: Model, asked: TrainingResolved, mesh: Mesh, hardware: Hardware, frozen: int = 0
) -> TrainingStep:
    """Return the step of a question whose ranks fill the cards."""
    machine, states = machines_of(hardware)[0], recipe(asked.precision)
    kind = type_of_products(asked, states, machine)
    words = machine.architecture.split(" ")[0].lower(), asked.kernels or ""
    conditions = frozenset((kind, *words, "mxfp8" if asked.products == "mxfp8" else ""))
    net = network(model, None)
    return TrainingStep(
        model, asked, mesh, hardware, machine, net, states, asked.seq_len, kind, conditions, frozen
    )


def type_of_products(asked: TrainingResolved, states: Recipe, machine: Machine) -> str:
    """Return the type of the matrix products; torch multiplies FP32 in FP32 unless it is told otherwise."""
    narrow = "fp4" if asked.products == "nvfp4" else "fp8"
    named = narrow in states.name or asked.products in ("fp8", "mxfp8", "nvfp4")
    if named and dict(machine.flops_per_s).get(narrow):
        return narrow
    return "bf16" if states.compute == 2 else "fp32"


class Passes(NamedTuple):
    """The passes of one micro-batch on one rank: operations, and seconds in matrix units."""

    forward: float
    backward: float
    again: float
    """Recomputation."""
    forward_s: float
    backward_s: float
    again_s: float


def passes_of(step: TrainingStep) -> Passes:
    """Return the operations and seconds of forward, backward and recomputation."""
    forward = step.forward_flops(step.micro_tokens) * (1 / step.ranks_of_layer)
    attention = step.attention_flops(step.micro_tokens) / step.ranks_of_layer
    backward = (forward - attention) * (2 if step.asked.method == "full" else 1) + BACKWARD * attention
    again = recomputed_flops(step, forward)
    backward, again = backward * trained_share(step), again * trained_share(step)
    imbalance = step.asked.expert_imbalance if step.net.experts else 1.0
    does_again = attention if step.asked.recompute == "full" else again
    shares = ((forward, attention), (backward, BACKWARD * attention), (again, min(does_again, again)))
    times = (1.0, 2.0 if step.asked.method == "full" else 1.0, 1.0 if step.asked.recompute == "full" else 0.0)
    seconds = [
        (step.seconds_of(flops, min(of, flops)) + step.tiles_s() * num) * imbalance
        for (flops, of), num in zip(shares, times, strict=True)
    ]
    return Passes(forward, backward, again, *seconds)


def trained_share(step: TrainingStep) -> float:
    """Return the share of the layers to which the backward pass comes."""
    layers = step.net.num_layers
    part = step.asked.trained_layers or layers  # the first layers are the last that a backward comes to
    return (min(part, layers) if part > 0 else layers) / layers


BACKWARD = 2.5
"""Operations of attention's backward pass, in those of its forward pass: five products in place of two, for
flash attention works the scores out again (Dao et al. 2022, algorithm 4)."""


def recomputed_flops(step: TrainingStep, forward: float) -> float:
    """Return the operations that the backward pass does again: the layers of full recomputation, attention
    alone of selective."""
    asked, mesh, layers = step.asked, step.mesh, step.net.num_layers
    match asked.recompute:
        case "full":
            head = 2 * step.net.head.params * asked.micro_batch * step.length / mesh.cp / mesh.tp / mesh.pp
            some = min(asked.recompute_num_layers or layers, layers) / layers
            return max(forward - head, 0) * some
        case "selective":
            matrices = 2 * step.net.active_params * asked.micro_batch * step.length
            return max(forward - matrices / mesh.cp / mesh.tp / mesh.pp, 0)
    return 0.0
