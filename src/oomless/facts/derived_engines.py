"""Engines that are another with a name of their own: one entry each, and all else is the other's.

What has rules of memory or of starting too says in which module of engines/ they are; its record there adds
them to this one.
"""

from ..records import Record


class DerivedEngine(Record):
    """An engine that is another, with its own name, cards and signs in a log."""

    name: str
    """As --engine says it."""
    of: str
    """The engine whose flags, rules and log it has."""
    label: str
    """As people and measured tables write it."""
    makers: tuple[str, ...] = ()
    """Whose cards alone it runs on; (): those of the other, where a plan does not try it unasked."""
    log_signs: tuple[bytes, ...] = ()
    """Bytes by which its log is told from the other's."""
    module: str = ""
    """The module of engines/ with its own rules; "": it has none."""


DERIVED = {
    each.name: each
    for each in (
        DerivedEngine(
            "vllm-ascend",
            "vllm",
            "vLLM-Ascend",
            makers=("Huawei",),
            log_signs=(b"device_config=npu", b"plugin ascend is", b"[model_runner_v1.py"),
            module="vllm_ascend",
        ),
        DerivedEngine(
            "vllm-hpu",
            "vllm",
            "vLLM-HPU",
            makers=("Intel",),
            log_signs=(b"device_config=hpu",),
            module="vllm_hpu",
        ),
        DerivedEngine(
            "ik-llamacpp",
            "llamacpp",
            "ik_llama.cpp",
            log_signs=(b"mla_attn ", b"fused_moe ", b"kv^T: not used", b"c^KV ("),
        ),
        DerivedEngine("ollama", "llamacpp", "Ollama", module="llamacpp"),
    )
}


def with_derived(name: str) -> str:
    """Return an engine and those that are derived from it, with blanks between.

    >>> with_derived("llamacpp")
    'llamacpp ik-llamacpp ollama'
    """
    return " ".join((name, *(each.name for each in DERIVED.values() if each.of == name)))
