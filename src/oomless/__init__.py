"""oomless: how much accelerator memory a language model needs, which hardware holds it, and proof that the
answer was right.

    import oomless
    answer = oomless.infer("deepseek-r1", gpu="h200:8", tp=8)
    answer.verdict, answer.headroom_bytes, answer.kv_cache.max_tokens

Names are imported when first used, so that importing the package costs nothing.
"""

from typing import Any

__version__ = "0.2.0"

_HOMES = {
    "infer": "api.serving",
    "train": "api.training",
    "plan": "plan.request",
    "reconcile": "api.reconcile",
    "compress": "compress.request",
    "load": "model.load",
    "Estimate": "estimate.serving.estimate",
    "TrainingEstimate": "estimate.training.training_estimate",
    "Model": "model.model",
    "OomlessError": "errors",
    "UsageError": "errors",
    "UnsupportedError": "errors",
    "MissingExtra": "errors",
}

_ROOMS = ("monitor",)
"""Packages that are reached by their name alone: `oomless.monitor.watch`."""

__all__ = [
    "Estimate",
    "MissingExtra",
    "Model",
    "OomlessError",
    "TrainingEstimate",
    "UnsupportedError",
    "UsageError",
    "compress",
    "infer",
    "load",
    "monitor",
    "plan",
    "reconcile",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES and name not in _ROOMS:
        raise AttributeError(f"module 'oomless' has no attribute {name!r}")
    from importlib import import_module

    if name in _ROOMS:
        return import_module(f".{name}", __name__)
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
