"""What the columns of measured rows mean for SGLang: the same words name other shares and sizes."""

import re
from collections.abc import Mapping

from ...errors import UnsupportedError
from ...run.serving import Asked
from ...run.speculation import Speculation
from ..record import EngineRows, PrintedText, SaidText


def as_asked(asked: Asked, flags: str) -> Asked:
    """gpu_mem_util is --mem-fraction-static; dp beside tp is data-parallel attention where the flags say
    so."""
    layout = asked.sizes
    if "context-parallel" in flags:
        raise UnsupportedError("context parallelism of SGLang is not known yet")
    if layout.dp > 1:
        layout = layout._replace(enable_dp_attention="dp attention" in flags)
    requests = re.search(r"max-running-requests (\d+)", flags)
    clones = re.search(r"shared-expert fusion: (\d+)", flags)
    if clones and int(clones[1]) != layout.tp:
        raise UnsupportedError(f"{clones[1]} clones of the shared expert on {layout.tp} ranks are not known")
    return asked._replace(
        layout=layout,
        gpu_memory_utilization=None,
        mem_fraction_static=asked.gpu_memory_utilization,
        max_num_seqs=int(requests[1]) if requests else asked.max_num_seqs,
        moe_a2a_backend="deepep" if "deepep" in flags else "none",
        speculation=Speculation("EAGLE")
        if any(word in flags for word in ("eagle", "nextn", "mtp"))
        else asked.speculation,
    )


def flags_of_log(stated: Mapping[str, object], printed: PrintedText, said: SaidText) -> list[str]:
    """Return what ServerArgs say in the words that `as_asked` reads."""
    words = []
    if printed("enable_dp_attention") == "True":
        words.append("dp attention")
    if printed("moe_a2a_backend") == "deepep" or printed("enable_deepep_moe") == "True":
        words.append("deepep")
    if printed("speculative_algorithm") in ("EAGLE", "NEXTN"):
        words.append("eagle")
    if size := printed("max_running_requests"):
        words.append(f"max-running-requests {size}")
    return words


ROWS = EngineRows(words=("SGLang",), as_asked=as_asked, flags_of_log=flags_of_log, prints_gib_as_gb=True)
"""Its log calls GiB GB, checked by division in rows of it (serving_memory.md)."""
