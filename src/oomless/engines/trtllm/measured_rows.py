"""What the columns of measured rows mean for TensorRT-LLM: the same words name other shares and sizes."""

import re

from ...run.serving import Asked
from ..record import EngineRows


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


ROWS = EngineRows(words=("TensorRT-LLM",), as_asked=as_asked)
