"""Builds of llama.cpp and ik_llama.cpp, which are known by their dates."""

from ...run.serving import Serving

VERSIONS = ("2025-03", "2025-07", "2026-02", "2026-06", "2026-08")
LATEST = "2026-08"


def since(asked: Serving, date: str) -> bool:
    """Whether a build is at least as new as a date; versions are dates of builds.

    >>> (
    ...     since(Serving(engine_version="2026-02"), "2026-02"),
    ...     since(Serving(engine_version="2025-12-31"), "2026-02"),
    ... )
    (True, False)
    """
    return (asked.engine_version or LATEST) >= date


def is_ik(asked: Serving) -> bool:
    """ik_llama.cpp, which alone has -mla."""
    return asked.engine == "ik-llamacpp" or asked.mla_attn is not None
