"""Layers dealt out over pipeline stages, and which of them have a tensor."""

from functools import lru_cache
from typing import Literal

from ..errors import UsageError
from ..model.model import EMBEDDING, Model, Tensor
from .rank import Stage

Remainder = Literal["first stages", "last stages", "last stage", "stages before the last"]
"""Who takes the layers that are left when all stages have equally many: one more each, or the last stage all
of them."""


def deal(model: Model, num_stages: int, remainder: Remainder) -> list[Stage]:
    """Return the stages of a model.

    >>> from ..model.load import load
    >>> r1 = load("deepseek-r1")
    >>> [stage.stop - stage.start for stage in deal(r1, 4, "stages before the last")]
    [15, 15, 16, 15]
    >>> [stage.stop - stage.start for stage in deal(r1, 2, "first stages")]
    [31, 30]
    """
    num_layers = len(model.layers)
    if num_stages > num_layers:
        raise UsageError(
            f"--pp {num_stages} is more than the {num_layers} layers of {model.name}", "use fewer stages"
        )
    even, rest = divmod(num_layers, num_stages)
    sizes = [even] * num_stages
    match remainder:
        case "first stages":
            takers = range(rest)
        case "last stages":
            takers = range(num_stages - rest, num_stages)
        case "stages before the last":
            takers = range(num_stages - 1 - rest, num_stages - 1)
        case "last stage":
            takers = range(0)
            sizes[-1] += rest
    for index in takers:
        sizes[index] += 1
    starts = [sum(sizes[:index]) for index in range(num_stages)]
    return [
        Stage(index, num_stages, start, start + size)
        for index, (start, size) in enumerate(zip(starts, sizes, strict=True))
    ]


def layers_on(tensor: Tensor, stage: Stage, tied: bool) -> tuple[int, ...] | None:
    """Return the layers of a stage that have a tensor; () if it is outside of the layers and belongs here;
    None if it does not.

    Tables that tokens are looked up in are on the first stage, a vision tower too; norm and head on the last.
    `tied`: the embedding is the head as well.
    """
    if tensor.part == "vision":
        return tensor.layers if stage.first else None
    if tensor.layers:
        if stage.num_stages == 1:
            return tensor.layers
        return _within(tensor.layers, stage.start, stage.stop) or None
    if tensor.name == EMBEDDING:
        return () if stage.first or (tied and stage.last) else None
    return () if (stage.first if tensor.lookup else stage.last) else None


@lru_cache(maxsize=4096)
def _within(layers: tuple[int, ...], start: int, stop: int) -> tuple[int, ...]:
    """Return the layers from `start` up to `stop`: most tensors of a model have the same."""
    return tuple(layer for layer in layers if start <= layer < stop)
