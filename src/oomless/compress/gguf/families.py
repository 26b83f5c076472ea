"""What llama.cpp's converter does with a family: its word for it, and where the checkpoint has what ours are
called.

Source: conversion/{llama,qwen,deepseek}.py of ggml-org/llama.cpp (October 2026). Families that are not here
are converted by more than names and orders of rows.
"""

from typing import NamedTuple

from ...errors import UnsupportedError, did_you_mean


class GgufFamily(NamedTuple):
    """One family of models, as GGUF files have it."""

    architecture: str
    """llama.cpp's word."""
    turned: bool = False
    """Rows of queries and keys: the halves of a rotary head in turn."""
    names: tuple[tuple[str, str], ...] = ()
    """Parts of our names, and what stands in their place in the checkpoint."""
    normalizes: bool | None = None
    """Whether llama.cpp's graph makes the weights of the chosen experts sum to 1, where a file cannot say
    it."""


MIXTRAL = (
    ("mlp.experts.gate_proj", "block_sparse_moe.experts.w1"),
    ("mlp.experts.down_proj", "block_sparse_moe.experts.w2"),
    ("mlp.experts.up_proj", "block_sparse_moe.experts.w3"),
    ("mlp.gate", "block_sparse_moe.gate"),
)
FAMILIES = {
    "llama": GgufFamily("llama", turned=True),
    "mistral": GgufFamily("llama", turned=True),
    "mixtral": GgufFamily("llama", turned=True, names=MIXTRAL),
    "qwen2": GgufFamily("qwen2"),
    "qwen3": GgufFamily("qwen3"),
    "qwen2_moe": GgufFamily(
        "qwen2moe", names=(("mlp.shared_experts.", "mlp.shared_expert."),), normalizes=False
    ),
    "qwen3_moe": GgufFamily("qwen3moe", normalizes=True),
    "deepseek_v2": GgufFamily("deepseek2"),
    "deepseek_v3": GgufFamily("deepseek2"),
}


def gguf_family(model_type: str) -> GgufFamily:
    """Return what is known of a family; an UnsupportedError for one that is not.

    >>> gguf_family("deepseek_v3").architecture, gguf_family("qwen3_moe").architecture
    ('deepseek2', 'qwen3moe')
    """
    if model_type not in FAMILIES:
        raise UnsupportedError(
            f"{model_type[:60]!r} is not written as GGUF here",
            did_you_mean(model_type, list(FAMILIES)) + "; llama.cpp's own converter writes more families",
        )
    return FAMILIES[model_type]
