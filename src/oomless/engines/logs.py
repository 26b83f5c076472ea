"""The logs that are known, each engine's in its own folder."""

from ..recording.log_lines import LogReader


def engine_logs() -> tuple[LogReader, ...]:
    """Return a reader an engine; a derived engine's lines are read by its parent's, which names it.

    >>> [each.name for each in engine_logs()]
    ['vllm', 'sglang', 'ollama', 'llamacpp', 'trtllm']
    """
    from .llamacpp.log import LOG as LLAMACPP
    from .llamacpp.ollama_log import LOG as OLLAMA
    from .sglang.log import LOG as SGLANG
    from .trtllm.log import LOG as TRTLLM
    from .vllm.log import LOG as VLLM

    return VLLM, SGLANG, OLLAMA, LLAMACPP, TRTLLM
