"""LMDeploy's words in ours."""

from typing import Any

from ...errors import UnsupportedError
from ..command_words import CommandWords

CACHES = {"0": "auto", "4": "int4", "8": "int8"}
"""--quant-policy -> the type of the cache (lmdeploy/messages.py)."""
PLAIN = ("hf", "llama")
"""--model-format of weights that are not quantised."""


def in_our_words(said: CommandWords) -> CommandWords:
    """Return a command of LMDeploy in our words."""
    return said._replace(flags=as_lmdeploy(said.flags))


def as_lmdeploy(flags: dict[str, Any]) -> dict[str, Any]:
    """Return flags with the cache's type by its name, without a format that says nothing of bits.

    >>> as_lmdeploy({"kv_cache_dtype": "8", "quantization": "hf"})
    {'kv_cache_dtype': 'int8'}
    """
    found = dict(flags)
    if found.get("quantization") in PLAIN:
        del found["quantization"]
    if "kv_cache_dtype" in found:
        word = str(found["kv_cache_dtype"])
        if word not in CACHES:
            raise UnsupportedError(f"--quant-policy {word} is not known", "it is 0, 4 or 8", "kv_cache_dtype")
        found["kv_cache_dtype"] = CACHES[word]
    return found
