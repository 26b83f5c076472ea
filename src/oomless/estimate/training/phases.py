"""A phase of a training step and its parts; what each layer holds of weights and gradients while they come
and go."""

from typing import NamedTuple

from ...ledger import Category, Key, category_of
from ...run.training import Mesh, Recipe, TrainingResolved
from .rank_portions import Portion
from .states import adapter_bytes, degrees, local_values, packed, packed_bytes, packed_stack, sharding_ranks


class Part(NamedTuple):
    """Bytes of one thing at one moment."""

    key: Key
    what: str
    bytes: int
    formula: str

    @property
    def category(self) -> Category:
        return category_of(self.key)


class Phase(NamedTuple):
    """The worst moment of a phase. Its parts are what is there beside the states that live through the whole
    step."""

    name: str
    moment: str
    parts: tuple[Part, ...]

    @property
    def total_bytes(self) -> int:
        return sum(part.bytes for part in self.parts)


class LayerStates(NamedTuple):
    """Bytes of one layer that come and go during a step."""

    gradients: int
    """Gradients as they stay until the optimizer has read them."""
    largest: int
    """The largest gradient of a tensor in the type of the computation."""
    unit: int
    """The layer's weights gathered from all ranks: in the type of the computation, packed ones as they are
    stored."""
    casts: int
    """Copies that autocast makes of its matrices; packed ones are unpacked in the type of the product."""
    unit_values: int
    stacks: int = 0
    """Packed experts of the layer in the type of the computation, as they are while they run."""


def layer_states(
    portions: list[Portion], mesh: Mesh, request: TrainingResolved, form: Recipe
) -> dict[int, LayerStates]:
    """Per layer; HEAD is what the last stage has outside of the layers, EMBEDDING what the first one has."""
    sharding = request.sharding or "none"
    sums: dict[int, list[int]] = {}
    for portion in portions:
        over = degrees(sharding, sharding_ranks(mesh, portion.group))
        size = adapter_bytes(request) if portion.adapter else form.gradient
        layers = portion.layers or ((EMBEDDING if portion.lookup else HEAD),)
        held = local_values(portion, over.gradients, over.padded) if portion.trained else 0
        each = held * size // len(layers)
        values = portion.values * portion.per_layer
        width = adapter_bytes(request) if portion.adapter else form.compute
        stack = values if portion.stacked else portion.values
        largest = (
            stack * (adapter_bytes(request) if portion.adapter else form.compute) if portion.trained else 0
        )
        for layer in layers:
            row = sums.setdefault(layer, [0, 0, 0, 0, 0, 0])
            row[0] += each
            row[1] = max(row[1], largest)
            if packed_stack(portion, request):
                row[5] += values * form.compute
            else:
                row[2] += (
                    packed_bytes(values, request.quantization or "nf4-dq")
                    if packed(portion, request)
                    else values * width
                )
            cast = portion.product and form.autocast and not portion.adapter and not packed(portion, request)
            row[3] += values * form.compute if cast else 0
            row[4] += values if portion.trained else 0
    return {layer: LayerStates(*row) for layer, row in sums.items()}


HEAD, EMBEDDING = -1, -2
