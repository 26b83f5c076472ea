"""Card and environment of a run, as far as kernels and workspaces depend on them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ...units import KIB


class Device(NamedTuple):
    """What of the card and the software stack decides kernels and workspaces."""

    generation: int
    """Major compute capability: 8 A100, 9 H100, 10 Blackwell."""
    deterministic: bool = False
    """NVTE_ALLOW_NONDETERMINISTIC_ALGO=0."""
    blas_workspace: int | None = None
    """Bytes that CUBLAS_WORKSPACE_CONFIG asks for; None: PyTorch's default of the card."""
    expandable: bool = False
    old_stack: bool = False
    """Megatron-LM's long-term-support image."""
    flash_deterministic: bool = True
    """Whether flash-attn has a backward that is deterministic: from 2.4.1 on; PyTorch's image of January 2024
    has an older one."""


def device_from(
    generation: int, env: Mapping[str, Any], old_stack: bool = False, flash_deterministic: bool = True
) -> Device:
    """A card's generation and environment variables.

    >>> device_from(
    ...     9, {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True", "NVTE_ALLOW_NONDETERMINISTIC_ALGO": 0}
    ... )
    Device(generation=9, deterministic=True, blas_workspace=None, expandable=True, old_stack=False,
     flash_deterministic=True)
    """
    return Device(
        generation,
        str(env.get("NVTE_ALLOW_NONDETERMINISTIC_ALGO", "1")) == "0",
        blas_bytes(str(env["CUBLAS_WORKSPACE_CONFIG"])) if "CUBLAS_WORKSPACE_CONFIG" in env else None,
        "expandable_segments:True" in str(env.get("PYTORCH_CUDA_ALLOC_CONF", "")),
        old_stack,
        flash_deterministic,
    )


def blas_bytes(text: str) -> int:
    """CUBLAS_WORKSPACE_CONFIG: pairs of KiB and count.

    >>> blas_bytes(":4096:8"), blas_bytes(":4096:2:16:8")
    (33554432, 8519680)
    """
    numbers = [int(word) for word in text.split(":") if word.isdecimal() and len(word) < 10]
    return sum(size * count for size, count in zip(numbers[::2], numbers[1::2], strict=False)) * KIB
