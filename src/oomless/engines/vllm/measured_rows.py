"""What the columns of measured rows mean for vLLM, and how its logs fill them."""

import re
from collections.abc import Mapping

from ...run.serving import Asked
from ..record import EngineRows, PrintedText, SaidText
from .release import RELEASES

DCP = "decode-context-parallel-size"


def as_asked(asked: Asked, flags: str) -> Asked:
    """The size by which ranks divide the cache is in the flags.

    >>> as_asked(Asked(), "eager, decode-context-parallel-size 8").sizes.dcp
    8
    """
    divided = re.search(rf"{DCP} (\d+)", flags)
    return asked._replace(layout=asked.sizes._replace(dcp=int(divided[1]))) if divided else asked


def flags_of_log(stated: Mapping[str, object], printed: PrintedText, said: SaidText) -> list[str]:
    """Return what vLLM's arguments say in the words of the tables."""
    words = [f"block-size {size}"] if (size := printed("block_size")) else []
    if (size := printed("decode_context_parallel_size")) not in (None, "1"):
        words.append(f"{DCP} {size}")
    return words


ROWS = EngineRows(
    words=("vLLM",),
    as_asked=as_asked,
    flags_of_log=flags_of_log,
    default_batch_counts=True,
    batch_follows_length=lambda version: RELEASES.at(version).v0,
    generation=lambda version: "V0" if RELEASES.at(version).v0 else "V1",
)
