"""What the columns of measured rows mean for TensorRT-LLM: the same words name other shares and sizes."""

import re
from collections.abc import Mapping

from ...run.serving import Asked
from ..record import EngineRows, PrintedText, SaidText


def as_asked(asked: Asked, flags: str) -> Asked:
    """gpu_mem_util is the share of what is free after loading; max_batch and tokens per block are in the
    flags."""
    batch = re.search(r"max_batch (\d+)", flags)
    block = re.search(r"tokens[_ ]per[_ ]block (\d+)", flags)
    return asked._replace(
        gpu_memory_utilization=None,
        free_gpu_memory_fraction=asked.gpu_memory_utilization,
        max_num_seqs=int(batch[1]) if batch else asked.max_num_seqs,
        block_size=int(block[1]) if block else None,
    )


def flags_of_log(stated: Mapping[str, object], printed: PrintedText, said: SaidText) -> list[str]:
    """Return the batch and the block of a log in the words that `as_asked` reads."""
    words = [f"max_batch {stated['max_num_seqs']}"] if "max_num_seqs" in stated else []
    block = said("block_size")
    return [*words, f"tokens per block {int(float(block))}"] if block else words


ROWS = EngineRows(words=("TensorRT-LLM",), as_asked=as_asked, flags_of_log=flags_of_log)
