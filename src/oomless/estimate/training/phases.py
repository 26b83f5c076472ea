"""A phase of a training step and its parts; what each layer holds of weights and gradients while they come
and go."""

from functools import reduce
from typing import NamedTuple

from ...frameworks import framework
from ...ledger import Category, Key, category_of
from .job import Job
from .rank_portions import Portion
from .state_bytes import adapter_bytes, packed, packed_bytes, packed_stack
from .states import degrees, has_gradient, local_values, sharding_ranks


class PhasePart(NamedTuple):
    """Bytes of one thing at one moment."""

    key: Key
    what: str
    bytes: int
    formula: str
    most: int = 0
    """The most that it may be, where the framework's rule leaves that open."""
    routed: int = 0
    """Of it, what grows with the rows that experts are given."""

    @property
    def category(self) -> Category:
        return category_of(self.key)


class StepPhase(NamedTuple):
    """The worst moment of a phase. Its parts are what is there beside the states that live through the whole
    step."""

    name: str
    moment: str
    parts: tuple[PhasePart, ...]

    @property
    def total_bytes(self) -> int:
        return sum(part.bytes for part in self.parts)

    @property
    def most_bytes(self) -> int:
        """What it holds where its rules leave something open: the most."""
        return sum(max(part.bytes, part.most) for part in self.parts)


def reaching(worst: StepPhase, phases: tuple[StepPhase, ...]) -> StepPhase:
    """Return the fullest phase; what another one may hold beyond it is the most of the part that leaves it
    open.

    >>> plain = StepPhase("optimizer", "", (PhasePart("gradients.trained", "", 8, ""),))
    >>> open_one = StepPhase("backward", "", (PhasePart("gradients.trained", "", 2, "", 11),))
    >>> reaching(plain, (plain, open_one)).parts[0].most
    11
    """
    other = max(phases, key=lambda phase: phase.most_bytes)
    beyond = other.most_bytes - worst.most_bytes
    if beyond <= 0:
        return worst
    widest = max(other.parts, key=lambda part: part.most - part.bytes)
    parts = list(worst.parts)
    at = next((at for at, part in enumerate(parts) if part.key == widest.key), len(parts))
    if at == len(parts):
        parts.append(widest._replace(bytes=0, most=0))
    parts[at] = parts[at]._replace(most=max(parts[at].bytes, parts[at].most) + beyond)
    return worst._replace(parts=tuple(parts))


def up_to(phase: StepPhase, longer: StepPhase) -> StepPhase:
    """Return a phase whose parts may be as large as those of another one, of longer sequences.

    >>> logits, kept = (PhasePart(key, "", 8, "") for key in ("logits.loss", "activations.kept"))
    >>> found = up_to(StepPhase("", "", (logits,)), StepPhase("", "", (logits._replace(bytes=9), kept)))
    >>> [(part.bytes, part.most) for part in found.parts]
    [(8, 9), (0, 8)]
    """
    most = {(part.key, part.what): max(part.bytes, part.most) for part in longer.parts}
    mine = [part._replace(most=max(part.most, most.get((part.key, part.what), 0))) for part in phase.parts]
    known = {(part.key, part.what) for part in mine}
    others = [part for part in longer.parts if (part.key, part.what) not in known]
    added = [part._replace(bytes=0, most=max(part.bytes, part.most)) for part in others]
    return phase._replace(parts=(*mine, *added))


class LayerStates(NamedTuple):
    """Bytes of one layer that come and go during a step."""

    gradients: int = 0
    """Gradients as they stay until the optimizer has read them."""
    largest: int = 0
    """The largest gradient of a tensor in the type of the computation."""
    unit: int = 0
    """The layer's weights gathered from all ranks: in the type of the computation, packed ones as they are
    stored."""
    casts: int = 0
    """Copies that autocast makes of its matrices; packed ones are unpacked in the type of the product."""
    unit_values: int = 0
    stacks: int = 0
    """Packed experts of the layer in the type of the computation, as they are while they run."""
    experts: int = 0
    """Its experts' weights gathered, where they are one tensor or gathered as one."""
    tensor: int = 0
    """The largest other weight gathered."""

    def plus(self, other: "LayerStates") -> "LayerStates":
        """Return the sums of both; of the largest tensors the larger ones."""
        added = LayerStates(*(mine + its for mine, its in zip(self, other, strict=True)))
        return added._replace(largest=max(self.largest, other.largest), tensor=max(self.tensor, other.tensor))


HEAD, EMBEDDING = -1, -2
"""Layers that are none: what the last stage has outside of the layers, and what the first one has."""


def layer_states(portions: list[Portion], job: Job) -> dict[int, LayerStates]:
    """Return what each layer has of weights and gradients while they come and go; HEAD and EMBEDDING are the
    ends."""
    parts: list[LayerStates] = []
    of_layer: dict[int, tuple[int, ...]] = {}
    for number, portion in enumerate(portions):
        layers = portion.layers or ((EMBEDDING if portion.lookup else HEAD),)
        parts.append(of_one_layer(portion, len(layers), job))
        for layer in layers:
            of_layer[layer] = (*of_layer.get(layer, ()), number)
    alike = {
        numbers: reduce(LayerStates.plus, (parts[number] for number in numbers), LayerStates())
        for numbers in set(of_layer.values())
    }
    return {layer: alike[numbers] for layer, numbers in of_layer.items()}


def of_one_layer(portion: Portion, num_layers: int, job: Job) -> LayerStates:
    """Return what one of a portion's layers has of it."""
    form, request = job.recipe, job.request
    of = framework(request.framework)
    ranks = sharding_ranks(job.mesh, portion.group, request.framework)
    over = degrees(request.sharding or "none", ranks)
    values = portion.values * portion.per_layer
    stays = of.whole_experts and portion.group == "expert" and ranks == 1
    gradients = largest = 0
    if has_gradient(portion, request):
        held = 0 if "gradients.trained" in job.on_host else local_values(portion, over.gradients, over.padded)
        gradients = held * (adapter_bytes(request) if portion.adapter else form.gradient) // num_layers
        stack = values if portion.stacked else portion.values
        largest = stack * (adapter_bytes(request) if portion.adapter else form.compute)
    unit = values * (adapter_bytes(request) if portion.adapter else form.compute)
    if packed(portion, request):
        unit = packed_bytes(values, request.quantization or "nf4-dq")
    unpacks = packed_stack(portion, request)
    at_once = portion.group == "expert" and (portion.stacked or of.zero_leaves)
    cast = portion.product and form.autocast and not portion.adapter and not packed(portion, request)
    return LayerStates(
        gradients=gradients,
        largest=largest,
        unit=0 if unpacks or stays else unit,
        casts=values * form.compute if cast else 0,
        unit_values=values if has_gradient(portion, request) and not stays else 0,
        stacks=values * form.compute if unpacks else 0,
        experts=unit if at_once and not unpacks else 0,
        tensor=0 if at_once else unit // portion.per_layer,
    )
