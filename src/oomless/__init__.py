"""oomless: how much accelerator memory a language model needs, which hardware holds it, and proof that the
answer was right.

    import oomless
    answer = oomless.infer("deepseek-r1", gpu="h200:8", tp=8)
    answer.verdict, answer.headroom_bytes, answer.kv_cache.max_tokens

Names are imported when first used, so that importing the package costs nothing.
"""

import sys
from types import ModuleType

__version__ = "0.2.0"

_HOMES = {
    "infer": "api.serving",
    "train": "api.training",
    "plan": "plan.request",
    "speed": "api.speed",
    "tune": "api.tune",
    "guide": "api.guide",
    "cost": "api.cost",
    "trace": "api.trace",
    "reconcile": "api.reconcile",
    "load": "model.load",
    "ServingAnswer": "api.serving",
    "TrainingAnswer": "api.training_answer",
    "Model": "model.model",
    "OomlessError": "errors",
    "UsageError": "errors",
    "UnsupportedError": "errors",
    "MissingExtra": "errors",
}

_ROOMS = ("compress", "monitor")
"""Packages that are reached by their name alone: `oomless.monitor.watch`; one of them answers when it is
called."""

__all__ = [
    "MissingExtra",
    "Model",
    "OomlessError",
    "ServingAnswer",
    "TrainingAnswer",
    "UnsupportedError",
    "UsageError",
    "compress",
    "cost",
    "guide",
    "infer",
    "load",
    "monitor",
    "plan",
    "reconcile",
    "speed",
    "trace",
    "train",
    "tune",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES and name not in _ROOMS:
        raise AttributeError(f"module 'oomless' has no attribute {name!r}")
    from importlib import import_module

    if name in _ROOMS:
        return import_module(f".{name}", __name__)
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])


class _Package(ModuleType):
    """This package: a public name stays what it is when a room of the same name is imported.

    >>> import oomless.plan.prices
    >>> callable(oomless.plan)
    True
    """

    def __setattr__(self, name: str, value: object) -> None:
        if name not in _HOMES or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
