"""One file or folder an engine: how it lays memory out. Here: the list of engines, and what each knows."""

from collections.abc import Iterator
from functools import cache
from importlib import import_module

from ..errors import UnsupportedError, UsageError, did_you_mean
from ..facts.derived_engines import DERIVED
from ..facts.options import DEFAULT_ENGINE, ENGINE_NAMES
from .record import Engine, derived

GGUF_ENGINE = "llamacpp"
"""What reads a GGUF file where nobody names an engine."""
MLX_ENGINE = "mlx"
"""What loads a checkpoint of MLX where nobody names one."""


@cache
def engine(name: str) -> Engine:
    """Return the record of an engine. Its module, which has it under its name in capitals, is loaded when it
    is first asked for; what has no rules of its own is the record of another under its own name."""
    if name not in ENGINE_NAMES:
        raise UsageError(
            f"unknown engine {name!r}", did_you_mean(name, list(ENGINE_NAMES), "oomless engines")
        )
    row = DERIVED.get(name)
    if row is not None and not row.module:
        return derived(engine(row.of), name)
    module = import_module(f".{row.module if row else name}", __name__)
    found: Engine = getattr(module, name.upper().replace("-", "_"))
    return found


def engines() -> Iterator[Engine]:
    """Yield every engine."""
    return map(engine, ENGINE_NAMES)


@cache
def engines_tried(vendor: str) -> tuple[str, ...]:
    """Return the engines that a plan tries on a maker's cards unasked.

    >>> engines_tried("NVIDIA"), engines_tried("Huawei"), engines_tried("MetaX")
    (('vllm', 'sglang', 'llamacpp'), ('vllm-ascend',), ('vllm',))
    """
    named = tuple(each.name for each in engines() if vendor in each.cards.tried)
    return named or tuple(each.name for each in engines() if "*" in each.cards.tried)


def default_engine(vendor: str, is_gguf: bool) -> str:
    """Return the engine that is asked where nobody names one: the one that reads the file and runs on the
    card.

    >>> default_engine("NVIDIA", False), default_engine("NVIDIA", True), default_engine("Apple", False)
    ('vllm', 'llamacpp', 'llamacpp')
    >>> default_engine("Huawei", False), default_engine("Intel", False)
    ('vllm-ascend', 'vllm-hpu')
    """
    return GGUF_ENGINE if is_gguf else dict(engine(DEFAULT_ENGINE).cards.instead).get(vendor, DEFAULT_ENGINE)


def answering(name: str, vendor: str) -> str:
    """Return the engine that answers to a name on a maker's cards: trainers say vllm where its plugin runs
    (ms-swift examples/ascend: --use_vllm).

    >>> answering("vllm", "Huawei"), answering("vllm", "NVIDIA"), answering("vllm", "Apple")
    ('vllm-ascend', 'vllm', 'vllm')
    """
    other = dict(engine(name).cards.instead).get(vendor, name)
    return other if other in DERIVED and DERIVED[other].of == name else name


def check_card(name: str, vendor: str) -> None:
    """Refuse a card that the engine has no kernels for. A card that is only a size ("") is taken for one that
    it has.

    >>> check_card("vllm", "Apple")
    Traceback (most recent call last):
    oomless.errors.UnsupportedError: vllm does not run on cards of Apple
      use --engine llamacpp
    """
    only, instead = engine(name).cards.only, dict(engine(name).cards.instead)
    if vendor and only and vendor not in only:
        raise UnsupportedError(f"{name} does not run on cards of {vendor}", f"it is for {' and '.join(only)}")
    if vendor in instead:
        where = "is not known on a plain CPU" if vendor == "generic" else f"does not run on cards of {vendor}"
        raise UnsupportedError(f"{name} {where}", f"use --engine {instead[vendor]}")
