"""What makes a model smaller for real: weights, activations, sparsity and gradients, each with its bytes and
its quality before and after.

    weights       codecs/ (bytes, reader, writer and config entry of a stored weight), checkpoint/ (from one
                  folder to another, streamed in row blocks), calibration/ and mix/ (where nearest rounding is
                  not enough), quality/
    activations   what a training step keeps: packed, offloaded, partitioned or computed again
    sparsity      2:4 and dynamic sparse training
    gradients     what data-parallel ranks and federated clients send each other

`oomless.compress` is this room and, called, its question.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .backward.layers import checkpoint_layers
    from .backward.saved import activations

__all__ = ["activations", "checkpoint_layers"]

_HOMES = {"activations": ".backward.saved", "checkpoint_layers": ".backward.layers"}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)


class _Room(ModuleType):
    """The room, which answers when it is called."""

    def __call__(self, *words: Any, **flags: Any) -> Any:
        from .request import compress

        return compress(*words, **flags)


sys.modules[__name__].__class__ = _Room
