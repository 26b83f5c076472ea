"""One file or folder an engine: how it lays memory out. Here: the list of engines, and what each knows."""

from collections.abc import Iterator
from functools import cache
from importlib import import_module

from ..errors import UnsupportedError, UsageError, did_you_mean
from ..facts.options import DEFAULT_ENGINE
from .record import Engine

ENGINES = {
    "vllm": "vllm",
    "vllm-ascend": "vllm_ascend",
    "vllm-hpu": "vllm_hpu",
    "sglang": "sglang",
    "llamacpp": "llamacpp",
    "ik-llamacpp": "llamacpp",
    "ollama": "llamacpp",
    "trtllm": "trtllm",
    "transformers": "transformers",
}
"""Engine name -> module, which has its record under its name in capitals."""
LLAMA = ("llamacpp", "ik-llamacpp", "ollama")


@cache
def engine(name: str) -> Engine:
    """Return the record of an engine; its module is loaded when it is first asked for."""
    if name not in ENGINES:
        raise UsageError(f"unknown engine {name!r}", did_you_mean(name, list(ENGINES), "oomless engines"))
    module = import_module(f".{ENGINES[name]}", __name__)
    found: Engine = getattr(module, name.upper().replace("-", "_"))
    return found


def engines() -> Iterator[Engine]:
    """Yield every engine."""
    return map(engine, ENGINES)


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
    return LLAMA[0] if is_gguf else dict(engine(DEFAULT_ENGINE).cards.instead).get(vendor, DEFAULT_ENGINE)


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
