"""One file or folder an engine: how it lays memory out. Here: the list of engines, and what each knows."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..errors import UnsupportedError, UsageError, did_you_mean

if TYPE_CHECKING:
    from .protocol import Engine  # a protocol costs start-up and says nothing at run time

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
"""Engine name -> module."""

VLLM = ("vllm", "vllm-ascend", "vllm-hpu")
LLAMA = ("llamacpp", "ik-llamacpp", "ollama")


def engine(name: str) -> "Engine":
    """The module of an engine."""
    if name not in ENGINES:
        raise UsageError(f"unknown engine {name!r}", did_you_mean(name, list(ENGINES), "oomless engines"))
    module: Any = import_module(f".{ENGINES[name]}", __name__)
    rules: Engine = module
    return rules


def check_card(name: str, vendor: str) -> None:
    """Refuse a card that the engine has no kernels for. A card that is only a size ("") is taken for one that
    it has.

    >>> check_card("vllm", "Apple")
    Traceback (most recent call last):
    oomless.errors.UnsupportedError: vllm does not run on cards of Apple
      use --engine llamacpp
    """
    only, never = ONLY_ON.get(name), NEVER_ON.get(name, {})
    if vendor and only and vendor not in only:
        raise UnsupportedError(f"{name} does not run on cards of {vendor}", f"it is for {' and '.join(only)}")
    if vendor in never:
        where = "is not known on a plain CPU" if vendor == "generic" else f"does not run on cards of {vendor}"
        raise UnsupportedError(f"{name} {where}", f"use --engine {never[vendor]}")


ONLY_ON = {"vllm-ascend": ("Huawei",), "vllm-hpu": ("Intel",), "trtllm": ("NVIDIA",)}
NEVER_ON = {
    "vllm": {
        "generic": "llamacpp",
        "Apple": "llamacpp",
        "Raspberry Pi": "llamacpp",
        "Huawei": "vllm-ascend",
        "Intel": "vllm-hpu",
    },
    "sglang": {"generic": "llamacpp", "Apple": "llamacpp", "Raspberry Pi": "llamacpp"},
}
"""Engine -> makers of cards, and the engine that does run there."""
