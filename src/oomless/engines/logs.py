"""The logs that are known: each engine's record says where its own stands and how it is told from another."""

from functools import cache
from importlib import import_module

from ..recording.log_lines import LogReader
from . import engines


@cache
def engine_logs() -> tuple[LogReader, ...]:
    """Return a reader for each program; a derived engine's lines are read by its parent's, which names it.

    >>> [each.name for each in engine_logs()]
    ['vllm', 'sglang', 'llamacpp', 'ollama', 'trtllm']
    >>> sorted({name for _, name in engine_logs()[0].also})
    ['vllm-ascend', 'vllm-hpu']
    """
    found: dict[str, LogReader] = {}
    for each in engines():
        if each.log:
            reader: LogReader = found.get(each.log) or import_module(f".{each.log}", __package__).LOG
            signs = tuple((sign, each.name) for sign in each.log_signs)
            found[each.log] = reader._replace(also=(*reader.also, *signs))
    return tuple(found.values())
