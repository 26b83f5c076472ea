"""What the columns of measured rows mean for vLLM, and how its logs fill them."""

import re
from collections.abc import Mapping

from ...run.serving import Asked
from ..record import EngineRows, PrintedText, SaidText
from .release import RELEASES

DCP = "decode-context-parallel-size"


def as_asked(asked: Asked, flags: str) -> Asked:
    """The size by which ranks divide the cache is in the flags, and so are images: how many a prompt may
    have, and the pixels of the largest.

    >>> as_asked(Asked(), "eager, decode-context-parallel-size 8").sizes.dcp
    8
    >>> said = as_asked(Asked(), "limit-mm-per-prompt image 1, max_pixels 1003520")
    >>> said.images_per_prompt, said.max_pixels
    (1, 1003520)
    >>> as_asked(Asked(), "v1, language-model-only").language_model_only
    True
    """
    if divided := re.search(rf"{DCP} (\d+)", flags):
        asked = asked._replace(layout=asked.sizes._replace(dcp=int(divided[1])))
    if most := re.search(r"max[-_]pixels\W{0,3}(\d+)", flags):
        asked = asked._replace(max_pixels=int(most[1]))
    images = re.search(r"limit-mm-per-prompt\W{0,3}images?\W{0,3}(\d+)", flags)
    if images:
        asked = asked._replace(images_per_prompt=int(images[1]))
    return asked._replace(
        language_model_only="language-model-only" in flags, skip_mm_profiling="skip-mm-profiling" in flags
    )


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
